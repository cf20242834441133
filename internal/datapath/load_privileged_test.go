// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// TestLoadNamesTheMissingCapability loads with all needed capabilities but
// one, as a pod that was not granted it would.
func TestLoadNamesTheMissingCapability(t *testing.T) {
	testnet.RequireRoot(t)
	cfg := Config{Ingress: mustCompile(t, popRule(17)), Egress: mustCompile(t, pushRule(6)), Interface: ethernet}
	all := []int{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON}
	for _, c := range []struct {
		capabilities []int
		want         string // "": loads
	}{
		{all, ""},
		{[]int{unix.CAP_NET_ADMIN, unix.CAP_PERFMON}, "missing CAP_BPF: "},
		{[]int{unix.CAP_BPF, unix.CAP_PERFMON}, "missing CAP_NET_ADMIN: "},
		{[]int{unix.CAP_BPF, unix.CAP_NET_ADMIN}, "missing CAP_PERFMON: "},
		{[]int{unix.CAP_NET_ADMIN}, "missing CAP_BPF, CAP_PERFMON: "},
	} {
		err := with(t, c.capabilities, func() error {
			programs, err := Load(cfg)
			if err == nil {
				programs.Close()
			}
			return err
		})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("with all: %v", err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("got %v, want %s…", err, c.want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("more than one line: %v", err)
		}
	}
}

// with runs f on a thread that has only these capabilities, and ends with it.
func with(t *testing.T, capabilities []int, f func() error) error {
	t.Helper()
	var set [2]unix.CapUserData
	for _, c := range capabilities {
		set[c/32].Effective |= 1 << (c % 32)
		set[c/32].Permitted |= 1 << (c % 32)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &set[0]); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

func TestLoadRefuses(t *testing.T) {
	push := mustCompile(t, pushRule(6))
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"nothing to load", Config{Interface: ethernet}, "no rules for either direction"},
		{"no interface", Config{Ingress: push}, "interface index 0"},
		{"no segmenting device", Config{Egress: push, Interface: Interface{Index: 1}}, "the rules push headers into what leaves, which needs a segmenting device"},
	} {
		if _, err := Load(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestLoadedIsWhatTheRulesNeed(t *testing.T) {
	testnet.RequireRoot(t)
	for _, c := range []struct {
		ingress, egress string
		segment         bool
	}{
		{popRule(17), pushRule(6), true},
		{"", "tcp dport 1 drop", false},
		{"", "", false},
	} {
		programs := mustLoad(t, c.ingress, c.egress, ethernet)
		if programs.Ingress == nil || programs.Egress == nil || (programs.Segment != nil) != c.segment {
			t.Errorf("%q %q: loaded %+v", c.ingress, c.egress, programs)
		}
	}
	one, err := Load(Config{Ingress: mustCompile(t, "tcp drop"), Interface: ethernet})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if one.Egress != nil || one.Segment != nil {
		t.Error("egress loaded without rules for it")
	}
}

func TestMapsAreFrozen(t *testing.T) {
	programs := mustLoad(t, popRule(17), pushRule(6), ethernet)
	for _, l := range []*loaded{programs.ingress, programs.egress} {
		for _, name := range []string{"actions", "classify_memory"} {
			m := l.maps[name]
			if err := m.Put(uint32(0), make([]byte, m.ValueSize())); err == nil {
				t.Errorf("%s can be changed", name)
			}
		}
	}
}

func TestNeedsSegmenting(t *testing.T) {
	for text, want := range map[string]bool{
		"":                  false,
		"tcp dport 80 drop": false,
		popRule(6):          false,
		pushRule(6):         true,
		pushRule(17):        true,
		"tcp dport 443 funnel tcp dport 80 inline": false,
	} {
		rs, err := rules.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := NeedsSegmenting(nil, rs); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	for text, want := range map[string]bool{
		pushRule(6):                             false,
		popRule(6):                              false,
		"tcp pushed unfunnel udp reply":         true,
		"tcp unfunnel tcp inline":               false,
		"udp funnel udp dport 80 sport 5 reply": false,
	} {
		rs, err := rules.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := NeedsSegmenting(rs, nil); got != want {
			t.Errorf("ingress %q: %v", text, got)
		}
	}
}

func TestReasonsHaveWords(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if strings.HasPrefix(r.String(), "reason(") || r.Words() == "" || seen[r.String()] {
			t.Errorf("reason %d is %q, %q", uint32(r), r, r.Words())
		}
		seen[r.String()] = true
	}
	if len(reasonWords) != len(Reasons()) {
		t.Errorf("%d reasons, words for %d", len(Reasons()), len(reasonWords))
	}
	for _, r := range []Reason{Dropped, TooBig, Failed} {
		if !r.Drops() {
			t.Errorf("%v drops", r)
		}
	}
	for _, r := range []Reason{0, NoMatch, Unfunneled, PassedSegment, reasonCount} {
		if r.Drops() {
			t.Errorf("%v does not drop", r)
		}
	}
}
