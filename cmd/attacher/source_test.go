// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// tree writes files below a new folder and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// settingsOf is a valid settings file; more is put in front of its end.
func settingsOf(policy, more string) string {
	return `{"policy":"` + policy + `","digest":"sha256:` + policy + `"` + more + `}`
}

// summary prints an input in one line: per policy name, digest, priority,
// interfaces and the number of rules in and out, then the directions.
func summary(in input) string {
	var out []string
	for _, p := range in.policies {
		line := []string{p.name, p.digest, strings.Join(p.interfaces, "+")}
		for _, d := range []struct {
			name  string
			rules rules.RuleSet
		}{{"in", p.ingress}, {"out", p.egress}} {
			for _, r := range d.rules {
				line = append(line, d.name+"="+r.DestinationPorts.Ranges[0].String())
			}
		}
		out = append(out, strings.Join(line, " "))
	}
	for _, d := range in.directions {
		out = append(out, d.String())
	}
	return strings.Join(out, "; ")
}

const drop53, drop54 = "udp dport 53 drop\n", "udp dport 54 drop\n"

var both = []rules.Direction{rules.Ingress, rules.Egress}

func TestRulesAreReadFromTheirPlaces(t *testing.T) {
	flatDigest := func(in, out string) string {
		a, _ := rules.Parse(in)
		b, _ := rules.Parse(out)
		return single(policy{ingress: a, egress: b}, nil).policies[0].digest
	}
	for name, c := range map[string]struct {
		files    map[string]string
		variable string
		chosen   []rules.Direction
		want     string
	}{
		"one policy": {map[string]string{"web/settings": settingsOf("web", ""), "web/ingress.rules": drop53, "web/egress.rules": drop54}, "", nil,
			"web sha256:web  in=53 out=54"},
		"a policy without rules": {map[string]string{"web/settings": settingsOf("web", "")}, "", nil, "web sha256:web "},
		"priority, then name": {map[string]string{
			"a/settings": settingsOf("a", ""), "b/settings": settingsOf("b", `,"priority":-1`),
			"c/settings": settingsOf("c", `,"priority":7,"interfaces":["net1","net2"],"mtu":"Warn"`), "d/settings": settingsOf("d", "")}, "", nil,
			"c sha256:c net1+net2; a sha256:a ; d sha256:d ; b sha256:b "},
		"one direction of a policy": {map[string]string{"web/settings": settingsOf("web", ""), "web/ingress.rules": drop53, "web/egress.rules": drop54}, "",
			[]rules.Direction{rules.Egress}, "web sha256:web  out=54; egress"},
		"hidden folders": {map[string]string{"web/settings": settingsOf("web", ""), "..2026_01/x/settings": "{"}, "", nil, "web sha256:web "},
		"two files":      {map[string]string{"ingress.rules": drop53, "egress.rules": drop54}, "", nil, " " + flatDigest(drop53, drop54) + "  in=53 out=54"},
		"one file":       {map[string]string{"egress.rules": drop54}, "", nil, " " + flatDigest("", drop54) + "  out=54"},
		"ruleset file":   {map[string]string{"ruleset": drop53}, "", nil, " " + flatDigest(drop53, "") + "  in=53; ingress"},
		"ruleset, both directions": {map[string]string{"ruleset": drop53}, "", both,
			" " + flatDigest(drop53, drop53) + "  in=53 out=53; ingress; egress"},
		"ruleset, egress": {map[string]string{"ruleset": drop53}, "", []rules.Direction{rules.Egress},
			" " + flatDigest("", drop53) + "  out=53; egress"},
		"the variable": {nil, "udp dport 53 actions drop", nil, " " + flatDigest(drop53, "") + "  in=53; ingress"},
		"the variable wins over the ruleset file": {map[string]string{"ruleset": drop53}, drop54, nil, " " + flatDigest(drop54, "") + "  in=54; ingress"},
	} {
		in, err := source{tree(t, c.files), c.variable, c.chosen}.read()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := summary(in); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

func TestBadInputIsNamedByFile(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		variable string
		want     string // DIR stands for the folder
	}{
		"nothing": {nil, "", "no rules: DIR has neither policy folders nor ingress.rules, egress.rules or ruleset, and SFUNNEL_RULESET is not set"},
		"folders and files": {map[string]string{"web/settings": settingsOf("web", ""), "egress.rules": ""}, "",
			"rules in two places: DIR/web, DIR/egress.rules; leave one"},
		"a variable and files":  {map[string]string{"ingress.rules": ""}, drop53, "rules in two places: SFUNNEL_RULESET, DIR/ingress.rules; leave one"},
		"no settings":           {map[string]string{"web/ingress.rules": drop53}, "", "open DIR/web/settings: no such file or directory"},
		"settings of another":   {map[string]string{"web/settings": settingsOf("mail", "")}, "", `DIR/web/settings: policy is "mail", want the folder's name "web"`},
		"settings without name": {map[string]string{"web/settings": `{"digest":"x"}`}, "", `DIR/web/settings: policy is "", want the folder's name "web"`},
		"no digest":             {map[string]string{"web/settings": `{"policy":"web"}`}, "", `DIR/web/settings: digest is missing`},
		"unknown setting":       {map[string]string{"web/settings": settingsOf("web", `,"new":1`)}, "", `DIR/web/settings: json: unknown field "new"`},
		"a second object":       {map[string]string{"web/settings": settingsOf("web", "") + "{}"}, "", `DIR/web/settings: more than one JSON object`},
		"unknown mtu":           {map[string]string{"web/settings": settingsOf("web", `,"mtu":"Shrink"`)}, "", `DIR/web/settings: mtu is "Shrink", want Warn or Reserve`},
		"no room for flows":     {map[string]string{"web/settings": settingsOf("web", `,"flows":0`)}, "", `DIR/web/settings: flows is 0, want 1 to 1048576`},
		"all faults at once": {map[string]string{"a/settings": "", "b/settings": settingsOf("b", ""), "b/ingress.rules": "udp dport 0 drop\nudp frob", "b/egress.rules": "udp dport 443 funnel tcp"}, "",
			"DIR/a/settings: EOF\n" +
				"DIR/b/ingress.rules:1:11: "},
		"the variable's text": {nil, "udp dport 53 forget", "SFUNNEL_RULESET:1:14: "},
	} {
		root := tree(t, c.files)
		_, err := source{root, c.variable, nil}.read()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if got, want := err.Error(), strings.ReplaceAll(c.want, "DIR", root); !strings.HasPrefix(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
		if !isBadInput(err) {
			t.Errorf("%s is not seen as bad input", name)
		}
	}
}

func TestAllFaultsOfAllPoliciesAreNamed(t *testing.T) {
	root := tree(t, map[string]string{
		"a/settings": settingsOf("a", ""), "a/ingress.rules": "udp dport 0 drop\nudp frob\n",
		"b/settings": settingsOf("b", ""), "b/egress.rules": "\n  udp dport 443 funnel tcp",
	})
	in, err := source{root, "", nil}.read()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"/a/ingress.rules:1:11: ", "/a/ingress.rules:2:5: ", "/b/egress.rules:2:17: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in\n%v", want, err)
		}
	}
	if got := in.digests(); len(got) != 2 || got["b"] != "sha256:b" {
		t.Errorf("digests for the report: %v", got)
	}
}

// TestAProjectedVolumeIsRead uses the layout that the kubelet makes: a hidden
// folder with the data and links to it.
func TestAProjectedVolumeIsRead(t *testing.T) {
	root := tree(t, map[string]string{"..2026_11/web/settings": settingsOf("web", ""), "..2026_11/web/ingress.rules": drop53})
	for link, to := range map[string]string{"..data": "..2026_11", "web": "..data/web"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	in, err := source{root, "", nil}.read()
	if got := summary(in); err != nil || got != "web sha256:web  in=53" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestPoliciesThatNameNoInterfaceGetTheGivenOnes(t *testing.T) {
	in := input{policies: []policy{{name: "a", interfaces: []string{"net1"}}, {name: "b"}}}
	sets := in.sets([]string{"eth0", "eth1"})
	if got := strings.Join(append(sets[0].Interfaces, sets[1].Interfaces...), " "); got != "net1 eth0 eth1" {
		t.Errorf("got %s", got)
	}
	if sets := in.sets(nil); sets[1].Interfaces != nil {
		t.Errorf("got %v", sets[1].Interfaces)
	}
}
