{{/* Redis: its secret, and how gateways and workers read it. */}}

{{/* Password and seals are made once and read back at every upgrade. */}}
{{- define "avikam.redisSecret" -}}
{{- $name := include "avikam.redisName" . -}}
{{- $password := randAlphaNum 40 -}}
{{- $seal := randAlphaNum 40 -}}
{{- $gatewaySeal := randAlphaNum 40 -}}
{{- with lookup "v1" "Secret" .Release.Namespace $name -}}
{{- $password = index .data "password" | b64dec -}}
{{- $seal = default $seal (index .data "kv-secret" | default "" | b64dec) -}}
{{- $gatewaySeal = default $gatewaySeal (index .data "gateway-secret" | default "" | b64dec) -}}
{{- end -}}
password: {{ $password }}
url: redis://:{{ $password }}@{{ $name }}.{{ .Release.Namespace }}.svc:6379/0
kv-secret: {{ $seal }}
gateway-secret: {{ $gatewaySeal }}
# All that gateways and workers ask for, and nothing that reconfigures, empties or spies.
auth.conf: |
  user default on >{{ $password }} ~* &* +@all -@admin -@dangerous
{{- end }}

{{/* Secret with Redis' address under `url`. */}}
{{- define "avikam.redisSecretName" -}}
{{- if eq .Values.redis.mode "external" -}}
{{- .Values.redis.external.existingSecret -}}
{{- else -}}
{{- default (include "avikam.redisName" .) .Values.redis.internal.existingSecret -}}
{{- end -}}
{{- end }}

{{/* Entry of that secret with which workers seal what they share; may be empty. */}}
{{- define "avikam.redisSeal" -}}
{{- if eq .Values.redis.mode "external" -}}
{{- .Values.redis.external.kvSecretKey -}}
{{- else if eq .Values.redis.mode "internal" -}}
kv-secret
{{- end -}}
{{- end }}

{{/* Entry with which gateways seal what they share; may be empty, and workers never see it. */}}
{{- define "avikam.redisGatewaySeal" -}}
{{- if eq .Values.redis.mode "external" -}}
{{- .Values.redis.external.gatewaySecretKey -}}
{{- else if eq .Values.redis.mode "internal" -}}
gateway-secret
{{- end -}}
{{- end }}

{{/* Takes {root, component}: each sees its own seal alone. */}}
{{- define "avikam.redisVolume" -}}
{{- if ne .root.Values.redis.mode "none" -}}
- name: redis
  secret:
    secretName: {{ include "avikam.redisSecretName" .root }}
    defaultMode: 0440
    items:
      - {key: url, path: url}
      {{- if and (eq .component "worker") (include "avikam.redisSeal" .root) }}
      - {key: {{ include "avikam.redisSeal" .root }}, path: kv-secret}
      {{- end }}
      {{- if and (eq .component "gateway") (include "avikam.redisGatewaySeal" .root) }}
      - {key: {{ include "avikam.redisGatewaySeal" .root }}, path: gateway-secret}
      {{- end }}
{{- end }}
{{- end }}

{{- define "avikam.redisMount" -}}
{{- if ne .Values.redis.mode "none" -}}
- {name: redis, mountPath: /etc/avikam-redis, readOnly: true}
{{- end }}
{{- end }}

{{/* Files, not values: an environment can be read by whoever looks at the process. Takes {root, component}. */}}
{{- define "avikam.redisEnv" -}}
{{- if ne .root.Values.redis.mode "none" -}}
{{- if eq .component "gateway" -}}
- {name: AVIKAM_GATEWAY__REDIS_FILE, value: /etc/avikam-redis/url}
{{- if include "avikam.redisGatewaySeal" .root }}
- {name: AVIKAM_GATEWAY__REDIS_SECRET_FILE, value: /etc/avikam-redis/gateway-secret}
{{- end }}
{{- else -}}
- {name: AVIKAM_WORKER__KV_REDIS_FILE, value: /etc/avikam-redis/url}
{{- if include "avikam.redisSeal" .root }}
- {name: AVIKAM_WORKER__KV_SECRET_FILE, value: /etc/avikam-redis/kv-secret}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
