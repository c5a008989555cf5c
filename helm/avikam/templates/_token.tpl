{{/* The secret that gateways show workers where no certificates prove who they are. */}}

{{/* Made once and read back at every upgrade. */}}
{{- define "avikam.token" -}}
{{- $token := randAlphaNum 48 -}}
{{- with lookup "v1" "Secret" .Release.Namespace (include "avikam.tokenSecretName" .) -}}
{{- $token = default $token (index .data "token" | default "" | b64dec) -}}
{{- end -}}
{{- $token -}}
{{- end }}

{{- define "avikam.tokenSecretName" -}}
{{- default (printf "%s-worker-token" (include "avikam.fullname" .)) .Values.workerToken.existingSecret -}}
{{- end }}

{{- define "avikam.tokenUsed" -}}
{{- if eq (include "avikam.mtlsMode" .) "none" -}}true{{- end -}}
{{- end }}

{{- define "avikam.tokenVolume" -}}
{{- if include "avikam.tokenUsed" . -}}
- name: worker-token
  secret:
    secretName: {{ include "avikam.tokenSecretName" . }}
    defaultMode: 0440
    items: [{key: token, path: token}]
{{- end }}
{{- end }}

{{- define "avikam.tokenMount" -}}
{{- if include "avikam.tokenUsed" . -}}
- {name: worker-token, mountPath: /etc/avikam-worker-token, readOnly: true}
{{- end }}
{{- end }}

{{/* A file, not a value: an environment can be read by whoever looks at the process. Takes {root, component}. */}}
{{- define "avikam.tokenEnv" -}}
{{- if include "avikam.tokenUsed" .root -}}
- {name: AVIKAM_{{ ternary "GATEWAY__WORKER_TOKEN" "WORKER__TOKEN" (eq .component "gateway") }}_FILE, value: /etc/avikam-worker-token/token}
{{- end }}
{{- end }}
