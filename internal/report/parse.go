// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// start is how every report begins. Other text may stand before it: the
// kubelet puts the runtime's own message there.
const start = `{"version":`

// ErrNoReport is returned for a message without a report.
var ErrNoReport = errors.New("the termination message holds no report")

// Parse reads a report out of a termination message. Of a line that was cut it
// returns what can be trusted and sets Truncated: a digest or an interface is
// there as a whole or not at all, an error text may lack its end. It fails
// when not even the result is there, or the version is another one.
func Parse(message string) (Report, error) {
	i := strings.Index(message, start)
	if i < 0 {
		return Report{}, ErrNoReport
	}
	p := parser{text: message[i:]}
	p.dec = json.NewDecoder(strings.NewReader(p.text))
	err := p.object(p.field)
	p.report.Truncated = err != nil || p.report.Omitted > 0
	if err := p.usable(err); err != nil {
		return Report{}, err
	}
	return p.report, nil
}

// parser reads one value after the other, so that a line that ends early has
// given all that was complete.
type parser struct {
	text   string
	dec    *json.Decoder
	report Report
}

// usable says why the report can't be used, given the error that ended it.
func (p *parser) usable(err error) error {
	switch {
	case err != nil && !cut(err):
		return fmt.Errorf("parse report: %w", err)
	case p.report.Result == "":
		return fmt.Errorf("parse report: it ends before the result")
	case p.report.Version != Version:
		return fmt.Errorf("report has version %d, want %d", p.report.Version, Version)
	case p.report.Result != Attached && p.report.Result != Failed:
		return fmt.Errorf("report has result %q, want %q or %q", p.report.Result, Attached, Failed)
	}
	return nil
}

// cut reports whether the error means that the input ended.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// object reads an object and calls field after each of its keys.
func (p *parser) object(field func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.dec.More() {
		key, err := p.dec.Token()
		if err != nil {
			return err
		}
		if err := field(key.(string)); err != nil {
			return err
		}
	}
	return p.delim('}')
}

// delim reads one of { } [ ].
func (p *parser) delim(want json.Delim) error {
	t, err := p.dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("found %v, want %v", t, want)
	}
	return nil
}

// field reads the value of one of the report's own keys.
func (p *parser) field(key string) error {
	r := &p.report
	switch key {
	case "version":
		return p.dec.Decode(&r.Version)
	case "result":
		return p.dec.Decode(&r.Result)
	case "keepsFlows":
		return p.dec.Decode(&r.KeepsFlows)
	case "omitted":
		return p.dec.Decode(&r.Omitted)
	case "digests":
		return p.object(p.digest)
	case "error":
		return p.errorText()
	case "interfaces":
		return p.interfaces()
	case "kernel":
		return p.dec.Decode(&r.Kernel)
	}
	return p.dec.Decode(&json.RawMessage{})
}

func (p *parser) digest(name string) error {
	var digest string
	if err := p.dec.Decode(&digest); err != nil {
		return err
	}
	if p.report.Digests == nil {
		p.report.Digests = map[string]string{}
	}
	p.report.Digests[name] = digest
	return nil
}

func (p *parser) interfaces() error {
	if err := p.delim('['); err != nil {
		return err
	}
	for p.dec.More() {
		var i Interface
		if err := p.dec.Decode(&i); err != nil {
			return err
		}
		p.report.Interfaces = append(p.report.Interfaces, i)
	}
	return p.delim(']')
}

// errorText reads the error, or as much as there is of it.
func (p *parser) errorText() error {
	from := p.dec.InputOffset()
	err := p.dec.Decode(&p.report.Error)
	if err != nil && cut(err) {
		p.report.Error = openString(p.text[from:])
	}
	return err
}

// openString decodes a JSON string that lacks its end. An escape sequence that
// was cut is left out. Before the string may stand a colon.
func openString(text string) string {
	_, text, _ = strings.Cut(text, `"`)
	for cutoff := 0; cutoff <= min(len(text), 11); cutoff++ { // 11: a surrogate pair less one
		var s string
		if json.Unmarshal([]byte(`"`+text[:len(text)-cutoff]+`"`), &s) == nil {
			return s
		}
	}
	return ""
}
