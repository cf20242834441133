// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// listing is the last live list of a policy's pods that were not injected.
type listing struct {
	// at is when, zero for never.
	at moment
	// pods are nil when there were none.
	pods *status.Census
	// of is what the list depended on; another value asks for another list.
	of uint64
	// injected are the pods beside them that were. Where there are others, any change
	// of these asks for another list: a rollout may be replacing what is missing.
	injected uint64
	// usual is how many injected pods there were, at the list or for some time since.
	// Where there are fewer for good, others may have come in their place. fewerSince
	// is zero while there are not.
	usual      int
	fewerSince moment
	// count is how many there were last, and countSince since when.
	count      int
	countSince moment
	// goodFor is how long the list is good when nothing changes; 0: for ever.
	goodFor time.Duration
}

// count takes the census of the pods that the policy selects. Injected pods come
// from the cache each time. The others are listed live when something changed that
// may have brought some, and slowly while some are missing or may come unseen;
// again says when, 0 for never.
func (r *FunnelPolicyReconciler) count(ctx context.Context, facts *status.Facts, known *known) (again time.Duration, err error) {
	p, c := facts.Policy, facts.ConfigMap
	facts.Pods = status.NewCensus(p.Name, c.Digest, c.Overhead)
	if p.Spec.UpdateStrategy == v1alpha1.UpdateInPlace {
		facts.Pods.UpdateInPlace(r.serverNow())
	}
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return 0, nil // Accepted says so
	}
	pods, err := r.pods.selected(p.Namespace, selector)
	if err != nil {
		return 0, err
	}
	for _, pod := range pods {
		facts.Pods.Add(pod)
	}
	now := present{of: basis(facts), injected: identity(pods), count: len(pods)}
	known.others.see(now.count, r.Clock.Now(), r.soon())
	if known.others.dueIn(r.Clock.Now(), now, r.ListAtMost) == 0 {
		if err := r.listAgain(ctx, facts, selector, now, &known.others); err != nil {
			return 0, fmt.Errorf("list pods that were not injected: %w", err)
		}
	}
	if known.others.pods != nil {
		facts.Pods.Merge(known.others.pods)
	}
	if again = known.others.dueIn(r.Clock.Now(), now, r.ListAtMost); again == never {
		again = 0
	}
	return again, nil
}

// listAgain replaces the last list of the pods that were not injected.
func (r *FunnelPolicyReconciler) listAgain(ctx context.Context, facts *status.Facts, selector labels.Selector, now present, last *listing) error {
	others, at, err := r.lookAtOthers(ctx, facts.Policy, selector, last)
	if err != nil {
		return err
	}
	*last = last.next(others, at, now, r.pace(facts, others, last.at == 0 && r.settled(facts.Policy)))
	return nil
}

// lookAtOthers lists the pods that were not injected, or takes them from the sweep
// of the namespace. It says when that was.
func (r *FunnelPolicyReconciler) lookAtOthers(ctx context.Context, p *v1alpha1.FunnelPolicy, selector labels.Selector, last *listing) (*status.Census, time.Time, error) {
	if last.at == 0 {
		if others, at, err := r.swept(ctx, p); err != nil || others != nil {
			return others, at, err
		}
	}
	at := r.Clock.Now()
	others, err := r.listOthers(ctx, p, selector)
	return others, at, err
}

// settled reports whether the policy is so old that no pod can have been created
// while its like was: the webhook knows it.
func (r *FunnelPolicyReconciler) settled(p *v1alpha1.FunnelPolicy) bool {
	return r.Clock.Since(p.CreationTimestamp.Time) > 2*r.soon()
}

// soon is when a list is confirmed: longer than it takes to replace a pod.
func (r *FunnelPolicyReconciler) soon() time.Duration { return 15 * r.ListAtMost }

// present is what a list depends on.
type present struct {
	of, injected uint64
	count        int // of the injected pods
}

// basis is equal while the policy selects the same, nothing changed in who injects its
// pods, and the same ones that nobody did are seen as endpoints.
func basis(facts *status.Facts) uint64 {
	of := hashOf(fmt.Sprint(facts.Policy.UID, facts.Policy.Spec.PodSelector.String(), facts.Namespace))
	if facts.Coverage != nil {
		for _, name := range facts.Coverage.NotInjected {
			of += hashOf(name)
		}
	}
	return of
}

// identity is equal for the same pods in any order.
func identity(pods []*corev1.Pod) (sum uint64) {
	for _, pod := range pods {
		sum += hashOf(string(pod.UID))
	}
	return sum
}

func hashOf(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
}

