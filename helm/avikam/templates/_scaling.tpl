{{/* The pool's own `autoscaling.behavior` over the chart's. Takes it.
     Up at once, by doubling or four pods in 15 s; down after five calm minutes, one pod or 10 % a minute. */}}
{{- define "avikam.scalingBehavior" -}}
{{- toYaml (mergeOverwrite (include "avikam.ownScaling" . | fromYaml) (deepCopy (default dict .))) -}}
{{- end }}

{{- define "avikam.ownScaling" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: 4, periodSeconds: 15}
scaleDown:
  stabilizationWindowSeconds: 300
  selectPolicy: Max
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
    - {type: Percent, value: 10, periodSeconds: 60}
{{- end }}
