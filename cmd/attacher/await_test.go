// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/report"
)

var errNoMoreTime = errors.New("no more time")

// mount is a folder of rules that is exchanged as the kubelet does it: "web=d1"
// makes policy web hold rules of that digest, which are told by their port.
type mount struct{ folder string }

func (m mount) holds(t *testing.T, states string) {
	t.Helper()
	for _, state := range strings.Fields(states) {
		policy, digest, _ := strings.Cut(state, "=")
		files := map[string]string{
			settingsFile: fmt.Sprintf(`{"policy":%q,"digest":%q}`, policy, digest),
			egressFile:   fmt.Sprintf("udp dport %s drop\n", digest),
		}
		must(t, os.MkdirAll(filepath.Join(m.folder, policy), 0o755))
		for name, text := range files {
			must(t, os.WriteFile(filepath.Join(m.folder, policy, name), []byte(text), 0o644))
		}
	}
}

// TestRulesAreReadWhenTheyHaveCome lets the folders go through states, one for
// each pause, and looks what is read of which.
func TestRulesAreReadWhenTheyHaveCome(t *testing.T) {
	for name, c := range map[string]struct {
		await  string
		states []string
		want   string // digests by policy, or the error
		pauses int
	}{
		"nothing is awaited":                        {"", []string{"web=1"}, "web=1", 0},
		"they are there":                            {"web=2", []string{"web=2"}, "web=2", 0},
		"they come":                                 {"web=2", []string{"web=1", "web=1", "web=2", "web=3"}, "web=2", 2},
		"newer ones came instead":                   {"web=2", []string{"web=1", "web=3"}, "web=3", 1},
		"all of several":                            {"web=2,dns=8", []string{"web=1 dns=7", "web=2", "dns=8"}, "dns=8 web=2", 2},
		"others are not waited for":                 {"web=2", []string{"web=2 dns=7", "dns=8"}, "dns=7 web=2", 0},
		"a folder that comes":                       {"web=2", []string{"dns=7", "web=2"}, "dns=7 web=2", 1},
		"they never come":                           {"web=2", []string{"web=1", "dns=7"}, "no more time: the folder of policy web holds 1, not 2; what was attached before stays", 1},
		"those of one of several never come":        {"web=2 dns=8", []string{"web=2 dns=7"}, "no more time: the folder of policy dns holds 7, not 8; what was attached before stays", 0},
		"what was newer from the start never comes": {"web=2", []string{"web=3"}, "no more time: the folder of policy web holds 3, not 2; what was attached before stays", 0},
		"the policy is not mounted":                 {"web=2", []string{"dns=7"}, "no more time: there is no folder of policy web; what was attached before stays", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, pauses := mount{t.TempDir()}, 0
			m.holds(t, c.states[0])
			w, err := parseAwaited(c.await)
			must(t, err)
			in, err := w.read(source{folder: m.folder}, func() error {
				if pauses++; pauses == len(c.states) {
					pauses--
					return errNoMoreTime
				}
				m.holds(t, c.states[pauses])
				return nil
			})
			got := fmt.Sprint(err)
			if err == nil {
				got = strings.Trim(strings.ReplaceAll(fmt.Sprint(in.digests()), ":", "="), "map[]")
				for _, p := range in.policies {
					if want := fmt.Sprintf("udp dport %s actions drop\n", p.digest); p.egress.String() != want {
						t.Errorf("policy %s has the rules %q, want %q", p.name, p.egress, want)
					}
				}
			}
			if got != c.want || pauses != c.pauses {
				t.Errorf("got %q after %d pauses, want %q after %d", got, pauses, c.want, c.pauses)
			}
		})
	}
}

func TestThatRulesDidNotComeIsReported(t *testing.T) {
	m, file := mount{t.TempDir()}, filepath.Join(t.TempDir(), "report")
	m.holds(t, "web=1")
	got := runWith("SFUNNEL_REPORT="+file+" SFUNNEL_AWAIT=web=2 SFUNNEL_AWAIT_AT_MOST=0", "", "--rules", m.folder)
	want := "the rules did not come within 0s: the folder of policy web holds 1, not 2; what was attached before stays"
	if got.code != exitFailed || got.stderr != "attacher: "+want+"\n" {
		t.Errorf("got %v", got)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	r, err := report.Parse(string(text))
	if err != nil || r.Result != report.Failed || r.Error != want || len(r.Digests) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestWaitingForRulesEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m := mount{t.TempDir()}
	m.holds(t, "web=1")
	if _, err := (awaited{"web": "2"}).read(source{folder: m.folder}, timer(ctx, 1<<40)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestBadAwaitIsRefused(t *testing.T) {
	for _, text := range []string{"web", "=1", "web=", "a/b=1", "..=1,x"} {
		if _, err := parseAwaited(text); err == nil || !strings.Contains(err.Error(), "want POLICY=DIGEST") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
