{{/* The YAML file {gateway: ..., worker: ...} that the services read; the chart's own values win. */}}

{{- define "avikam.gatewayConfig" -}}
{{- $workers := list -}}
{{- range $name, $_ := .Values.pools -}}
{{- $pool := include "avikam.pool" (dict "root" $ "name" $name) | fromYaml -}}
{{- $service := include "avikam.workerName" (dict "root" $ "pool" $pool) -}}
{{- $workers = append $workers (printf "dns:%s.%s.svc:50051" $service $.Release.Namespace) -}}
{{- end -}}
{{- $own := dict
  "host" "0.0.0.0"
  "http_port" 8000
  "grpc_port" 9000
  "metrics_port" 9090
  "log_format" "json"
  "workers" $workers
  "keys" "/etc/avikam-keys/keys.yaml"
  "drain_notice_seconds" .Values.gateway.drain.acceptSeconds
  "drain_seconds" .Values.gateway.drain.timeoutSeconds -}}
{{- $own = merge $own (include "avikam.mtlsConfig" (dict "root" . "prefix" "worker_") | fromYaml) -}}
{{- $own = merge $own (include "avikam.tracingConfig" . | fromYaml) -}}
gateway: {{- toYaml (merge $own (deepCopy .Values.gateway.config)) | nindent 2 }}
{{- end }}

{{/* Takes {root, pool}. */}}
{{- define "avikam.workerConfig" -}}
{{- $own := dict
  "host" "0.0.0.0"
  "port" 50051
  "metrics_port" 9091
  "log_format" "json"
  "drain_accept_seconds" .pool.drain.acceptSeconds
  "drain_seconds" .pool.drain.timeoutSeconds -}}
{{- if ne .root.Values.model.source "embedded" -}}
{{- $_ := set $own "model" (include "avikam.modelPath" .root) -}}
{{- end -}}
{{- if .root.Values.adapters.claimName -}}
{{- $_ := set $own "adapters" (printf "/adapters/%s" .root.Values.adapters.path | trimSuffix "/") -}}
{{- end -}}
{{- $own = merge $own (include "avikam.mtlsConfig" (dict "root" .root "prefix" "") | fromYaml) -}}
{{- $own = merge $own (include "avikam.tracingConfig" .root | fromYaml) -}}
worker: {{- toYaml (merge $own (deepCopy .pool.config)) | nindent 2 }}
{{- end }}

{{- define "avikam.tracingConfig" -}}
{{- with .Values.tracing -}}
{{- if .endpoint -}}
tracing_endpoint: {{ .endpoint | quote }}
tracing_sample_ratio: {{ .sampleRatio }}
{{- end -}}
{{- end -}}
{{- end }}
