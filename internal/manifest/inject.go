// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// Inject does to the pods of the streams what the webhook does to pods that are
// created: policies names those that hold for one. It changes what the webhook
// changes and nothing else, and returns all faults, each with its place; then
// nothing of the streams is to be used.
func Inject(streams []*Stream, policies func(*corev1.Pod) []string, opts inject.Options) error {
	var faults []error
	for _, s := range streams {
		for _, o := range s.Objects {
			faults = append(faults, o.inject(policies, opts))
		}
	}
	return errors.Join(faults...)
}

func (o *Object) inject(policies func(*corev1.Pod) []string, opts inject.Options) error {
	pod, fault := o.pod()
	if fault != nil {
		return errors.New(fault.String())
	}
	if pod == nil {
		return nil
	}
	names := policies(pod)
	if err := inject.Pod(pod, names, opts); err != nil {
		return o.denied(err)
	}
	if inject.OptedOut(pod) || len(names) == 0 {
		return nil
	}
	o.in.edited = true
	if err := o.graft(pod); err != nil {
		return fmt.Errorf("%v: %w", o, err)
	}
	return nil
}

// denied puts the place in front of each fault.
func (o *Object) denied(err error) error {
	var denied *inject.DeniedError
	if !errors.As(err, &denied) {
		return err
	}
	path, _ := o.template()
	var faults []error
	for _, fault := range denied.Faults {
		field, _, _ := strings.Cut(fault, ":")
		field = strings.Join(append(slices.Clone(path), field), ".")
		faults = append(faults, fmt.Errorf("%s:%d: %s: %s", o.File, o.Line(field), o.Title(), fault))
	}
	return errors.Join(faults...)
}

// graft puts our label, init container and volume of the injected pod into the
// template, each where the pod has it.
func (o *Object) graft(pod *corev1.Pod) error {
	template, err := o.templateNode()
	if err != nil {
		return err
	}
	metadata, err := o.mapping(template, "metadata")
	if err != nil {
		return err
	}
	labels, err := o.mapping(metadata, "labels")
	if err != nil {
		return err
	}
	set(labels, v1alpha1.LabelInjected, &yamlnode.Node{Kind: yamlnode.ScalarNode, Tag: "!!str", Style: yamlnode.DoubleQuotedStyle, Value: v1alpha1.InjectedTrue})
	spec, err := o.mapping(template, "spec")
	if err != nil {
		return err
	}
	for _, field := range []string{"initContainers", "volumes"} {
		if list := child(spec, field); list != nil {
			err = errors.Join(err, about(field, o.alone(list)))
		}
	}
	if err != nil {
		return err
	}
	if err := graftList(spec, "initContainers", v1alpha1.InitContainerName, pod.Spec.InitContainers); err != nil {
		return err
	}
	return graftList(spec, "volumes", v1alpha1.VolumeName, pod.Spec.Volumes)
}

// graftList gives the list the order of the injected one. The item named ours
// comes from there, all others stay what they are.
func graftList[T corev1.Container | corev1.Volume](spec *yamlnode.Node, field, ours string, injected []T) error {
	list := child(spec, field)
	if list == nil || list.Tag == "!!null" {
		list = &yamlnode.Node{Kind: yamlnode.SequenceNode}
		set(spec, field, list)
	}
	if list.Kind != yamlnode.SequenceNode {
		return fmt.Errorf("spec.%s: write the list out here: an alias can't be edited", field)
	}
	var content []*yamlnode.Node
	for i := range injected {
		name, item, err := encode(&injected[i])
		if err != nil {
			return err
		}
		if there := named(list, name); there != nil && name != ours {
			item = there
		}
		content = append(content, item)
	}
	list.Content = content
	if len(content) > 0 {
		list.Style &^= yamlnode.FlowStyle
	}
	return nil
}

// encode is the item as a node, and its name.
func encode(item any) (name string, n *yamlnode.Node, err error) {
	text, err := yaml.Marshal(item)
	if err != nil {
		return "", nil, err
	}
	root := &yamlnode.Node{}
	if err := yamlnode.Unmarshal(text, root); err != nil {
		return "", nil, err
	}
	return child(root.Content[0], "name").Value, root.Content[0], nil
}

// named is the list's item of that name.
func named(list *yamlnode.Node, name string) *yamlnode.Node {
	for _, item := range list.Content {
		if n := child(resolved(item), "name"); n != nil && n.Value == name {
			return item
		}
	}
	return nil
}

func resolved(n *yamlnode.Node) *yamlnode.Node {
	if n.Kind == yamlnode.AliasNode {
		return n.Alias
	}
	return n
}

// mapping is the mapping at a key, a new one when there is none.
func (o *Object) mapping(n *yamlnode.Node, key string) (*yamlnode.Node, error) {
	value := child(n, key)
	switch {
	case value == nil && child(n, "<<") != nil:
		return nil, fmt.Errorf("%s: write it out here, instead of what is merged (<<): that would hide it", key)
	case value == nil || value.Tag == "!!null":
		value = &yamlnode.Node{Kind: yamlnode.MappingNode}
		set(n, key, value)
	case value.Kind != yamlnode.MappingNode:
		return nil, fmt.Errorf("%s: write it out here: an alias can't be edited", key)
	}
	return value, about(key, o.alone(value))
}

// set gives a key a value, in its place or at the end.
func set(n *yamlnode.Node, key string, value *yamlnode.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content[i+1] = value
			return
		}
	}
	n.Content = append(n.Content, &yamlnode.Node{Kind: yamlnode.ScalarNode, Tag: "!!str", Value: key}, value)
}
