{{/* What every pod of the chart shares: Pod Security "restricted" and no cluster rights. */}}

{{- define "avikam.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "avikam.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* First lines of every pod spec. Takes {root, account}. */}}
{{- define "avikam.podBase" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
# A service named avikam would inject AVIKAM_PORT=tcp://... into every pod.
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "avikam.podSecurity" .root | nindent 2 }}
{{- end }}

{{/* Spread over zones and nodes where possible. Takes the selector's labels as YAML. */}}
{{- define "avikam.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* Accept + drain + a margin to exit: nobody can set them at odds. The services accept for a while
     after the stop signal, so no preStop hook has to sleep. */}}
{{- define "avikam.gracePeriod" -}}
{{ add .acceptSeconds .timeoutSeconds 15 }}
{{- end }}

{{/* "true" when a custom resource is wanted. Takes {root, wish, api}. */}}
{{- define "avikam.wants" -}}
{{- if eq (toString .wish) "auto" -}}
{{- if .root.Capabilities.APIVersions.Has .api }}true{{ end -}}
{{- else if eq (toString .wish) "true" -}}
true
{{- end -}}
{{- end }}
