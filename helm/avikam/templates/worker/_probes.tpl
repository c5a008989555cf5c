{{/* How the kubelet asks a worker. It has no certificate: with mTLS it asks beside the metrics.
     Takes {root, ready, period, failures, own}: seconds, and how many failures count. */}}
{{- define "avikam.workerProbe" -}}
{{- $base := dict "periodSeconds" .period "timeoutSeconds" (min .period 5) "failureThreshold" .failures -}}
{{- if ne (include "avikam.mtlsMode" .root) "none" -}}
{{- $_ := set $base "httpGet" (dict "path" (ternary "/readyz" "/livez" .ready) "port" "metrics") -}}
{{- else if .ready -}}
{{- $_ := set $base "grpc" (dict "port" 50051 "service" "avikam.v1.WorkerService") -}}
{{- else -}}
{{- $_ := set $base "grpc" (dict "port" 50051) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $base (deepCopy (default dict .own))) -}}
{{- end }}
