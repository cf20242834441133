// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Stream is a file with YAML documents.
type Stream struct {
	file      string
	documents []*document
	// Objects are what the documents hold, those of a List one by one.
	Objects []*Object
}

// document is a piece of a stream. Its text begins with the separator, unless
// it is the first, and stays as it is until the root is edited.
type document struct {
	text   string
	line   int // of the stream, where the text begins; from 1
	root   *yamlnode.Node
	edited bool
}

// Object is one object of a stream.
type Object struct {
	File            string
	Kind            schema.GroupVersionKind
	Namespace, Name string

	in   *document
	node *yamlnode.Node
	json []byte
}

// String is "file:line: kind namespace/name".
func (o *Object) String() string {
	return fmt.Sprintf("%s:%d: %s", o.File, o.Line(""), o.Title())
}

// Title is "kind namespace/name".
func (o *Object) Title() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return o.Kind.Kind + " " + name
}

// Parse reads a stream. Documents without an object, comments for instance, are
// kept. An error names the file and line.
func Parse(file, text string) (*Stream, error) {
	s := &Stream{file: file}
	for _, d := range split(text) {
		root := &yamlnode.Node{}
		if err := yamlnode.Unmarshal([]byte(d.content()), root); err != nil {
			return nil, fmt.Errorf("%s: in the document at line %d: %w", file, d.line, err)
		}
		s.documents = append(s.documents, d)
		if len(root.Content) == 0 || root.Content[0].Kind != yamlnode.MappingNode {
			continue
		}
		d.root = root
		if err := s.add(d, root.Content[0], []byte(d.text)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// split cuts in front of each line that separates documents.
func split(text string) []*document {
	var documents []*document
	line, first, begin := 1, 1, 0
	for at := 0; at < len(text); line++ {
		end := strings.IndexByte(text[at:], '\n') + 1
		if end == 0 {
			end = len(text) - at
		}
		if at > begin && separates(text[at:at+end]) {
			documents = append(documents, &document{text: text[begin:at], line: first})
			begin, first = at, line
		}
		at += end
	}
	return append(documents, &document{text: text[begin:], line: first})
}

func separates(line string) bool {
	line = strings.TrimRight(line, "\r\n")
	return line == "---" || strings.HasPrefix(line, "--- ")
}

// bare reports whether a separator has nothing behind it but a comment.
func bare(separator string) bool {
	rest := strings.TrimSpace(strings.TrimPrefix(separator, "---"))
	return rest == "" || rest[0] == '#'
}

// content is the text without a bare separator, line for line.
func (d *document) content() string {
	first, rest, _ := strings.Cut(d.text, "\n")
	if separates(first) && bare(first) {
		return "\n" + rest
	}
	return d.text
}

// add adds an object, or the items of a List.
func (s *Stream) add(d *document, node *yamlnode.Node, text []byte) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
	}
	where := fmt.Sprintf("%s:%d", s.file, d.line+node.Line-1)
	json, err := yaml.YAMLToJSONStrict(text)
	if err == nil {
		err = yaml.Unmarshal(json, &head)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if head.APIVersion == "v1" && head.Kind == "List" {
		return s.addItems(d, node, json)
	}
	s.Objects = append(s.Objects, &Object{
		File: s.file, Kind: schema.FromAPIVersionAndKind(head.APIVersion, head.Kind),
		Namespace: head.Metadata.Namespace, Name: head.Metadata.Name,
		in: d, node: node, json: json,
	})
	return nil
}

// addItems takes them from the whole List: one may refer to what another one defines.
func (s *Stream) addItems(d *document, list *yamlnode.Node, text []byte) error {
	var whole struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return fmt.Errorf("%s:%d: %w", s.file, d.line+list.Line-1, err)
	}
	if len(whole.Items) == 0 {
		return nil
	}
	items := child(list, "items")
	if items == nil || items.Kind != yamlnode.SequenceNode {
		return fmt.Errorf("%s:%d: items: write the list out here, without alias or merge", s.file, d.line+list.Line-1)
	}
	for i, item := range whole.Items {
		if err := s.add(d, resolved(items.Content[i]), item); err != nil {
			return err
		}
	}
	return nil
}

// String is the stream as it was read, but for the documents that were edited:
// these keep their comments and get one layout.
func (s *Stream) String() string {
	var b strings.Builder
	for _, d := range s.documents {
		b.WriteString(d.String())
	}
	return b.String()
}

func (d *document) String() string {
	if !d.edited {
		return d.text
	}
	var b bytes.Buffer
	switch first, _, _ := strings.Cut(d.text, "\n"); {
	case !separates(first):
	case bare(first):
		b.WriteString(first + "\n")
	default:
		b.WriteString("---\n")
	}
	encoder := yamlnode.NewEncoder(&b)
	encoder.SetIndent(2)
	if compact(d.root) {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(d.root); err != nil {
		panic(err) // it was decoded
	}
	return b.String()
}

// compact reports whether the first list that is a value begins in its key's
// column.
func compact(n *yamlnode.Node) bool {
	for i, c := range n.Content {
		if n.Kind == yamlnode.MappingNode && i%2 == 1 && c.Kind == yamlnode.SequenceNode && c.Style&yamlnode.FlowStyle == 0 {
			return c.Column == n.Content[i-1].Column
		}
		if listed(c) {
			return compact(c)
		}
	}
	return false
}

// listed reports whether there is a list in block style below the node.
func listed(n *yamlnode.Node) bool {
	for i, c := range n.Content {
		if n.Kind == yamlnode.MappingNode && i%2 == 1 && c.Kind == yamlnode.SequenceNode && c.Style&yamlnode.FlowStyle == 0 || listed(c) {
			return true
		}
	}
	return false
}

// child is the value of a mapping's key, nil when there is none.
func child(n *yamlnode.Node, key string) *yamlnode.Node {
	for i := 0; n.Kind == yamlnode.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
