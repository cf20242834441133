// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// Census sums up the selected pods of one policy. It keeps counts and a few
// names, so that its size does not grow with the number of pods, and the order
// in which pods are added does not show. Where they are updated while they run, it
// keeps the pods, too, that are to be.
//
// Injected pods are counted anew each time; the others are listed rarely, and
// their Census is kept and merged.
type Census struct {
	policy   string
	digest   string
	overhead int

	// inPlace says that running pods are to be brought the rules, and at what time that
	// is asked.
	inPlace bool
	now     time.Time

	counts   [states]int
	named    [states]sample
	renewals [states]commands
	meshed   sample // with the proxy of a service mesh
	barred   sample // Missing pods that can't be injected, with the reason; not in named
	room     room
	shapes   map[string]podShape

	// Outdated pods of a policy that updates them in place; those in none of these
	// need to be replaced, and are in named.
	refreshing, stalled, unrefreshed, queued sample
	// refreshable are the queued ones, halted says that a refresh failed.
	refreshable []*corev1.Pod
	halted      bool
	// inspections show why refreshes stalled; nextStall is how long it takes until the next
	// one does, 0 for never.
	inspections commands
	nextStall   time.Duration
}

// NewCensus starts a census for a policy whose ConfigMap holds rules of that
// digest, which add at most overhead bytes to a packet.
func NewCensus(policy, digest string, overhead int) *Census {
	return &Census{policy: policy, digest: digest, overhead: overhead, shapes: map[string]podShape{}}
}

// UpdateInPlace makes the census tell of pods that are updated while they run, as of
// now by the clock of the API server. It keeps the ones that are to be, as they were added.
func (c *Census) UpdateInPlace(now time.Time) { c.inPlace, c.now = true, now }

// Add counts one selected pod.
func (c *Census) Add(pod *corev1.Pod) {
	seen := observe(pod, c.policy, c.digest)
	c.counts[seen.state]++
	if seen.state == Gone || seen.state == OptedOut {
		return
	}
	c.name(pod, seen)
	c.room.add(pod.Name, seen.report, c.overhead)
	c.addShape(pod)
	if mesh := meshOf(pod); mesh != "" {
		c.meshed.add(withDetail(pod.Name, mesh))
	}
}

// name notes the pod, and what brings it the current rules or stands in the way.
func (c *Census) name(pod *corev1.Pod, seen observation) {
	if why := barrier(pod); seen.state == Missing && why != "" {
		c.barred.add(withDetail(pod.Name, why))
		return
	}
	if seen.state == Outdated && c.inPlace && c.nameRefresh(pod, &seen) {
		return
	}
	c.named[seen.state].add(withDetail(pod.Name, seen.detail))
	if seen.state == Missing || seen.state == Outdated {
		c.renewals[seen.state].add(renew(pod))
	}
}

// nameRefresh notes an outdated pod that need not be replaced. Of one that must be,
// the detail says why.
func (c *Census) nameRefresh(pod *corev1.Pod, seen *observation) bool {
	r := seen.refresh
	c.halted = c.halted || !r.running && r.failure != ""
	switch {
	case r.running:
		c.nameRunning(pod, r)
	case r.barrier != nil:
		seen.detail = r.barrier.Error()
		return false
	case r.failure != "":
		c.unrefreshed.add(withDetail(pod.Name, r.failure))
	default:
		c.queued.add(pod.Name)
		c.refreshable = append(c.refreshable, pod)
	}
	return true
}

// nameRunning notes a pod with a refresh that has not ended. One that took too long holds
// up no other pod.
func (c *Census) nameRunning(pod *corev1.Pod, r refresh) {
	yet := left(pod, c.now)
	if yet <= 0 {
		c.stalled.add(withDetail(pod.Name, stuck(pod)))
		c.inspections.add(fmt.Sprintf("kubectl -n %s describe pod %s", pod.Namespace, pod.Name))
		return
	}
	c.refreshing.add(withDetail(pod.Name, r.waiting))
	c.nextStall = sooner(c.nextStall, yet)
}

// sooner is the smaller one that is not 0.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Merge adds what another census of the same policy counted.
func (c *Census) Merge(other *Census) {
	for s := range c.counts {
		c.counts[s] += other.counts[s]
		c.named[s].merge(other.named[s])
		c.renewals[s].merge(other.renewals[s])
	}
	c.refreshing.merge(other.refreshing)
	c.stalled.merge(other.stalled)
	c.inspections.merge(other.inspections)
	c.nextStall = sooner(c.nextStall, other.nextStall)
	c.unrefreshed.merge(other.unrefreshed)
	c.queued.merge(other.queued)
	c.refreshable = append(c.refreshable, other.refreshable...)
	c.halted = c.halted || other.halted
	c.barred.merge(other.barred)
	c.meshed.merge(other.meshed)
	c.room.merge(other.room)
	for key, shape := range other.shapes {
		c.keepShape(key, shape)
	}
}

// Count returns how many pods are in the state.
func (c *Census) Count(s State) int { return c.counts[s] }

// Counts returns status.pods.
func (c *Census) Counts() v1alpha1.PodCounts {
	n := v1alpha1.PodCounts{
		Attached: int32(c.counts[Attached]),
		Pending:  int32(c.counts[Pending]),
		Outdated: int32(c.counts[Outdated]),
		Missing:  int32(c.counts[Missing]),
		Failed:   int32(c.counts[Failed]),
		OptedOut: int32(c.counts[OptedOut]),
	}
	n.Matched = n.Attached + n.Pending + n.Outdated + n.Missing + n.Failed
	return n
}

// barrier says why a new pod of this shape would be refused by injection, ""
// if it would not.
func barrier(pod *corev1.Pod) string {
	switch {
	case inject.IsStatic(pod):
		return "static: its node makes it from a file"
	case pod.Spec.HostNetwork:
		return "hostNetwork: true"
	case pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers:
		return "hostUsers: false"
	case inject.IsWindows(pod):
		return "Windows"
	}
	return ""
}

func withDetail(name, detail string) string {
	if detail == "" {
		return name
	}
	return name + " (" + detail + ")"
}

// commands keeps the first few distinct commands in ascending order.
type commands struct {
	kept []string
	more bool
}

func (c *commands) add(command string) {
	i, found := slices.BinarySearch(c.kept, command)
	if found {
		return
	}
	c.kept = slices.Insert(c.kept, i, command)
	if len(c.kept) > namedAtMost {
		c.kept, c.more = c.kept[:namedAtMost], true
	}
}

func (c *commands) merge(other commands) {
	for _, command := range other.kept {
		c.add(command)
	}
	c.more = c.more || other.more
}
