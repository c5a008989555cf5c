{{/* What every pod of the chart shares: Pod Security "restricted" and no cluster rights. */}}

{{- define "avikam.containerSecurity" -}}
{{- toYaml .Values.containerSecurityContext -}}
{{- end }}

{{/* First lines of every pod spec. Takes {root, component}. */}}
{{- define "avikam.podBase" -}}
serviceAccountName: {{ include "avikam.serviceAccountName" . }}
automountServiceAccountToken: false
# A service named avikam would inject AVIKAM_PORT=tcp://... into every pod.
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- end }}

{{/* Where a pod may run, and what else Kubernetes does for it. Takes the values that name it. */}}
{{- define "avikam.placement" -}}
{{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" "resourceClaims" }}
{{- with index $ $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Spread over zones and nodes where possible, or as asked. Takes {own, selector}: labels as YAML. */}}
{{- define "avikam.spread" -}}
{{- if .own.topologySpreadConstraints -}}
{{- toYaml .own.topologySpreadConstraints -}}
{{- else -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- $.selector | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Accept + drain + a margin to exit: nobody can set them at odds. The services accept for a while
     after the stop signal, so no preStop hook has to sleep; one that does is added. Takes the values. */}}
{{- define "avikam.gracePeriod" -}}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 (default dict .lifecycle) -}}
{{ add .drain.acceptSeconds .drain.timeoutSeconds $sleep 15 }}
{{- end }}

{{/* "true" when a custom resource is wanted. Takes {root, wish, api}. */}}
{{- define "avikam.wants" -}}
{{- if eq (toString .wish) "auto" -}}
{{- if .root.Capabilities.APIVersions.Has .api }}true{{ end -}}
{{- else if eq (toString .wish) "true" -}}
true
{{- end -}}
{{- end }}
