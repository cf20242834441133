// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
)

// variables is an environment written as "NAME=value NAME=value"; a comma in a
// value stands for a space.
func variables(text string) func(string) string {
	values := map[string]string{}
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		values[name] = strings.ReplaceAll(value, ",", " ")
	}
	return func(name string) string { return values[name] }
}

func TestFlagsWinOverVariables(t *testing.T) {
	for name, c := range map[string]struct{ env, args, want string }{
		"defaults":  {"", "", "/etc/sfunnel  [] [] 6 3s"},
		"variables": {"IFACES=eth0,net1 DIRECTION=both NETNS=blue N_ATTEMPTS=2 RETRY_DELAY=0.5", "", "/etc/sfunnel blue [eth0 net1] [ingress egress] 2 500ms"},
		"flags": {"IFACES=eth0 DIRECTION=both NETNS=blue N_ATTEMPTS=2 RETRY_DELAY=1",
			"--interface net1,net2 --direction egress --netns /x --attempts 1 --retry-delay 2s --rules /r", "/r /x [net1 net2] [egress] 1 2s"},
		"ingress":  {"DIRECTION=ingress", "", "/etc/sfunnel  [] [ingress] 6 3s"},
		"repeated": {"IFACES=eth0", "--interface net1 --interface net2,net3", "/etc/sfunnel  [net1 net2 net3] [] 6 3s"},
		"none":     {"IFACES=eth0", "--interface=", "/etc/sfunnel  [] [] 6 3s"},
	} {
		got, _, err := readChoices("attach", strings.Fields(c.args), variables(c.env))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s := fmt.Sprintf("%s %s %v %v %d %v", got.folder, got.netns, got.interfaces, got.directions, got.attempts, got.delay); s != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, s, c.want)
		}
	}
}

func TestBadFlagsAndVariablesAreAllNamed(t *testing.T) {
	for env, want := range map[string]string{
		"DIRECTION=out":                `direction "out": want ingress, egress or both`,
		"N_ATTEMPTS=0":                 `number of attempts "0": want a whole number from 1`,
		"N_ATTEMPTS=x RETRY_DELAY=-1":  "number of attempts \"x\": want a whole number from 1\nretry delay \"-1\": want seconds, at most an hour",
		"RETRY_DELAY=NaN DIRECTION=up": "direction \"up\": want ingress, egress or both\nretry delay \"NaN\": want seconds, at most an hour",
		"SFUNNEL_FLOWS=0":              `room for "0" flows: want a whole number from 1 to 1048576`,
		"SFUNNEL_FLOWS=1048577":        `room for "1048577" flows: want a whole number from 1 to 1048576`,
		"RETRY_DELAY=9999999999999999": "retry delay \"9999999999999999\": want seconds, at most an hour",
	} {
		if _, _, err := readChoices("attach", nil, variables(env)); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", env, err, want)
		}
	}
	if _, _, err := readChoices("show", []string{"-o", "yaml"}, variables("")); err == nil || err.Error() != `output "yaml": want json` {
		t.Errorf("got %v", err)
	}
}

// TestCommandsTakeTheirOwnFlags and variables: what would do nothing is refused, or not looked at.
func TestCommandsTakeTheirOwnFlags(t *testing.T) {
	for line, want := range map[string]string{
		"attach -o json":         "flag provided but not defined: -o",
		"show --drop-flows":      "flag provided but not defined: -drop-flows",
		"show --attempts 3":      "flag provided but not defined: -attempts",
		"detach --rules /r":      "flag provided but not defined: -rules",
		"detach --flows 7":       "flag provided but not defined: -flows",
		"detach --retry-delay 1": "flag provided but not defined: -retry-delay",
		"show --flows -o json --rules /r --interface eth0 --netns x --direction both": "",
		"detach --interface eth0 --netns x --direction both":                          "",
	} {
		args := strings.Fields(line)
		_, _, err := readChoices(args[0], args[1:], variables(""))
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%s: got %v\nwant %s", line, err, want)
		}
	}
	const others = "RETRY_DELAY=abc N_ATTEMPTS=0 SFUNNEL_FLOWS=no SFUNNEL_DROP_FLOWS=maybe SFUNNEL_AWAIT=x"
	for _, command := range []string{"show", "detach"} {
		if _, _, err := readChoices(command, nil, variables(others)); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestSwitches(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "1": true, "true": true, "false": false} {
		if got, err := isSet(variables("X="+value), "X"); got != want || err != nil {
			t.Errorf("%q: %v, %v", value, got, err)
		}
	}
	if _, err := isSet(variables("CLEAN=yes"), "CLEAN"); err == nil || err.Error() != `CLEAN="yes": want 1 or 0` {
		t.Errorf("got %v", err)
	}
}

func TestRoomForFlows(t *testing.T) {
	for _, c := range []struct {
		env, args string
		want      int
	}{{"", "", 0}, {"SFUNNEL_FLOWS=1048576", "", 1048576}, {"SFUNNEL_FLOWS=7", "--flows 9", 9}} {
		if got, _, err := readChoices("attach", strings.Fields(c.args), variables(c.env)); err != nil || got.flows != c.want || got.dropFlows {
			t.Errorf("%q %q: %+v, %v", c.env, c.args, got, err)
		}
	}
	if got, _, err := readChoices("attach", nil, variables("SFUNNEL_DROP_FLOWS=1")); err != nil || !got.dropFlows {
		t.Errorf("got %+v, %v", got, err)
	}
}
