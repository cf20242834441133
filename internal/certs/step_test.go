// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"
)

var (
	names = []string{"sfunnel-webhook.sfunnel-system.svc", "sfunnel-metrics.sfunnel-system.svc"}
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

// A year of two replicas and a client. Each minute in which a step may be due
// the replicas step in turn; the client learns what to trust only afterwards, and
// one replica presents what it knew before. Whoever presents what to whom, the
// client accepts it, and no certificate is ever near its end.
func TestRotationNeverPresentsWhatClientsDontTrust(t *testing.T) {
	state, at := mustStep(t, State{}, nil, start)
	trusted := state.Trusted()
	presented := map[string]bool{}
	for now := at; now.Before(start.AddDate(1, 0, 0)); now = at {
		before, lagging := state, trusted
		state, at = mustStep(t, state, trusted, now)
		if !at.After(now) {
			t.Fatalf("%s: the next look is at %s", now, at)
		}
		trusted = state.Trusted()
		for _, client := range [][]byte{lagging, trusted} {
			for _, replica := range []State{before, state} {
				mustAccept(t, client, replica.Serving, now)
			}
		}
		mustAccept(t, trusted, state.Serving, now.Add(renewBefore-2*settle))
		presented[string(state.Serving.Certificate)] = true
	}
	// 365 days, a successor every 60.
	if len(presented) != 7 {
		t.Errorf("%d certificates were presented in a year, want 7", len(presented))
	}
}

func TestSteps(t *testing.T) {
	fresh, _ := mustStep(t, State{}, nil, start)
	due := start.Add(lifetime - renewBefore)
	announced, _ := mustStep(t, fresh, fresh.Trusted(), due)
	settled := due.Add(settle)
	presenting, _ := mustStep(t, announced, announced.Trusted(), settled)
	other, _ := mustStep(t, State{}, nil, start)

	rows := []struct {
		name    string
		state   State
		trusted []byte
		now     time.Time
		want    func(State) bool
	}{
		{"nothing yet: issue", State{}, nil, start,
			func(s State) bool { return serves(s) && none(s.Next) && s.Retired == nil }},
		{"valid: leave", fresh, nil, start.Add(time.Hour), fresh.Equal},
		{"just before renewal is due: leave", fresh, nil, due.Add(-time.Second), fresh.Equal},
		{"renewal is due: announce", fresh, nil, due,
			func(s State) bool { return same(s.Serving, fresh.Serving) && !none(s.Next) && !same(s.Next, s.Serving) }},
		{"announced, trusted, not settled: leave", announced, announced.Trusted(), settled.Add(-time.Second), announced.Equal},
		{"announced, settled, not trusted: leave", announced, fresh.Trusted(), settled, announced.Equal},
		{"announced, settled, trusted: present, retire", announced, announced.Trusted(), settled,
			func(s State) bool {
				return same(s.Serving, announced.Next) && none(s.Next) && bytes.Equal(s.Retired, fresh.Serving.Certificate)
			}},
		{"the retired one is valid: leave", presenting, presenting.Trusted(), start.Add(lifetime), presenting.Equal},
		{"the retired one has expired: forget it", presenting, presenting.Trusted(), start.Add(lifetime + time.Second),
			func(s State) bool { return same(s.Serving, presenting.Serving) && s.Retired == nil }},
		{"expired with a successor that was never trusted: present it", announced, nil, start.Add(lifetime + time.Second),
			func(s State) bool { return same(s.Serving, announced.Next) && none(s.Next) }},
		{"expired without successor: issue", fresh, fresh.Trusted(), start.Add(lifetime + time.Second), serves},
		{"not valid yet: issue", fresh, fresh.Trusted(), start.Add(-2 * backdate), func(s State) bool { return !same(s.Serving, fresh.Serving) }},
		{"the key is another's: issue", State{Serving: Pair{fresh.Serving.Certificate, other.Serving.Key}}, nil, start, serves},
		{"garbage: issue", State{Serving: Pair{[]byte("x"), []byte("y")}, Next: Pair{[]byte("z"), nil}, Retired: []byte("w")}, nil, start,
			func(s State) bool { return serves(s) && none(s.Next) && s.Retired == nil }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, _ := mustStep(t, row.state, row.trusted, row.now)
			if !row.want(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestCertificateCoversEveryName(t *testing.T) {
	one, _, err := Step(State{}, nil, names[:1], start)
	if err != nil {
		t.Fatal(err)
	}
	both, _ := mustStep(t, one, nil, start)
	if same(one.Serving, both.Serving) {
		t.Error("a certificate for one name was kept for two")
	}
}

func TestStateSurvivesTheSecret(t *testing.T) {
	fresh, _ := mustStep(t, State{}, nil, start)
	announced, _ := mustStep(t, fresh, nil, start.Add(lifetime-renewBefore))
	for _, s := range []State{{}, fresh, announced, {Serving: fresh.Serving, Retired: []byte("x")}} {
		if !FromData(s.Data()).Equal(s) {
			t.Errorf("%v became %v", s, FromData(s.Data()))
		}
	}
}

func mustStep(t *testing.T, s State, trusted []byte, now time.Time) (State, time.Time) {
	t.Helper()
	next, at, err := Step(s, trusted, names, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := accepts(next.Trusted(), next.Serving, name, now); err != nil {
			t.Fatalf("the state trusts less than it presents: %v", err)
		}
	}
	return next, at
}

func mustAccept(t *testing.T, trusted []byte, p Pair, now time.Time) {
	t.Helper()
	if err := accepts(trusted, p, names[0], now); err != nil {
		t.Fatalf("%s: %v", now, err)
	}
}

// accepts is what a client does that trusts these certificates.
func accepts(trusted []byte, p Pair, name string, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	block, _ := pem.Decode(p.Certificate)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now})
	return err
}

func serves(s State) bool { return !none(s.Serving) }
func none(p Pair) bool    { return len(p.Certificate) == 0 }
func same(a, b Pair) bool { return State{Serving: a}.Equal(State{Serving: b}) }
