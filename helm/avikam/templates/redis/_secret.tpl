{{/* The password is made once and read back at every upgrade. */}}
{{- define "avikam.redisSecret" -}}
{{- $name := include "avikam.redisName" . -}}
{{- $found := lookup "v1" "Secret" .Release.Namespace $name -}}
{{- $password := randAlphaNum 40 -}}
{{- if $found -}}
{{- $password = index $found.data "password" | b64dec -}}
{{- end -}}
password: {{ $password }}
url: redis://:{{ $password }}@{{ $name }}.{{ .Release.Namespace }}.svc:6379/0
redis.conf: |
  requirepass {{ $password }}
  maxmemory {{ .Values.redis.internal.maxMemory }}
  maxmemory-policy allkeys-lru
  save ""
  appendonly no
{{- end }}
