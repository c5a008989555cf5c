{{/* Names and labels. */}}

{{- define "avikam.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Prefix of every resource: the release's name, with the chart's unless already in it. */}}
{{- define "avikam.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "avikam.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "avikam.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "avikam.gatewayName" -}}{{ include "avikam.fullname" . }}-gateway{{- end }}

{{- define "avikam.redisName" -}}{{ include "avikam.fullname" . }}-redis{{- end }}

{{/* Its own account for each component, or one that exists for all. Takes {root, component}. */}}
{{- define "avikam.serviceAccountName" -}}
{{- default (printf "%s-%s" (include "avikam.fullname" .root) .component) .root.Values.serviceAccount.name -}}
{{- end }}

{{/* Takes {root, pool}. */}}
{{- define "avikam.workerName" -}}{{ include "avikam.fullname" .root }}-worker-{{ .pool.name }}{{- end }}

{{/* Labels that never change over a release's life. Takes {root, component}. */}}
{{- define "avikam.selectorLabels" -}}
app.kubernetes.io/name: {{ include "avikam.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes {root, component}. */}}
{{- define "avikam.labels" -}}
{{ include "avikam.selectorLabels" . }}
app.kubernetes.io/part-of: avikam
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod: none that an upgrade of the chart alone would change. Takes {root, component}. */}}
{{- define "avikam.podLabels" -}}
{{ include "avikam.selectorLabels" . }}
app.kubernetes.io/part-of: avikam
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A worker's selector: a pool is a selector of its own. Takes {root, pool}. */}}
{{- define "avikam.poolSelectorLabels" -}}
{{ include "avikam.selectorLabels" (dict "root" .root "component" "worker") }}
avikam.io/pool: {{ .pool.name }}
{{- end }}

{{- define "avikam.poolLabels" -}}
{{ include "avikam.labels" (dict "root" .root "component" "worker") }}
avikam.io/pool: {{ .pool.name }}
{{- end }}

{{/* Labels of what monitors, with those that a Prometheus selects by. */}}
{{- define "avikam.monitoringLabels" -}}
{{ include "avikam.labels" (dict "root" . "component" "monitoring") }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Secret with the gateway's key file. */}}
{{- define "avikam.keysSecret" -}}
{{- default (printf "%s-keys" (include "avikam.gatewayName" .)) .Values.auth.existingSecret -}}
{{- end }}

{{/* An image's reference. Takes {root, image}. */}}
{{- define "avikam.image" -}}
{{- $registry := .root.Values.global.imageRegistry -}}
{{- $name := ternary .image.repository (printf "%s/%s" $registry .image.repository) (empty $registry) -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end }}
