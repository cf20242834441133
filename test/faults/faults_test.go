// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fault is one thing that goes wrong, and is over when it returns.
type fault struct {
	name string
	// weight is how often it happens: some take seconds.
	weight int
	happen func(context.Context, *world) error
}

var all = []fault{
	{"the manager is killed", 10, func(ctx context.Context, w *world) error { return w.kill(ctx) }},
	{"the certificate is spoiled", 3, func(ctx context.Context, w *world) error { return w.spoilCertificate(ctx) }},
	{"the API server is away", 1, func(ctx context.Context, w *world) error { return w.Server.Outage(ctx, w.upTo(2*time.Second)) }},
	{"etcd is away", 1, func(ctx context.Context, w *world) error { return w.Server.EtcdOutage(ctx, w.upTo(time.Second)) }},
	{"somebody edits rules by hand", 3, func(ctx context.Context, w *world) error { return w.meddle(ctx) }},
}

// Each fault happens at least once, and together as often as asked for, in random order
// and at random moments. Meanwhile pods are replaced, rules edited, policies deleted and
// made again, and a second policy fights another over its pods.
func TestEverythingConverges(t *testing.T) {
	times, timesErr := Number(TimesVariable, uint64(len(all)+2))
	seed, seedErr := Number(SeedVariable, rand.Uint64())
	if err := errors.Join(timesErr, seedErr); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s=%d %s=%d", TimesVariable, times, SeedVariable, seed)
	w := mustOpen(t, rand.New(rand.NewPCG(seed, 0)))
	happened := map[string]int{}
	w.under(t, func(ctx context.Context) error {
		for i := range int(times) {
			f := w.choose(i)
			if err := f.happen(ctx, w); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			happened[f.name]++
			if err := w.restart(ctx); err != nil {
				return err
			}
			// Half of the time the next one comes while the manager is still starting.
			if w.intN(2) == 0 {
				if err := w.manager.UntilReady(ctx); err != nil {
					return err
				}
			}
			sleep(ctx, w.upTo(400*time.Millisecond))
		}
		return nil
	})
	w.mustConverge(t)
	for name, n := range happened {
		t.Logf("%s: %d times", name, n)
	}
	t.Logf("%d pods were replaced, %d edits made, %d policies deleted and made again", w.rolled.Load(), w.edited.Load(), w.remade.Load())
}

// choose goes through all faults once, and then by weight.
func (w *world) choose(i int) fault {
	if i < len(all) {
		return all[i]
	}
	sum := 0
	for _, f := range all {
		sum += f.weight
	}
	at := w.intN(sum)
	for _, f := range all {
		if at -= f.weight; at < 0 {
			return f
		}
	}
	panic("the weights don't add up")
}

// noServer are the ends of what a manager says that met an API server which was going, or not
// quite there.
var noServer = []string{"connect: connection refused", "connection reset by peer", "EOF", "the server is currently unable to handle the request"}

// restart does what the kubelet does with a manager that ended: one that is starting does
// when there is no API server, and for no other reason.
func (w *world) restart(ctx context.Context) error {
	if !w.manager.Ended() {
		return nil
	}
	last := strings.TrimSpace(w.manager.Log())
	if !slices.ContainsFunc(noServer, func(end string) bool { return strings.HasSuffix(last, end) }) {
		return fmt.Errorf("the manager ended:\n%s", last)
	}
	return w.startManager(ctx)
}

// kill ends the manager as a node that loses power does, at whatever it is, and starts
// another, which takes the lease over when it is due.
func (w *world) kill(ctx context.Context) error {
	w.manager.Kill()
	sleep(ctx, w.upTo(300*time.Millisecond))
	return w.startManager(ctx)
}

// spoilCertificate does it while the webhook is asked.
func (w *world) spoilCertificate(ctx context.Context) error {
	return w.insist(ctx, "spoil the certificate", func() error {
		_, err := SpoilCertificate(ctx, w)
		return err
	})
}

// meddle edits the rules of a policy, unless it is just away.
func (w *world) meddle(ctx context.Context) error {
	at := w.places[w.intN(len(w.places))]
	return w.insist(ctx, "edit a ConfigMap", func() error {
		_, err := Meddle(ctx, w, at.key(), "tcp dport 22 drop\n")
		return client.IgnoreNotFound(err)
	})
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
