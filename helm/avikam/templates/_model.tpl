{{/* How the checkpoint reaches a worker. The embedded model is in the image. */}}

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
  persistentVolumeClaim: {claimName: {{ .pvc.claimName }}, readOnly: true}
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

{{/* Downloads, checks, then unpacks: an archive with another checksum never becomes a model. */}}
{{- define "avikam.modelInit" -}}
{{- if eq .root.Values.model.source "download" -}}
initContainers:
  - name: download-model
    image: {{ include "avikam.image" (dict "root" .root "image" .pool.image) }}
    imagePullPolicy: {{ default "IfNotPresent" .pool.image.pullPolicy }}
    securityContext: {{- include "avikam.containerSecurity" .root | nindent 6 }}
    command: [python, /etc/avikam/download_model.py]
    args:
      - {{ .root.Values.model.download.url | quote }}
      - {{ .root.Values.model.download.sha256 | quote }}
      - /model
    resources:
      requests: {cpu: 500m, memory: 256Mi}
      limits: {memory: 512Mi}
    volumeMounts:
      - {name: model, mountPath: /model}
      - {name: config, mountPath: /etc/avikam, readOnly: true}
{{- end }}
{{- end }}
