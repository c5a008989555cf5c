{{/* One sentence for each mistake that the schema cannot see. */}}
{{- define "avikam.validate" -}}
{{- if not .Values.pools -}}
{{- fail "pools is empty: Avikam needs at least one pool of workers, such as pools.main={}" -}}
{{- end -}}
{{- range $name, $_ := .Values.pools -}}
{{- include "avikam.validatePool" (dict "root" $ "pool" (include "avikam.pool" (dict "root" $ "name" $name) | fromYaml)) -}}
{{- end -}}
{{- range $label, $_ := .Values.commonLabels -}}
{{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh|avikam\\.io)/" $label -}}
{{- fail (printf "commonLabels has %s, by which the chart finds its own pods; choose a label of your own" $label) -}}
{{- end -}}
{{- end -}}
{{- include "avikam.validateGateway" . -}}
{{- include "avikam.validateModel" .Values.model -}}
{{- include "avikam.validateClaim" . -}}
{{- include "avikam.validateSecrets" . -}}
{{- include "avikam.validateMtls" . -}}
{{- end }}

{{- define "avikam.validatePool" -}}
{{- $scaling := .pool.autoscaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "pool %s has minReplicas %v above maxReplicas %v; raise maxReplicas or lower minReplicas" .pool.name $scaling.minReplicas $scaling.maxReplicas) -}}
{{- end -}}
{{- include "avikam.validateRollout" (dict "name" (printf "pool %s" .pool.name) "update" .pool.rollingUpdate) -}}
{{- $ranks := int (default 1 .pool.config.ranks) -}}
{{- if and (gt (int .pool.gpus) 0) (ne (int .pool.gpus) $ranks) -}}
{{- fail (printf "pool %s has gpus %d and config.ranks %d; a worker runs one rank on each of its GPUs, so make them equal" .pool.name (int .pool.gpus) $ranks) -}}
{{- end -}}
{{- if and (eq $scaling.kind "keda") (empty .root.Values.keda.prometheusAddress) -}}
{{- fail (printf "pool %s scales with KEDA but keda.prometheusAddress is empty; set it to your Prometheus, such as http://prometheus.monitoring:9090" .pool.name) -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (eq (int $scaling.minReplicas) 0) -}}
{{- fail (printf "pool %s has minReplicas 0, which an HPA refuses; set autoscaling.kind to keda or minReplicas to 1" .pool.name) -}}
{{- end -}}
{{- end }}

{{- define "avikam.validateGateway" -}}
{{- $scaling := .Values.gateway.autoscaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "gateway.autoscaling has minReplicas %v above maxReplicas %v; raise maxReplicas or lower minReplicas" $scaling.minReplicas $scaling.maxReplicas) -}}
{{- end -}}
{{- include "avikam.validateRollout" (dict "name" "gateway" "update" .Values.gateway.rollingUpdate) -}}
{{- if and (or .Values.gatewayApi.httpRoute .Values.gatewayApi.grpcRoute) (empty .Values.gatewayApi.parentRefs) -}}
{{- fail "gatewayApi routes need a Gateway to attach to; set gatewayApi.parentRefs, such as [{name: public, namespace: gateways}]" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) (empty .Values.ingress.grpcHosts) -}}
{{- fail "ingress.enabled is true but ingress.hosts and ingress.grpcHosts are empty; name at least one host" -}}
{{- end -}}
{{- range $host := .Values.ingress.grpcHosts -}}
{{- if has $host $.Values.ingress.hosts -}}
{{- fail (printf "ingress.hosts and ingress.grpcHosts both have %s; HTTP and gRPC need hosts of their own" $host) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "avikam.validateRollout" -}}
{{- if and (eq (toString .update.maxUnavailable) "0") (eq (toString .update.maxSurge) "0") -}}
{{- fail (printf "%s has rollingUpdate maxUnavailable 0 and maxSurge 0, so no update could ever proceed; raise one of them" .name) -}}
{{- end -}}
{{- end }}

{{- define "avikam.validateModel" -}}
{{- if and (eq .source "pvc") (empty .pvc.claimName) (empty .pvc.create.size) -}}
{{- fail "model.source is pvc but model.pvc.claimName is empty; name the claim that holds the checkpoint, or set model.pvc.create.size" -}}
{{- end -}}
{{- if and (eq .source "pvc") .pvc.create.size (empty .pvc.claimName) (empty .download.url) -}}
{{- fail "model.pvc.create makes an empty claim; set model.download.url and sha256 to fill it" -}}
{{- end -}}
{{- if and (eq .source "download") (empty .download.url) -}}
{{- fail "model.source is download but model.download.url is empty; give the archive's address" -}}
{{- end -}}
{{- if or (eq .source "download") (and (eq .source "pvc") .download.url) -}}
{{- if not (regexMatch "^[0-9a-f]{64}$" .download.sha256) -}}
{{- fail (printf "model.download.sha256 is %q; it must be the archive's SHA-256, 64 hexadecimal digits" .download.sha256) -}}
{{- end -}}
{{- if empty .download.egressCIDRs -}}
{{- fail "model.download.url is set but model.download.egressCIDRs is empty; name the networks where the archive is, such as [203.0.113.0/24]" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .source "image") (empty .image.reference) -}}
{{- fail "model.source is image but model.image.reference is empty; name the image that holds the checkpoint" -}}
{{- end -}}
{{- end }}