// see notes how many injected pods there are. A rollout has one more for a moment.
func (l *listing) see(count int, now time.Time, aMoment time.Duration) {
	if count != l.count {
		if l.countSince.until(now) > aMoment {
			l.usual = max(l.usual, l.count)
		}
		l.count, l.countSince = count, momentOf(now)
	}
	switch {
	case count >= l.usual:
		l.fewerSince = 0
	case l.fewerSince == 0:
		l.fewerSince = momentOf(now)
	}
}

// dueIn is how long to wait for the next list: 0 when it is due, never when
// nothing asks for one. Pods that are gone may be about to be replaced.
func (l listing) dueIn(now time.Time, p present, atLeast time.Duration) time.Duration {
	age := l.at.until(now)
	wait := never
	if l.goodFor > 0 {
		wait = l.goodFor - age
	}
	if l.fewerSince != 0 {
		wait = min(wait, max(atLeast-l.fewerSince.until(now), atLeast-age))
	}
	switch {
	case l.at == 0:
		wait = 0
	case l.of != p.of, l.pods != nil && l.injected != p.injected:
		wait = min(wait, atLeast-age)
	}
	return max(wait, 0)
}

// never is longer than any other wait.
const never = 365 * 24 * time.Hour

// pace is how often pods that were not injected are listed.
type pace struct{ first, longest time.Duration }

// pace begins fast while a rollout may be replacing what is missing, and where pods
// come that are not injected. While nobody injects that holds for all policies, and most
// have all their pods: it is slow. When no pod can come unseen, one more list is enough,
// for pods that were created while the policy was; none is needed where that is long ago.
func (r *FunnelPolicyReconciler) pace(facts *status.Facts, others *status.Census, settled bool) pace {
	none := facts.Pods.Counts().Matched+others.Counts().Matched == 0
	switch {
	case !none && others.Count(status.Missing) == 0 && facts.Namespace.Injector == status.Nobody:
		return pace{first: r.ListSlowly, longest: r.ListSlowly}
	case none, others.Count(status.Missing) > 0, !facts.Namespace.Injects():
		return pace{first: r.ListAtMost, longest: r.ListSlowly}
	case settled:
		return pace{}
	}
	return pace{first: r.soon()}
}

// next is the listing after one that found these pods. While nothing changes and
// lists find the same they become rarer, or end when the pace has no longest. A
// rollout whose first pods are in place is no such time: its last ones take away
// what is missing, and nothing else would tell.
func (l listing) next(pods *status.Census, at time.Time, now present, p pace) listing {
	after := listing{
		at: momentOf(at), of: now.of, injected: now.injected, goodFor: p.first,
		usual: now.count, count: l.count, countSince: l.countSince,
	}
	if pods.Counts() != (v1alpha1.PodCounts{}) {
		after.pods = pods
	}
	if l.at != 0 && l.of == now.of && l.injected == now.injected && l.counts() == after.counts() {
		after.goodFor = min(2*l.goodFor, p.longest)
	}
	if after.goodFor > 0 {
		after.goodFor = wait.Jitter(after.goodFor, 0.1)
	}
	return after
}

func (l listing) counts() v1alpha1.PodCounts {
	if l.pods == nil {
		return v1alpha1.PodCounts{}
	}
	return l.pods.Counts()
}

// listOthers counts the selected, unfinished pods that were not injected. They
// are read page by page and not kept.
func (r *FunnelPolicyReconciler) listOthers(ctx context.Context, p *v1alpha1.FunnelPolicy, selector labels.Selector) (*status.Census, error) {
	others := status.NewCensus(p.Name, "", 0)
	err := r.eachPod(ctx, p.Namespace, notInjected(selector), func(pod *corev1.Pod) bool {
		others.Add(pod)
		return true
	})
	return others, err
}

func notInjected(selector labels.Selector) labels.Selector {
	not, err := labels.NewRequirement(v1alpha1.LabelInjected, selection.NotEquals, []string{v1alpha1.InjectedTrue})
	if err != nil {
		panic(err) // key and value are constants
	}
	return selector.Add(*not)
}

// eachPod shows the live, unfinished pods of a namespace to visit until it
// returns false.
func (r *FunnelPolicyReconciler) eachPod(ctx context.Context, namespace string, selector labels.Selector, visit func(*corev1.Pod) bool) error {
	opts := client.ListOptions{
		Namespace:     namespace,
		LabelSelector: selector,
		FieldSelector: unfinished,
		Limit:         r.podsPerPage,
	}
	for {
		var page corev1.PodList
		if err := r.Live.List(ctx, &page, &opts); err != nil {
			return err
		}
		for i := range page.Items {
			if !visit(&page.Items[i]) {
				return nil
			}
		}
		if page.Continue == "" {
			return nil
		}
		opts.Continue = page.Continue
	}
}

// unfinished pods may still start containers.
var unfinished = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
	fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
)
