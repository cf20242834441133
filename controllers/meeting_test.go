// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// someLabels are of these keys, each with one of a few values, or without.
func someLabels(random *rand.Rand, keys ...string) labels.Set {
	set := labels.Set{}
	for _, key := range keys {
		if v := random.IntN(6); v > 0 {
			set[key] = fmt.Sprint("v", v)
		}
	}
	return set
}

// Whoever the indexes find, those meet that a look at each policy finds.
func TestPoliciesMeetAsTheirLabelsAllow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	indexed, walked := 0, 0
	for range 200 {
		indexer := newIndexer(policyIndexers)
		all := policies{indexer: indexer}
		if err := all.noteKeys(); err != nil {
			t.Fatal(err)
		}
		keys := []string{"app", "tier", "zone"}[:1+random.IntN(3)]
		var list []*v1alpha1.FunnelPolicy
		for i := range random.IntN(40) {
			p := &v1alpha1.FunnelPolicy{}
			p.Namespace, p.Name = []string{"shop", "other"}[i%2], fmt.Sprint("p", i)
			p.Spec.PodSelector.MatchLabels = someLabels(random, keys...)
			if err := indexer.Add(p); err != nil {
				t.Fatal(err)
			}
			if p.Namespace == "shop" {
				list = append(list, p)
			}
		}
		for range 20 {
			set := someLabels(random, "app", "tier", "zone")
			if all.keys.allIn("shop", set) {
				indexed++
			} else {
				walked++
			}
			found, err := all.meeting("shop", set)
			if diff := cmp.Diff(namesOf(beside(list, set)), namesOf(found)); err != nil || diff != "" {
				t.Fatalf("with %s: %v\n%s", set, err, diff)
			}
		}
		for _, p := range list {
			found, err := all.reachable(p)
			if diff := cmp.Diff(namesOf(closure(list, p)), namesOf(found)); err != nil || diff != "" {
				t.Fatalf("from %s: %v\n%s", p.Name, err, diff)
			}
		}
	}
	if indexed == 0 || walked == 0 {
		t.Errorf("%d times by index, %d times not", indexed, walked)
	}
}

// Of a namespace that is gone no key is kept, unless it was made again in the meantime.
func TestKeysGoWithTheirNamespace(t *testing.T) {
	indexer := newIndexer(policyIndexers)
	all := policies{indexer: indexer}
	if err := all.noteKeys(); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"gone", "again"} {
		p := &v1alpha1.FunnelPolicy{}
		p.Namespace, p.Name = namespace, "p"
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
		if err := indexer.Add(p); err != nil {
			t.Fatal(err)
		}
		if namespace == "gone" {
			if err := indexer.Delete(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := all.forgetKeys(namespace); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string][]string{"again": {"app"}}, all.keys.known); diff != "" {
		t.Error(diff)
	}
}

func beside(list []*v1alpha1.FunnelPolicy, set labels.Set) []*v1alpha1.FunnelPolicy {
	return slices.DeleteFunc(slices.Clone(list), func(p *v1alpha1.FunnelPolicy) bool { return contradict(p.Spec.PodSelector.MatchLabels, set) })
}

// closure are those that p reaches, by looking at all until no more come.
func closure(list []*v1alpha1.FunnelPolicy, p *v1alpha1.FunnelPolicy) []*v1alpha1.FunnelPolicy {
	reached := map[*v1alpha1.FunnelPolicy]bool{p: true}
	for before := 0; before < len(reached); {
		before = len(reached)
		for _, q := range slices.Collect(maps.Keys(reached)) {
			for _, next := range beside(list, q.Spec.PodSelector.MatchLabels) {
				reached[next] = true
			}
		}
	}
	delete(reached, p)
	return slices.Collect(maps.Keys(reached))
}

func namesOf(list []*v1alpha1.FunnelPolicy) []string {
	names := []string{}
	for _, p := range list {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// Whichever label finds it, those Services lead to an object whose whole selector it matches.
func TestServicesLeadByTheirWholeSelector(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	indexer := newIndexer(serviceIndexers)
	all := services{packedObjects{indexer}}
	var list []*corev1.Service
	for i := range 500 {
		s := &corev1.Service{}
		s.Namespace, s.Name = []string{"shop", "other"}[i%2], fmt.Sprint("s", i)
		s.Spec.Selector = someLabels(random, "app", "tier")
		addTo(t, indexer, packService, s.DeepCopy())
		list = append(list, s)
	}
	for range 200 {
		set := someLabels(random, "app", "tier", "zone")
		want, got := []string{}, []string{}
		for _, s := range list {
			if s.Namespace == "shop" && len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(set) {
				want = append(want, s.Name)
			}
		}
		found, err := all.leadingTo("shop", set)
		for _, s := range found {
			got = append(got, s.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("to %s: %v\n%s", set, err, diff)
		}
	}
}
