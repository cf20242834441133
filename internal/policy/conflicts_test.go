// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// a policy of a conflict case.
type candidate struct {
	name       string
	age        int // the larger, the older
	selector   string
	interfaces string
	egress     string
	ingress    string
}

func (c candidate) mustCompile(t *testing.T) Compiled {
	t.Helper()
	p := withText(c.egress, c.ingress)
	p.Name = c.name
	p.CreationTimestamp = metav1.NewTime(time.Unix(1000-int64(c.age), 0))
	p.Spec.PodSelector = *mustSelector(t, c.selector)
	p.Spec.Interfaces = strings.Fields(c.interfaces)
	program, _ := Compile(p, Cluster{})
	return Compiled{Policy: p, Program: program}
}

func TestConflicts(t *testing.T) {
	const (
		https  = "tcp dport 443 funnel tcp dport 80 sport 540"
		accept = "tcp dport 443 accept"
	)
	for _, test := range []struct {
		name     string
		policies []candidate
		yields   string // "younger<older …", sorted
	}{
		{"nobody", nil, ""},
		{"alone", []candidate{{name: "a", egress: https}}, ""},
		{"the same match, another action", []candidate{{name: "a", egress: https}, {name: "b", egress: accept, age: 1}}, "a<b"},
		{"of the same age, the name decides", []candidate{{name: "b", egress: https}, {name: "a", egress: accept}}, "b<a"},
		{"the same match, the same action", []candidate{{name: "a", egress: https}, {name: "b", egress: https}}, ""},
		{"the same match in other words", []candidate{{name: "a", egress: "tcp dport {80, 443} accept"}, {name: "b", egress: "dport {443,80} tcp drop"}}, "b<a"},
		{"another match", []candidate{{name: "a", egress: https}, {name: "b", egress: "tcp dport 444 accept"}}, ""},
		{"an overlapping match", []candidate{{name: "a", egress: https}, {name: "b", egress: "tcp accept"}}, ""},
		{"in different directions", []candidate{{name: "a", egress: https}, {name: "b", ingress: accept}}, ""},
		{"other inner ports", []candidate{{name: "a", ingress: "tcp dport 80 sport 540 unfunnel udp dport 53"}, {name: "b", ingress: "tcp dport 80 sport 540 unfunnel udp dport 443"}}, "b<a"},
		{"on pods that nobody has both of", []candidate{{name: "a", egress: https, selector: "app=web"}, {name: "b", egress: accept, selector: "app=db"}}, ""},
		{"on pods that somebody may have both of", []candidate{{name: "a", egress: https, selector: "app=web"}, {name: "b", egress: accept, selector: "tier=front"}}, "b<a"},
		{"on different interfaces", []candidate{{name: "a", egress: https, interfaces: "eth0"}, {name: "b", egress: accept, interfaces: "net1 net2"}}, ""},
		{"on a common interface", []candidate{{name: "a", egress: https, interfaces: "eth0 net1"}, {name: "b", egress: accept, interfaces: "net1"}}, "b<a"},
		{"on any interface", []candidate{{name: "a", egress: https, interfaces: "eth0"}, {name: "b", egress: accept}}, "b<a"},

		{"one marker for two inner protocols", []candidate{
			{name: "a", egress: "tcp dport 443 funnel tcp dport 80 sport 540-547"},
			{name: "b", egress: "udp dport 443 funnel tcp dport 80 sport 547"}}, "b<a"},
		{"two markers for two inner protocols", []candidate{
			{name: "a", egress: "tcp dport 443 funnel tcp dport 80 sport 540-547"},
			{name: "b", egress: "udp dport 443 funnel tcp dport 80 sport 548"}}, ""},
		{"one marker for one inner protocol", []candidate{
			{name: "a", egress: "udp dport 443 funnel tcp dport 80 sport 540"},
			{name: "b", egress: "udp dport 53 funnel tcp dport 80 sport 540"}}, ""},
		{"through another port", []candidate{
			{name: "a", egress: "tcp dport 443 funnel tcp dport 80 sport 540"},
			{name: "b", egress: "udp dport 443 funnel tcp dport 81 sport 540"}}, ""},
		{"through another protocol", []candidate{
			{name: "a", egress: "tcp dport 443 funnel tcp dport 80 sport 540"},
			{name: "b", egress: "udp dport 443 funnel udp dport 80 sport 540"}}, ""},
		{"to other addresses", []candidate{
			{name: "a", egress: "ip daddr 10.0.0.1 tcp dport 443 funnel tcp dport 80 sport 540"},
			{name: "b", egress: "ip daddr 10.0.0.2 udp dport 443 funnel tcp dport 80 sport 540"}}, ""},
		{"to all addresses but one, and to that one", []candidate{
			{name: "a", egress: "ip daddr != 10.0.0.1 tcp dport 443 funnel tcp dport 80 sport 540"},
			{name: "b", egress: "ip daddr 10.0.0.1 udp dport 443 funnel tcp dport 80 sport 540"}}, ""},
		{"to one of the same addresses", []candidate{
			{name: "a", egress: "ip daddr 10.0.0.0/24 tcp dport 443 funnel tcp dport 80 sport 540"},
			{name: "b", egress: "ip daddr 10.0.0.2 udp dport 443 funnel tcp dport 80 sport 540"}}, "b<a"},
		{"one marker unfunneled as two inner protocols", []candidate{
			{name: "a", ingress: "tcp dport 80 sport 540-547 unfunnel tcp"},
			{name: "b", ingress: "tcp dport 80 sport 547-550 unfunnel udp"}}, "b<a"},
		{"whatever is pushed, and one source port", []candidate{
			{name: "a", ingress: "tcp dport 80 pushed unfunnel udp"},
			{name: "b", ingress: "tcp dport 80 sport 541 unfunnel tcp"}}, "b<a"},
		{"two source ports", []candidate{
			{name: "a", ingress: "tcp dport 80 sport 540 unfunnel udp"},
			{name: "b", ingress: "tcp dport 80 sport 541 unfunnel tcp"}}, ""},

		{"the same rules, which share a marker", []candidate{
			{name: "a", ingress: "tcp sport 540 dport 80 pushed unfunnel tcp; tcp dport 80 pushed unfunnel udp"},
			{name: "b", ingress: "tcp dport 80 sport 540 pushed unfunnel tcp; tcp dport 80 pushed unfunnel udp"}}, ""},
		{"the same rules in another order", []candidate{
			{name: "a", ingress: "tcp sport 540 dport 80 pushed unfunnel tcp; tcp dport 80 pushed unfunnel udp"},
			{name: "b", ingress: "tcp dport 80 pushed unfunnel udp; tcp dport 80 sport 540 pushed unfunnel tcp"}}, "b<a"},

		{"who yields is in nobody's way", []candidate{
			{name: "a", age: 3, egress: https},
			{name: "b", age: 2, egress: accept + "; tcp dport 22 accept"},
			{name: "c", age: 1, egress: "tcp dport 22 drop"}}, "b<a"},
		{"several yield", []candidate{
			{name: "a", age: 3, egress: https},
			{name: "b", age: 2, egress: accept},
			{name: "c", age: 1, egress: accept}}, "b<a c<a"},
		{"who does not compile takes no part", []candidate{
			{name: "a", age: 1, egress: https + "; nonsense"},
			{name: "b", egress: accept}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := yields(t, test.policies); got != test.yields {
				t.Errorf("got %q, want %q", got, test.yields)
			}
		})
	}
}

// yields says who yields to whom, and that the order of policies does not matter.
func yields(t *testing.T, policies []candidate) string {
	t.Helper()
	var all []Compiled
	for _, p := range policies {
		all = append(all, p.mustCompile(t))
	}
	var texts []string
	for range 5 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		found := Conflicts(all)
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(found)) {
			pairs = append(pairs, name+"<"+found[name].With)
		}
		texts = append(texts, strings.Join(pairs, " "))
	}
	if len(slices.Compact(texts)) != 1 {
		t.Errorf("depends on the order: %q", texts)
	}
	return texts[0]
}

func TestConflictMessageNamesBothRules(t *testing.T) {
	found := Conflicts([]Compiled{
		candidate{name: "old", age: 1, egress: "udp dport 53 accept"}.mustCompile(t),
		candidate{name: "new", egress: "udp dport 53 drop"}.mustCompile(t),
	})
	want := `policy old is older and can hold for the same pods: egress: "udp dport 53 actions drop" has the same match as its "udp dport 53 actions accept", and another action; what this policy published before stays in force, in the order of priority, until the two agree or it is deleted`
	if got := found["new"].Message; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(found) != 1 {
		t.Errorf("%d policies yield", len(found))
	}
}
