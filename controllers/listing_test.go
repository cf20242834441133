// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// TestARolloutDoesNotMakeListsRare: new pods come in for a while before the first
// old one goes, and every list until then finds the same old ones.
func TestARolloutDoesNotMakeListsRare(t *testing.T) {
	missing := status.NewCensus("web", "", 0)
	missing.Add(&corev1.Pod{})
	often, begin := pace{first: 2 * time.Second, longest: 10 * time.Minute}, time.Unix(1, 0)
	const aBitMore = 11 // tenths: what jitter adds at most

	rolling := listing{}
	for n := range 10 {
		rolling = rolling.next(missing, begin, present{of: 1, injected: uint64(n), count: n}, often)
	}
	if rolling.goodFor > often.first*aBitMore/10 {
		t.Errorf("after 10 pods that came, the next list is due in %v", rolling.goodFor)
	}

	idle := listing{}
	for range 10 {
		idle = idle.next(missing, begin, present{of: 1, injected: 7, count: 1}, often)
	}
	if idle.goodFor < often.longest {
		t.Errorf("after 10 lists that found the same, the next one is due in %v", idle.goodFor)
	}
}

// TestMomentsAreMonotonic: who sets the clock back makes no wait longer.
func TestMomentsAreMonotonic(t *testing.T) {
	if !strings.Contains(beforeStart.String(), " m=") { // as package time shows a monotonic reading
		t.Error("moments follow the wall clock")
	}
	now := time.Now()
	if past := moment(0).until(now); past < 24*time.Hour {
		t.Errorf("never is %v ago", past)
	}
	if got := momentOf(now).until(now.Add(time.Second)); got != time.Second {
		t.Errorf("a second later is %v later", got)
	}
}
