{{/* Egress rules that several policies share. */}}

{{- define "avikam.dnsEgress" -}}
- to: {{- toYaml .Values.networkPolicy.dns.peers | nindent 4 }}
  ports:
    - {port: {{ .Values.networkPolicy.dns.port }}, protocol: UDP}
    - {port: {{ .Values.networkPolicy.dns.port }}, protocol: TCP}
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

{{- define "avikam.tracingEgress" -}}
{{- with .Values.tracing -}}
{{- if .endpoint -}}
{{- $url := urlParse .endpoint -}}
{{- $usual := ternary "443" "80" (eq $url.scheme "https") -}}
- to: {{- toYaml .peers | nindent 4 }}
  ports:
    - {port: {{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default $usual }}, protocol: TCP}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "avikam.modelEgress" -}}
- to:
    {{- range .Values.model.download.egressCIDRs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    - {port: 443, protocol: TCP}
{{- end }}

{{/* One Ingress: controllers speak HTTP or gRPC to a backend, by annotation, so each has its own.
     Takes {root, own: {name, port, hosts, annotations}}. */}}
{{- define "avikam.ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .own.name }}
  labels: {{- include "avikam.labels" (dict "root" .root "component" "gateway") | nindent 4 }}
  {{- with .own.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .root.Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.ingress.tlsSecret }}
  tls:
    - secretName: {{ . }}
      hosts: {{- toYaml $.own.hosts | nindent 8 }}
  {{- end }}
  rules:
    {{- range .own.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: {{ include "avikam.gatewayName" $.root }}, port: {name: {{ $.own.port }}}}}
    {{- end }}
{{- end }}
