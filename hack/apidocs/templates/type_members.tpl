{{- define "type_members" -}}
{{- if eq .Name "metadata" -}}
as of every kind: name, namespace, labels, annotations
{{- else -}}
{{ .Doc | replace "\n" " " | trim | replace "|" "\\|" }}
{{- end -}}
{{- end -}}
{{- define "limits" -}}
{{- $words := list -}}
{{- range .Validation -}}
{{- if hasPrefix "Required" . }}{{ $words = append $words "required" }}
{{- else if not (regexMatch "^(Optional|Enum|items:Enum|(items:)?XValidation|XIntOrString)" .) }}
{{- $number := regexFind "[0-9.-]+e.[0-9]+$" . -}}
{{- if $number }}{{ $words = append $words (printf "%s%.0f" (trimSuffix $number .) (float64 $number)) }}
{{- else }}{{ $words = append $words . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Default }}{{ $words = append $words (printf "default `%s`" .) }}{{ end -}}
{{- join ", " $words -}}
{{- end -}}
