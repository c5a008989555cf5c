{{/* Egress rules that several policies share. */}}

{{- define "avikam.dnsEgress" -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- define "avikam.redisEgress" -}}
{{- if eq .Values.redis.mode "internal" -}}
- to:
    - podSelector:
        matchLabels: {{- include "avikam.selectorLabels" (dict "root" . "component" "redis") | nindent 10 }}
  ports:
    - {port: 6379, protocol: TCP}
{{- else if eq .Values.redis.mode "external" -}}
- to:
    {{- range .Values.redis.external.egressCIDRs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    - {port: {{ .Values.redis.external.port }}, protocol: TCP}
{{- end }}
{{- end }}
