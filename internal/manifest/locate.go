// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strconv"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
)

// Line is the line, from 1, where the field of that path stands in the file, or
// the nearest one above it that is there. The empty path is the object's own.
func (o *Object) Line(path string) int {
	at, n := o.node, o.node
	for _, step := range steps(path) {
		key, value := below(n, step)
		if value == nil {
			break
		}
		at, n = key, value
	}
	return o.in.line + at.Line - 1
}

// steps splits "spec.rules.ingress[0].match".
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// below returns the value of a key or an index, and the node that shows where it
// stands.
func below(n *yamlnode.Node, step string) (at, value *yamlnode.Node) {
	switch n.Kind {
	case yamlnode.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yamlnode.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}
