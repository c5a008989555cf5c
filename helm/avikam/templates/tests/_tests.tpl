{{/* A helm test: one Python script in the gateway's image. Takes {root, name, script}. */}}
{{- define "avikam.test" -}}
{{- $name := printf "%s-test-%s" (include "avikam.fullname" .root) .name -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}
  labels: {{- include "avikam.labels" (dict "root" .root "component" "test") | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  {{- include "avikam.podBase" (dict "root" .root "component" "gateway") | nindent 2 }}
  {{- with include "avikam.placement" (pick .root.Values.gateway "nodeSelector" "tolerations" "affinity") | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  restartPolicy: Never
  containers:
    - name: test
      image: {{ include "avikam.image" (dict "root" .root "image" .root.Values.gateway.image) }}
      imagePullPolicy: {{ .root.Values.gateway.image.pullPolicy }}
      command: [python, -c]
      args:
        - | {{- .script | nindent 10 }}
      env:
        - name: GATEWAY
          value: http://{{ include "avikam.gatewayName" .root }}:{{ .root.Values.gateway.service.httpPort }}
        - name: KEY_FILE
          value: /etc/avikam-keys/api-key
        - name: METRICS
          value: http://{{ include "avikam.gatewayName" .root }}-metrics:9090
      resources:
        requests: {cpu: 50m, memory: 64Mi}
        limits: {memory: 256Mi}
      securityContext: {{- include "avikam.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        - {name: keys, mountPath: /etc/avikam-keys, readOnly: true}
  volumes:
    - name: keys
      secret: {secretName: {{ include "avikam.keysSecret" .root }}}
{{- end }}
