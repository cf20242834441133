{{- define "gvList" -}}
# API reference

Generated from the Go types by `make generate`; don't edit it. What a field can't show stands elsewhere: conditions and their reasons in
[conditions.md](conditions.md), the rule language in [rules.md](rules.md), whole policies in the [guides](guides/telemetry.md).
Rules that tie fields together are part of the schema: the API server refuses what can't be meant, and says what to write instead.
{{ range . }}{{ template "gvDetails" . }}{{ end }}
{{- end -}}
