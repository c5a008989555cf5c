{{/* The plain rules, with this release's addresses and wishes. Takes {root, text}. */}}
{{- define "avikam.ruleGroups" -}}
{{- $monitoring := .root.Values.monitoring -}}
{{- $text := replace "docs/operations/runbooks/" (printf "%sdocs/operations/runbooks/" $monitoring.runbookBaseUrl) .text -}}
{{- $text = replace "dashboard_url: /d/" (printf "dashboard_url: %s/d/" (trimSuffix "/" $monitoring.grafanaUrl)) $text -}}
{{- /* A series that is missing has no namespace, by which the operator routes alerts. */ -}}
{{- $text = regexReplaceAll "absent\\((\\w+)\\)" $text (printf "absent(${1}{namespace=%q})" .root.Release.Namespace) -}}
{{- $groups := list -}}
{{- range $group := (fromYaml $text).groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- if not (has (default "" $rule.alert) $monitoring.disabledAlerts) -}}
{{- if $rule.alert -}}
{{- $_ := set $rule "labels" (merge $rule.labels $monitoring.alertLabels) -}}
{{- end -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- $groups = append $groups (merge (dict "rules" $rules) $group) -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end }}
