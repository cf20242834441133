{{- define "type" -}}
{{- if markdownShouldRenderType . }}
## {{ .Name }}

{{ .Doc | replace "\n" " " | trim }}
{{- if .IsAlias }} A {{ markdownRenderTypeLink .UnderlyingType }}.{{ end }}
{{ if .References }}
In {{ range $i, $r := .SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $r }}{{ end }}.
{{ end }}
{{- if .Members }}
| field | | |
|---|---|---|
{{ if .GVK -}}
| `apiVersion` | `{{ .GVK.Group }}/{{ .GVK.Version }}` | |
| `kind` | `{{ .GVK.Kind }}` | |
{{ end -}}
{{ range .Members -}}
| `{{ .Name }}` {{ markdownRenderType .Type }} | {{ template "type_members" . }} | {{ template "limits" . }} |
{{ end -}}
{{ end -}}
{{ if regexMatch "Enum: " (join " " .Validation) }}
| value | |
|---|---|
{{ range .EnumValues -}}
| `{{ .Name }}` | {{ regexReplaceAll "^[A-Za-z0-9]+ " (.Doc | replace "\n" " " | trim) "" }} |
{{ end -}}
{{ end -}}
{{ end -}}
{{ end -}}
