// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// ways are the values of "injection" that stand for each variant.
var ways = []string{webhook: "webhook", admissionPolicy: "admission-policy", noWebhook: "none"}

// templates is a file per object. What is alike for all ways of injection stands
// there as it is, all else under a condition.
func templates(variants []variant) map[string][]byte {
	files := map[string][]byte{}
	for _, v := range variants {
		for _, object := range v.objects {
			kind, name := object.GetKind(), object.GetName()
			if kind == "Namespace" {
				continue // Helm makes it, or its user did
			}
			file := fmt.Sprintf("templates/%s-%s.yaml", strings.ToLower(kind), name)
			files[file] = []byte(condition(kind, template(variants, kind, name)))
		}
	}
	return files
}

// switches are the values that ask for what the other variants have besides.
var switches = map[int]string{monitoring: "monitoring", inPlace: "inPlace"}

// template is the object in all variants that have it; one that belongs to no way of
// injection belongs to the variant that a switch asks for.
func template(variants []variant, kind, name string) string {
	var texts []string // of each variant, "" where there is none
	for i := range ways {
		texts = append(texts, text(variants[i].find(kind, name)))
	}
	if all(texts, "") {
		for i, value := range switches {
			if object := variants[i].find(kind, name); object != nil {
				return "{{- if .Values." + value + " }}\n" + text(object) + "{{- end }}\n"
			}
		}
	}
	if all(texts, texts[0]) {
		return texts[0]
	}
	var b strings.Builder
	written := map[string]bool{"": true}
	for i, body := range texts {
		if written[body] {
			continue
		}
		written[body] = true
		fmt.Fprintf(&b, "{{- if %s }}\n%s{{- end }}\n", anyOf(texts, i), body)
	}
	return b.String()
}

func all(texts []string, want string) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return text != want })
}

// anyOf is true for the values of injection whose text is the same as that of i.
func anyOf(texts []string, i int) string {
	var values []string
	for j, other := range texts {
		if other == texts[i] {
			values = append(values, fmt.Sprintf("%q", ways[j]))
		}
	}
	return fmt.Sprintf("has .Values.injection (list %s)", strings.Join(values, " "))
}

// condition puts objects of these kinds under a condition of their own.
func condition(kind, body string) string {
	if kind == "PodDisruptionBudget" { // it would keep a single replica's node from being drained
		return "{{- if gt (int .Values.replicas) 1 }}\n" + body + "{{- end }}\n"
	}
	return body
}

// portFlags are the manager's flags for its ports, up to the number.
var portFlags = map[string]string{"webhook": "--webhook-port=", "metrics": "--metrics-bind-address=:", "probes": "--health-probe-bind-address=:"}

// network is what follows from the value hostNetwork.
const network = `{{- if .Values.hostNetwork }}
${1}dnsPolicy: ClusterFirstWithHostNet
${1}hostNetwork: true
{{- end }}`

var (
	blockLine  = regexp.MustCompile(`(?m)^( *)(\w+): ` + blockMark + `(\w+)$`)
	argsLine   = regexp.MustCompile(`(?m)^( *)- ` + argsMark + `$`)
	labelsLine = regexp.MustCompile(`(?m)^( *)` + labelsMark + `: ""$`)

	networkLine = regexp.MustCompile(`(?m)^( *)hostNetwork: ` + networkMark + `$`)
	portFlag    = regexp.MustCompile(`(?m)^( *- )` + portMark + `(\w+)$`)
	portNumber  = regexp.MustCompile(portMark + `(\w+)-(\d+)`)
)

// text is the object as a template.
func text(object *unstructured.Unstructured) string {
	if object == nil {
		return ""
	}
	if object.GetKind() == "CustomResourceDefinition" {
		keep(object)
	}
	body, err := yaml.Marshal(object.Object)
	if err != nil {
		panic(err) // it was parsed
	}
	escaped := strings.ReplaceAll(string(body), "{{", `{{ "{{" }}`)
	marked := strings.NewReplacer(
		managerMark, "{{ .Values.images.manager }}",
		attacherMark, "{{ .Values.images.attacher }}",
		namespaceMark, "{{ .Values.namespaceOverride | default .Release.Namespace }}",
		readerMark, "{{ .Values.prometheus.serviceAccount }}",
		homeMark, "{{ .Values.prometheus.namespace }}",
		fmt.Sprint(replicasMark), "{{ .Values.replicas }}",
	).Replace(escaped)
	marked = more(argsLine, marked, "extraArgs")
	marked = more(labelsLine, marked, "monitoringLabels")
	marked = networkLine.ReplaceAllString(marked, network)
	marked = portNumber.ReplaceAllString(marked, "{{ .Values.ports.$1 | default $2 }}")
	marked = portFlag.ReplaceAllStringFunc(marked, func(line string) string {
		part := portFlag.FindStringSubmatch(line)
		return fmt.Sprintf("{{- with .Values.ports.%s }}\n%s%s{{ . }}\n{{- end }}", part[2], part[1], portFlags[part[2]])
	})
	return blockLine.ReplaceAllStringFunc(marked, func(line string) string {
		part := blockLine.FindStringSubmatch(line)
		return fmt.Sprintf("%s%s: {{- toYaml .Values.%s | nindent %d }}", part[1], part[2], part[3], len(part[1])+2)
	})
}

// more puts what a value holds, which may be nothing, in the place of a line.
func more(line *regexp.Regexp, text, value string) string {
	return line.ReplaceAllStringFunc(text, func(found string) string {
		indent := len(line.FindStringSubmatch(found)[1])
		return fmt.Sprintf("{{- with .Values.%s }}{{- toYaml . | nindent %d }}{{- end }}", value, indent)
	})
}

// keep makes Helm upgrade the definition with the release, and not delete it, and
// all policies with it, when the release goes.
func keep(definition *unstructured.Unstructured) {
	annotations := definition.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["helm.sh/resource-policy"] = "keep"
	definition.SetAnnotations(annotations)
}
