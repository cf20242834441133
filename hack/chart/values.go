// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Marks stand in the manifests where a value goes.
const (
	managerMark   = "mark.invalid/manager:value"
	attacherMark  = "mark.invalid/attacher:value"
	namespaceMark = "mark-of-the-namespace"
	replicasMark  = 271828
	blockMark     = "mark of the block "
)

// blocks are the fields of the manager's pod, and of its container, that values
// decide as a whole.
var (
	podBlocks       = []string{"nodeSelector", "tolerations", "topologySpreadConstraints"}
	containerBlocks = []string{"resources"}
)

// takeValues puts marks into the manager's Deployments, and returns what stood
// there: the values as config/default has them.
func takeValues(variants []variant, manager, attacher string) map[string]any {
	values := map[string]any{
		"images": map[string]any{"manager": manager, "attacher": attacher},
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
	container := pod["containers"].([]any)[0].(map[string]any)
	take(container, containerBlocks, values)
	take(pod, podBlocks, values)
	_ = unstructured.SetNestedMap(spec, pod, "template", "spec")
}

func take(object map[string]any, blocks []string, values map[string]any) {
	for _, block := range blocks {
		if values[block] = object[block]; values[block] == nil {
			values[block] = []any{}
		}
		object[block] = fmt.Sprint(blockMark, block)
	}
}
