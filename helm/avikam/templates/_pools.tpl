{{/* A pool of workers: its profile, then `worker`, then its own entry. Takes {root, name}. */}}
{{- define "avikam.pool" -}}
{{- $own := deepCopy (default dict (index .root.Values.pools .name)) -}}
{{- $profile := default .root.Values.profile $own.profile -}}
{{- if not (hasKey .root.Values.profiles $profile) -}}
{{- fail (printf "pool %s asks for the profile %q, which does not exist; profiles are: %s" .name $profile (keys .root.Values.profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $pool := mergeOverwrite (deepCopy (index .root.Values.profiles $profile)) (include "avikam.ofAllPools" .root | fromYaml) $own -}}
{{- toYaml (mergeOverwrite $pool (dict "name" .name "profile" $profile)) -}}
{{- end }}

{{/* `worker` without its empty texts and lists: they are there to be documented, not to undo a profile. */}}
{{- define "avikam.ofAllPools" -}}
{{- $kept := dict -}}
{{- range $key, $value := .Values.worker -}}
{{- if not (and (or (kindIs "string" $value) (kindIs "slice" $value)) (empty $value)) -}}
{{- $_ := set $kept $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end }}

{{/* Sequences per worker that autoscaling aims at: 35 % of the slots. The rest carries what arrives while
     new workers start (docs/operations/capacity.md compares shares). */}}
{{- define "avikam.targetDemand" -}}
{{- default (ceil (mulf 0.35 .config.slots)) .autoscaling.targetDemand -}}
{{- end }}

{{/* Resources with the profile's GPUs: a GPU is a limit, and requests follow it. */}}
{{- define "avikam.poolResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if gt (int .gpus) 0 -}}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict (default "nvidia.com/gpu" .gpuResource) (int .gpus))) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}
