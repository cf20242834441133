{{- define "gvDetails" }}
`apiVersion: {{ .GroupVersionString }}`
{{ range .SortedTypes }}{{ template "type" . }}{{ end }}
{{- end -}}
