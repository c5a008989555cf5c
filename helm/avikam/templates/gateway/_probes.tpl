{{/* Takes {path, period, failures, own}: seconds, and how many failures count. */}}
{{- define "avikam.gatewayProbe" -}}
{{- $base := dict "httpGet" (dict "path" .path "port" "http") "periodSeconds" .period "timeoutSeconds" (min .period 5) "failureThreshold" .failures -}}
{{- toYaml (mergeOverwrite $base (deepCopy (default dict .own))) -}}
{{- end }}
