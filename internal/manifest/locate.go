// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

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

// unreadable says why a part of the object, which stands at that path, could not be
// decoded.
func (o *Object) unreadable(path []string, part []byte, err error) *Finding {
	message := err.Error()
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
		path = slices.Concat(path, wrongField(part, wrong))
		message = fmt.Sprintf("want %s, found %s", wrong.Type, wrong.Value)
	}
	if len(path) > 0 {
		message = joined(path) + ": " + message
	}
	found := o.finding(Fault, strings.Join(path, "."), message)
	return &found
}

// joined is the path as people write it: an index in brackets.
func joined(path []string) string {
	var b strings.Builder
	for i, step := range path {
		switch _, err := strconv.Atoi(step); {
		case err == nil:
			step = "[" + step + "]"
		case i > 0:
			step = "." + step
		}
		b.WriteString(step)
	}
	return b.String()
}

// wrongField is the path of a value of the wrong type. The error knows fields only; the
// indices between them are found by where it is in the text.
func wrongField(text []byte, wrong *json.UnmarshalTypeError) []string {
	path, _ := pathAt(json.NewDecoder(bytes.NewReader(text)), wrong.Offset)
	fields := slices.DeleteFunc(slices.Clone(path), func(step string) bool { return joined([]string{step}) != step })
	known := slices.DeleteFunc(steps(wrong.Field), func(step string) bool { return unicode.IsUpper(rune(step[0])) }) // embedded in Go
	if len(fields) < len(known) || !slices.Equal(fields[:len(known)], known) {
		return known // a type that reads itself tells where it was within its own text
	}
	return path
}

// pathAt reads a value and returns the path, below it, of the first that begins or ends at
// the offset or behind it.
func pathAt(d *json.Decoder, offset int64) (path []string, found bool) {
	token, err := d.Token()
	if err != nil || d.InputOffset() >= offset {
		return nil, true
	}
	delim, nested := token.(json.Delim)
	for i := 0; nested && d.More(); i++ {
		step := strconv.Itoa(i)
		if delim == '{' {
			key, _ := d.Token()
			step, _ = key.(string)
		}
		if below, found := pathAt(d, offset); found {
			return append([]string{step}, below...), true
		}
	}
	if nested {
		_, _ = d.Token() // its end
	}
	return nil, false
}
