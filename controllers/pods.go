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
	at time.Time
	// pods are nil when there were none.
	pods *status.Census
	// of is what the list depended on; another value asks for another list.
	of uint64
	// goodFor is how long the list is good when nothing changes; 0: for ever.
	goodFor time.Duration
}

// count takes the census of the pods that the policy selects. Injected pods come
// from the cache each time. The others are listed live when something changed,
// and slowly while some are missing or may come unseen; again says when, 0 for
// never.
func (r *FunnelPolicyReconciler) count(ctx context.Context, facts *status.Facts, known *known) (again time.Duration, err error) {
	p, c := facts.Policy, facts.ConfigMap
	facts.Pods = status.NewCensus(p.Name, c.Digest, c.Overhead)
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return 0, nil // Accepted says so
	}
	injected, err := r.injectedPods(ctx, p.Namespace, selector)
	if err != nil {
		return 0, err
	}
	for i := range injected {
		facts.Pods.Add(&injected[i])
	}
	of := basis(p, facts.Namespace, injected)
	if known.others.dueIn(r.Clock.Now(), of, r.ListAtMost) == 0 {
		if err := r.listAgain(ctx, facts, selector, of, &known.others); err != nil {
			return 0, fmt.Errorf("list pods that were not injected: %w", err)
		}
	}
	if known.others.pods != nil {
		facts.Pods.Merge(known.others.pods)
	}
	if again = known.others.dueIn(r.Clock.Now(), of, r.ListAtMost); again == never {
		again = 0
	}
	return again, nil
}

// listAgain replaces the last list of the pods that were not injected.
func (r *FunnelPolicyReconciler) listAgain(ctx context.Context, facts *status.Facts, selector labels.Selector, of uint64, last *listing) error {
	others, err := r.listOthers(ctx, facts.Policy, selector)
	if err != nil {
		return err
	}
	none := facts.Pods.Counts().Matched+others.Counts().Matched == 0
	unseen := none || others.Count(status.Missing) > 0 || !facts.Namespace.Enabled()
	*last = last.next(others, r.Clock.Now(), of, r.pace(unseen))
	return nil
}

// basis is equal while neither the policy, nor its namespace, nor the set of
// injected pods changed.
func basis(p *v1alpha1.FunnelPolicy, namespace status.Namespace, injected []corev1.Pod) uint64 {
	sum := hashOf(fmt.Sprint(p.UID, p.Generation, namespace))
	for i := range injected {
		sum += hashOf(string(injected[i].UID)) // in any order
	}
	return sum
}

func hashOf(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
}

// dueIn is how long to wait for the next list: 0 when it is due, never when
// nothing asks for one.
func (l listing) dueIn(now time.Time, of uint64, atLeast time.Duration) time.Duration {
	age := now.Sub(l.at)
	switch {
	case l.at.IsZero():
		return 0
	case l.of != of:
		return max(atLeast-age, 0)
	case l.goodFor == 0:
		return never
	}
	return max(l.goodFor-age, 0)
}

// never is longer than any other wait.
const never = 365 * 24 * time.Hour

// pace is how often pods that were not injected are listed.
type pace struct{ first, longest time.Duration }

// pace begins fast while a rollout may be replacing what is missing. When no
// pod can come unseen, one more list is enough: for pods that were created while
// the policy was.
func (r *FunnelPolicyReconciler) pace(unseen bool) pace {
	if unseen {
		return pace{first: r.ListAtMost, longest: r.ListSlowly}
	}
	return pace{first: 15 * r.ListAtMost}
}

// next is the listing after one that found these pods. While lists find the same
// they become rarer, or end when the pace has no longest.
func (l listing) next(pods *status.Census, now time.Time, of uint64, p pace) listing {
	after := listing{at: now, of: of, goodFor: p.first}
	if pods.Counts() != (v1alpha1.PodCounts{}) {
		after.pods = pods
	}
	if !l.at.IsZero() && l.of == of && l.counts() == after.counts() {
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
