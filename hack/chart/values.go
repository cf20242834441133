// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Marks stand in the manifests where a value goes.
const (
	managerMark   = "mark.invalid/manager:value"
	attacherMark  = "mark.invalid/attacher:value"
	namespaceMark = "mark-of-the-namespace"
	replicasMark  = 271828
	blockMark     = "mark of the block "
	argsMark      = "mark of more arguments"
	labelsMark    = "mark-of-more-labels"
	networkMark   = "mark of the network"
	portMark      = "mark-of-the-port-"
	readerMark    = "mark-of-the-reader"
	homeMark      = "mark-of-the-home-of-the-reader"
)

// A block is a field that a value decides as a whole.
type block struct {
	name string
	none any // where the manifest has no such field
}

// The blocks of the manager's pod, and of its container.
var (
	podBlocks = []block{
		{"affinity", map[string]any{}}, {"imagePullSecrets", []any{}}, {"nodeSelector", map[string]any{}},
		{"priorityClassName", ""}, {"tolerations", []any{}}, {"topologySpreadConstraints", []any{}},
	}
	containerBlocks = []block{{"resources", map[string]any{}}}
)

// takeValues puts marks into the variants, and returns what stood there: the values
// as config/default and its monitoring have them.
func takeValues(variants []variant, manager, attacher string) map[string]any {
	values := map[string]any{
		"images":     map[string]any{"manager": manager, "attacher": attacher},
		"prometheus": takeReader(variants[monitoring]),
	}
	for i, v := range variants {
		taken := map[string]any{}
		takeFrom(v.find("Deployment", "sfunnel-manager").Object, taken)
		if i == webhook {
			for name, value := range taken {
				values[name] = value
			}
		}
	}
	return values
}

func takeFrom(deployment map[string]any, values map[string]any) {
	spec := deployment["spec"].(map[string]any)
	values["replicas"] = spec["replicas"]
	spec["replicas"] = int64(replicasMark)
	pod, _, _ := unstructured.NestedMap(spec, "template", "spec")
	pod["hostNetwork"] = networkMark
	container := pod["containers"].([]any)[0].(map[string]any)
	container["args"] = append(container["args"].([]any), takePorts(container["ports"].([]any))...)
	container["args"] = append(container["args"].([]any), argsMark)
	take(container, containerBlocks, values)
	take(pod, podBlocks, values)
	_ = unstructured.SetNestedMap(spec, pod, "template", "spec")
}

// takePorts marks the numbers of a container's ports, and returns a mark for the flag by
// which the manager is told of each.
func takePorts(ports []any) (flags []any) {
	for _, port := range ports {
		port := port.(map[string]any)
		mark := portMark + port["name"].(string)
		port["containerPort"] = fmt.Sprintf("%s-%v", mark, port["containerPort"])
		flags = append(flags, mark)
	}
	return flags
}

func take(object map[string]any, blocks []block, values map[string]any) {
	for _, b := range blocks {
		if values[b.name] = object[b.name]; values[b.name] == nil {
			values[b.name] = b.none
		}
		object[b.name] = fmt.Sprint(blockMark, b.name)
	}
}

// takeReader marks whom the bindings of the monitoring name, and where more labels go;
// it returns the ServiceAccount that they name.
func takeReader(v variant) map[string]any {
	var reader map[string]any
	for _, object := range v.objects {
		switch kind, name := object.GetKind(), object.GetName(); {
		case kind == "ServiceMonitor" || kind == "PrometheusRule":
			labels := object.GetLabels()
			labels[labelsMark] = ""
			object.SetLabels(labels)
		case strings.HasSuffix(kind, "Binding") && strings.HasPrefix(name, "sfunnel-metrics-"):
			subject := object.Object["subjects"].([]any)[0].(map[string]any)
			reader = map[string]any{"namespace": subject["namespace"], "serviceAccount": subject["name"]}
			subject["namespace"], subject["name"] = homeMark, readerMark
		}
	}
	return reader
}
