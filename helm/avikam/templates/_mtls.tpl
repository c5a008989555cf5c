{{/* Certificates between gateways and workers. A secret has tls.crt, tls.key and ca.crt. */}}

{{/* auto: certificates where cert-manager is there to make them. */}}
{{- define "avikam.mtlsMode" -}}
{{- if eq .Values.mtls.mode "auto" -}}
{{- ternary "cert-manager" "none" (.Capabilities.APIVersions.Has "cert-manager.io/v1") -}}
{{- else -}}
{{- .Values.mtls.mode -}}
{{- end -}}
{{- end }}

{{/* Takes {root, component}: gateway or worker. */}}
{{- define "avikam.mtlsSecret" -}}
{{- if eq (include "avikam.mtlsMode" .root) "existing" -}}
{{- index .root.Values.mtls.existing (printf "%sSecret" .component) -}}
{{- else -}}
{{- printf "%s-%s-tls" (include "avikam.fullname" .root) .component -}}
{{- end -}}
{{- end }}

{{/* Takes {root, component}. */}}
{{- define "avikam.mtlsVolume" -}}
{{- if ne (include "avikam.mtlsMode" .root) "none" -}}
- name: tls
  secret: {secretName: {{ include "avikam.mtlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "avikam.mtlsMount" -}}
{{- if ne (include "avikam.mtlsMode" .) "none" -}}
- {name: tls, mountPath: /etc/avikam-tls, readOnly: true}
{{- end }}
{{- end }}

{{/* The settings that name the files. Takes {root, prefix}. */}}
{{- define "avikam.mtlsConfig" -}}
{{- if ne (include "avikam.mtlsMode" .root) "none" -}}
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
