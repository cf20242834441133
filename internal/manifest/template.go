// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"fmt"
	"slices"

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

// templateNode is the node of the template; an error when an edit there would change
// something else, too.
func (o *Object) templateNode() (*yamlnode.Node, error) {
	path, _ := o.template()
	n := o.node
	err := o.alone(n)
	for _, key := range path {
		if err != nil {
			break
		}
		n = child(n, key)
		if n == nil || n.Kind != yamlnode.MappingNode {
			return nil, fmt.Errorf("%s: write it out here: an alias or another kind of value can't be edited", key)
		}
		err = about(key, o.alone(n))
	}
	return n, err
}

// alone is an error when something of the document refers to the node.
func (o *Object) alone(n *yamlnode.Node) error {
	if n.Anchor == "" || !refersTo(o.in.root, n) {
		return nil
	}
	return fmt.Errorf("write it out here, without the anchor &%s: what refers to it would change, too", n.Anchor)
}

func refersTo(in, n *yamlnode.Node) bool {
	return in.Alias == n || slices.ContainsFunc(in.Content, func(c *yamlnode.Node) bool { return refersTo(c, n) })
}

// about puts a key in front of an error.
func about(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}
