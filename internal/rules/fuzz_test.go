// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// FuzzParse feeds any text to the parser: it must not panic; what it takes
// must be valid and read the same when printed; what it refuses must be
// refused with faults that lie inside the text, in order.
func FuzzParse(f *testing.F) {
	f.Add("ip daddr 10.0.0.1 tcp dport 443 funnel tcp dport 80 sport 540 # HTTPs")
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := rules.Parse(text)
		if err != nil {
			soundErrors(t, text, rs, err)
			return
		}
		if err := rs.Validate(); err != nil {
			t.Fatalf("%q is read as what is not valid: %v", text, err)
		}
		again, err := rules.Parse(rs.String())
		if err != nil {
			t.Fatalf("%q prints as what can't be read: %v\n%s", text, err, rs)
		}
		sameRuleSet(t, again, rs)
		rs.Warnings(rules.Ingress)
	})
}

func soundErrors(t *testing.T, text string, rs rules.RuleSet, err error) {
	t.Helper()
	var faults rules.Errors
	if rs != nil || !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("%q: rules %v with error %#v", text, rs, err)
	}
	last := rules.Position{Line: 1, Column: 1}
	lines := strings.Split(text, "\n")
	for _, fault := range faults {
		at := fault.Position
		if at.Line < last.Line || at.Line == last.Line && at.Column < last.Column {
			t.Fatalf("%q: %v is out of order", text, fault)
		}
		if at.Line > len(lines) || at.Column > len(lines[at.Line-1])+1 {
			t.Fatalf("%q: %v is outside of the text", text, fault)
		}
		if fault.Message == "" || fault.Token == "" {
			t.Fatalf("%q: %+v says nothing", text, fault)
		}
		last = at
	}
}

func sameRuleSet(t *testing.T, got, want rules.RuleSet) {
	t.Helper()
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
}
