{{/* How the checkpoint reaches a worker. The embedded model is in the image. */}}

{{/* Claim with the checkpoint: one that exists, or the chart's own. */}}
{{- define "avikam.modelClaim" -}}
{{- default (printf "%s-model" (include "avikam.fullname" .)) .Values.model.pvc.claimName -}}
{{- end }}

{{/* "true" when a job downloads the checkpoint into the claim, once for all workers. */}}
{{- define "avikam.modelJob" -}}
{{- if and (eq .Values.model.source "pvc") .Values.model.download.url -}}
true
{{- end -}}
{{- end }}

{{- define "avikam.modelPath" -}}
{{- if eq .Values.model.source "pvc" -}}
{{- printf "/model/%s" .Values.model.pvc.path | trimSuffix "/" -}}
{{- else -}}
/model
{{- end -}}
{{- end }}

{{- define "avikam.modelVolume" -}}
{{- with .Values.model -}}
{{- if eq .source "pvc" -}}
- name: model
  persistentVolumeClaim: {claimName: {{ include "avikam.modelClaim" $ }}, readOnly: true}
{{- else if eq .source "image" -}}
- name: model
  image: {reference: {{ .image.reference }}, pullPolicy: {{ .image.pullPolicy }}}
{{- else if eq .source "download" -}}
- name: model
  emptyDir: {sizeLimit: {{ .download.sizeLimit }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "avikam.modelMount" -}}
{{- if ne .Values.model.source "embedded" -}}
- {name: model, mountPath: /model, readOnly: true}
{{- end }}
{{- end }}

{{/* Downloads, checks, then unpacks: an archive with another checksum never becomes a model. With a claim
     a job does that, and each worker waits for it. Takes {root, pool}. */}}
{{- define "avikam.modelInit" -}}
{{- if eq .root.Values.model.source "download" -}}
- name: download-model
  {{- include "avikam.downloader" (dict "root" .root "image" .pool.image "arguments" list "readOnly" false) | nindent 2 }}
  {{- with .pool.extraEnv }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- else if include "avikam.modelJob" .root -}}
- name: wait-for-model
  {{- include "avikam.downloader" (dict "root" .root "image" .pool.image "arguments" (list "--wait") "readOnly" true) | nindent 2 }}
{{- end }}
{{- end }}

{{/* Most of a container that runs download_model.py. Takes {root, image, arguments, readOnly}. */}}
{{- define "avikam.downloader" -}}
image: {{ include "avikam.image" . }}
imagePullPolicy: {{ default "IfNotPresent" .image.pullPolicy }}
securityContext: {{- include "avikam.containerSecurity" .root | nindent 2 }}
command: [python, /etc/avikam/download_model.py]
args: {{- concat (list .root.Values.model.download.url .root.Values.model.download.sha256 (include "avikam.modelPath" .root)) .arguments | toYaml | nindent 2 }}
resources:
  requests: {cpu: 500m, memory: 256Mi}
  limits: {memory: 512Mi}
volumeMounts:
  - {name: model, mountPath: /model{{ if .readOnly }}, readOnly: true{{ end }}}
  - {name: config, mountPath: /etc/avikam, readOnly: true}
{{- end }}

{{/* It fills the claim, in the gateway's image, which is the small one. */}}
{{- define "avikam.modelJobSpec" -}}
backoffLimit: 6
template:
  metadata:
    labels: {{- include "avikam.podLabels" (dict "root" . "component" "model") | nindent 6 }}
  spec:
    {{- include "avikam.podBase" (dict "root" . "component" "worker") | nindent 4 }}
    restartPolicy: OnFailure
    containers:
      - name: download-model
        {{- include "avikam.downloader" (dict "root" . "image" .Values.gateway.image "arguments" list "readOnly" false) | nindent 8 }}
        {{- with .Values.worker.extraEnv }}
        env: {{- toYaml . | nindent 10 }}
        {{- end }}
    volumes:
      - name: config
        configMap: {name: {{ include "avikam.fullname" . }}-model}
      - name: model
        persistentVolumeClaim: {claimName: {{ include "avikam.modelClaim" . }}}
{{- end }}
