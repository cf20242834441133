// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// noteKeys is needed before anybody asks for meeting, once in a cache.
func (p *policies) noteKeys() error {
	p.keys = &selectedKeys{}
	return p.indexer.AddIndexers(toolscache.Indexers{"sfunnel.io/key": p.keys.note})
}

// forgetKeys is for a namespace that is gone. Policies that are there nevertheless, because it
// was made again, keep theirs.
func (p policies) forgetKeys(namespace string) error {
	p.keys.forget(namespace)
	all, err := p.indexer.ByIndex(toolscache.NamespaceIndex, namespace)
	for _, q := range typed(all) {
		p.keys.add(q)
	}
	return err
}

// meeting are the policies of a namespace that may select an object which others select by
// these labels: that ask for no other value of one of them.
func (p policies) meeting(namespace string, set labels.Set) ([]*v1alpha1.FunnelPolicy, error) {
	may := func(q *v1alpha1.FunnelPolicy) bool { return !contradict(set, q.Spec.PodSelector.MatchLabels) }
	if !p.keys.allIn(namespace, set) {
		return p.in(namespace, may)
	}
	found, err := p.maySelect(namespace, set)
	return slices.DeleteFunc(found, func(q *v1alpha1.FunnelPolicy) bool { return !may(q) }), err
}

// reachable are the policies that may meet p on a pod, and those that may meet them, and so
// on: whether one yields depends on those older than itself.
func (p policies) reachable(from *v1alpha1.FunnelPolicy) ([]*v1alpha1.FunnelPolicy, error) {
	found := []*v1alpha1.FunnelPolicy{from}
	seen := map[string]bool{from.Name: true}
	for i := 0; i < len(found); i++ {
		beside, err := p.meeting(from.Namespace, found[i].Spec.PodSelector.MatchLabels)
		if err != nil {
			return nil, err
		}
		for _, q := range beside {
			if !seen[q.Name] {
				found, seen[q.Name] = append(found, q), true
			}
		}
	}
	return found[1:], nil
}

// withReachable are these, and then the others that they can reach. What one reaches also
// reaches it, so that nobody is asked whom another one has reached.
func (p policies) withReachable(these []*v1alpha1.FunnelPolicy) ([]*v1alpha1.FunnelPolicy, error) {
	given, reached := map[types.NamespacedName]bool{}, map[types.NamespacedName]bool{}
	for _, q := range these {
		given[client.ObjectKeyFromObject(q)] = true
	}
	all := slices.Clone(these)
	for _, q := range these {
		if reached[client.ObjectKeyFromObject(q)] {
			continue
		}
		beside, err := p.reachable(q)
		if err != nil {
			return nil, err
		}
		for _, other := range beside {
			name := client.ObjectKeyFromObject(other)
			if !given[name] && !reached[name] {
				all = append(all, other)
			}
			reached[name] = true
		}
	}
	return all, nil
}

// contradict reports whether no pod can have both sets of labels.
func contradict(a, b map[string]string) bool {
	for key, value := range a {
		if other, ok := b[key]; ok && other != value {
			return true
		}
	}
	return false
}

// selectedKeys are, by namespace, the keys of the labels by which bySelector finds policies:
// mostly one, such as "app". With a value for each of them there is no need to look at all
// policies. A key is kept when no policy has it any more, which costs time alone, until the
// namespace goes.
type selectedKeys struct {
	mutex sync.Mutex
	known map[string][]string
}

// note is called as an index would be: before anybody finds the policy in the cache. It has
// no places.
func (k *selectedKeys) note(obj any) ([]string, error) {
	if p, ok := obj.(*v1alpha1.FunnelPolicy); ok {
		k.add(p)
	}
	return nil, nil
}

func (k *selectedKeys) add(p *v1alpha1.FunnelPolicy) {
	if len(p.Spec.PodSelector.MatchLabels) == 0 {
		return
	}
	key := firstKey(p.Spec.PodSelector.MatchLabels)
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if !slices.Contains(k.known[p.Namespace], key) {
		put(&k.known, shared(p.Namespace), append(k.known[p.Namespace], shared(key)))
	}
}

func (k *selectedKeys) forget(namespace string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	delete(k.known, namespace)
}

// allIn reports whether the set has a value for each key.
func (k *selectedKeys) allIn(namespace string, set labels.Set) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return !slices.ContainsFunc(k.known[namespace], func(key string) bool { return !set.Has(key) })
}
