{{/* Certificates between gateways and workers. A secret has tls.crt, tls.key and ca.crt. */}}

{{/* Takes {root, component}: gateway or worker. */}}
{{- define "avikam.mtlsSecret" -}}
{{- if eq .root.Values.mtls.mode "existing" -}}
{{- index .root.Values.mtls.existing (printf "%sSecret" .component) -}}
{{- else -}}
{{- printf "%s-%s-tls" (include "avikam.fullname" .root) .component -}}
{{- end -}}
{{- end }}

{{/* Takes {root, component}. */}}
{{- define "avikam.mtlsVolume" -}}
{{- if ne .root.Values.mtls.mode "none" -}}
- name: tls
  secret: {secretName: {{ include "avikam.mtlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "avikam.mtlsMount" -}}
{{- if ne .Values.mtls.mode "none" -}}
- {name: tls, mountPath: /etc/avikam-tls, readOnly: true}
{{- end }}
{{- end }}

{{/* The settings that name the files. Takes {root, prefix}. */}}
{{- define "avikam.mtlsConfig" -}}
{{- if ne .root.Values.mtls.mode "none" -}}
{{ .prefix }}tls_key: /etc/avikam-tls/tls.key
{{ .prefix }}tls_certificate: /etc/avikam-tls/tls.crt
{{ .prefix }}tls_authority: /etc/avikam-tls/ca.crt
{{- end }}
{{- end }}

{{- define "avikam.validateMtls" -}}
{{- if eq .Values.mtls.mode "existing" -}}
{{- range $component := list "gateway" "worker" -}}
{{- $setting := printf "%sSecret" $component -}}
{{- $secret := index $.Values.mtls.existing $setting -}}
{{- if empty $secret -}}
{{- fail (printf "mtls.mode is existing but mtls.existing.%s is empty; name the secret that holds tls.crt, tls.key and ca.crt" $setting) -}}
{{- end -}}
{{- include "avikam.requireSecret" (dict "root" $ "setting" (printf "mtls.existing.%s" $setting) "secret" $secret "key" "tls.crt") -}}
{{- end -}}
{{- end -}}
{{- end }}