{{/* A claim that one node alone may mount serves one worker. */}}
{{- define "avikam.validateClaim" -}}
{{- if eq .Values.model.source "pvc" -}}
{{- $modes := .Values.model.pvc.create.accessModes -}}
{{- $claim := include "avikam.modelClaim" . -}}
{{- if empty .Values.model.pvc.create.size -}}
{{- $modes = dig "spec" "accessModes" (list "ReadOnlyMany") (lookup "v1" "PersistentVolumeClaim" .Release.Namespace $claim) -}}
{{- end -}}
{{- if not (or (has "ReadWriteMany" $modes) (has "ReadOnlyMany" $modes)) -}}
{{- range $name, $_ := .Values.pools -}}
{{- $pool := include "avikam.pool" (dict "root" $ "name" $name) | fromYaml -}}
{{- if gt (int (ternary $pool.replicas $pool.autoscaling.maxReplicas (eq $pool.autoscaling.kind "none"))) 1 -}}
{{- fail (printf "the claim %s has the access modes %s, but pool %s may have several workers; take a ReadOnlyMany or ReadWriteMany claim, or one worker" $claim (join ", " $modes) $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "avikam.validateSecrets" -}}
{{- if eq .Values.redis.mode "external" -}}
{{- if empty .Values.redis.external.existingSecret -}}
{{- fail "redis.mode is external but redis.external.existingSecret is empty; name the secret that holds the address under url" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (empty .Values.redis.external.egressCIDRs) -}}
{{- fail "redis.mode is external but redis.external.egressCIDRs is empty; name Redis's networks, such as [10.0.0.0/8], or disable networkPolicy" -}}
{{- end -}}
{{- end -}}
{{- with .Values.redis.external -}}
{{- if eq $.Values.redis.mode "external" -}}
{{- $setting := "redis.external.existingSecret" -}}
{{- include "avikam.requireSecret" (dict "root" $ "setting" $setting "secret" .existingSecret "key" "url") -}}
{{- range compact (list .kvSecretKey .gatewaySecretKey) -}}
{{- include "avikam.requireSecret" (dict "root" $ "setting" $setting "secret" $.Values.redis.external.existingSecret "key" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.redis.internal.existingSecret -}}
{{- range $key := list "url" "auth.conf" "kv-secret" "gateway-secret" -}}
{{- include "avikam.requireSecret" (dict "root" $ "setting" "redis.internal.existingSecret" "secret" $.Values.redis.internal.existingSecret "key" $key) -}}
{{- end -}}
{{- end -}}
{{- with .Values.monitoring.alertmanagerConfig -}}
{{- if and .enabled (empty .existingSecret) -}}
{{- fail "monitoring.alertmanagerConfig is enabled but its existingSecret is empty; name the secret that holds the webhook addresses under pager and chat" -}}
{{- end -}}
{{- end -}}
{{- $rules := list -}}
{{- range $path, $_ := .Files.Glob "monitoring/rules/*.yaml" -}}
{{- $rules = append $rules ($.Files.Get $path) -}}
{{- end -}}
{{- range $name := .Values.monitoring.disabledAlerts -}}
{{- if not (regexMatch (printf "alert: %s\n" $name) (join "\n" $rules)) -}}
{{- fail (printf "monitoring.disabledAlerts names %s, which is no alert of this chart; docs/operations/monitoring.md lists them" $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.auth.existingSecret -}}
{{- include "avikam.requireSecret" (dict "root" $ "setting" "auth.existingSecret" "secret" . "key" "keys.yaml") -}}
{{- end -}}
{{- end }}

{{/* A named secret must exist, when the cluster can be asked. Takes {root, setting, secret, key}. */}}
{{- define "avikam.requireSecret" -}}
{{- if lookup "v1" "Namespace" "" .root.Release.Namespace -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if not $found -}}
{{- fail (printf "%s names the secret %q, which does not exist in namespace %s; create it first" .setting .secret .root.Release.Namespace) -}}
{{- else if not (hasKey $found.data .key) -}}
{{- fail (printf "%s names the secret %q, which has no entry %s" .setting .secret .key) -}}
{{- end -}}
{{- end -}}
{{- end }}
