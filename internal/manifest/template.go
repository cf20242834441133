// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"fmt"

	yamlnode "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
)

// templates are the fields of the kinds that make pods where the pod stands.
var templates = map[string][]string{
	"v1 Pod":                   {},
	"v1 PodTemplate":           {"template"},
	"v1 ReplicationController": {"spec", "template"},
	"apps/v1 Deployment":       {"spec", "template"},
	"apps/v1 StatefulSet":      {"spec", "template"},
	"apps/v1 DaemonSet":        {"spec", "template"},
	"apps/v1 ReplicaSet":       {"spec", "template"},
	"batch/v1 Job":             {"spec", "template"},
	"batch/v1 CronJob":         {"spec", "jobTemplate", "spec", "template"},
}

// template is the field of the object where a pod stands.
func (o *Object) template() (path []string, ok bool) {
	path, ok = templates[o.Kind.GroupVersion().String()+" "+o.Kind.Kind]
	return path, ok
}

// pod is the pod that the object is or makes; nil when it makes none, as a patch
// without a template. A template's pod has the namespace of the object and no name.
func (o *Object) pod() (*corev1.Pod, *Finding) {
	path, ok := o.template()
	if !ok {
		return nil, nil
	}
	part := json.RawMessage(o.json)
	for i, key := range path {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(part, &fields); err != nil {
			return nil, o.unreadable(path[:i], part, err)
		}
		if part = fields[key]; part == nil {
			return nil, nil
		}
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(part, pod); err != nil {
		return nil, o.unreadable(path, part, err)
	}
	pod.Namespace = o.Namespace
	return pod, nil
}

// templateNode is the node of the template; an error when an alias stands on the
// way, as an edit there would change its anchor, too.
func (o *Object) templateNode() (*yamlnode.Node, error) {
	path, _ := o.template()
	n := o.node
	for _, key := range path {
		n = child(n, key)
		if n == nil || n.Kind != yamlnode.MappingNode {
			return nil, fmt.Errorf("%v: %s: write it out here: an alias or another kind of value can't be edited", o, key)
		}
	}
	return n, nil
}
