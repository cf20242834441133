// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// policies finds FunnelPolicies in the manager's cache. What it returns are the cache's
// own and must not be changed: a pod's event, its creation and each reconcile ask about
// the policies of a namespace, and most of the time would go into copies.
type policies struct {
	indexer toolscache.Indexer
	synced  toolscache.InformerSynced
	keys    *selectedKeys // of who asks which policies meet
}

// An index of policies, besides that by namespace. It has a few hundred places, in which
// policies with different values meet: one for each value would take as much memory again as
// a third of the policies themselves.
type index struct {
	name   string
	values func(*v1alpha1.FunnelPolicy) []string
}

var (
	// byService is by the "namespace/name" of a Service that they name.
	byService = index{"sfunnel.io/service", namedServices}
	// byBackend is of clients, by the "namespace/name" of the backend policy to
	// which they refer.
	byBackend = index{"sfunnel.io/backend", namedBackend}
	// bySelector is by the namespace and one of the labels that they select.
	bySelector = index{"sfunnel.io/selector", selectedLabel}
)

var policyIndexers = toolscache.Indexers{
	byService.name:  byService.places,
	byBackend.name:  byBackend.places,
	bySelector.name: bySelector.places,
}

// places are where a policy stands in the index.
func (x index) places(obj any) ([]string, error) {
	p, ok := obj.(*v1alpha1.FunnelPolicy)
	if !ok {
		return nil, fmt.Errorf("index FunnelPolicies: unexpected %T", obj)
	}
	var places []string
	for _, value := range x.values(p) {
		places = append(places, placeOf(value))
	}
	return places, nil
}

// placeOf is where all that have the value are found.
func placeOf(value string) string { return placeNames[hashOf(value)%uint64(len(placeNames))] }

var placeNames = func() (names [512]string) {
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}()

// policiesIn makes the cache keep FunnelPolicies, with the indexes.
func policiesIn(c cache.Cache) (policies, error) {
	informer, err := informerOf(c, &v1alpha1.FunnelPolicy{})
	if err != nil {
		return policies{}, err
	}
	missing := maps.Clone(policyIndexers) // webhook and reconciler may share the cache
	for name := range informer.GetIndexer().GetIndexers() {
		delete(missing, name)
	}
	return policies{indexer: informer.GetIndexer(), synced: informer.HasSynced}, informer.AddIndexers(missing)
}

// ready is an error until all policies have been read once.
func (p policies) ready() error {
	if p.synced() {
		return nil
	}
	return errors.New("the FunnelPolicies are not read yet")
}

// await waits until they are ready.
func (p policies) await(ctx context.Context) error {
	if !p.synced() {
		toolscache.WaitForCacheSync(ctx.Done(), p.synced)
	}
	return p.ready()
}

// in are those of a namespace for which keep holds.
func (p policies) in(namespace string, keep func(*v1alpha1.FunnelPolicy) bool) ([]*v1alpha1.FunnelPolicy, error) {
	all, err := p.indexer.ByIndex(toolscache.NamespaceIndex, namespace)
	return slices.DeleteFunc(typed(all), func(q *v1alpha1.FunnelPolicy) bool { return !keep(q) }), err
}

// maySelect are those of a namespace that may select an object with these labels: the
// label by which they are found is one of them.
func (p policies) maySelect(namespace string, set labels.Set) ([]*v1alpha1.FunnelPolicy, error) {
	found, err := p.by(bySelector, anyLabels(namespace))
	for key, value := range set {
		more, failed := p.by(bySelector, oneLabel(namespace, key, value))
		found, err = append(found, more...), errors.Join(err, failed)
	}
	return found, err
}

// naming are those that name the Service.
func (p policies) naming(service types.NamespacedName) ([]*v1alpha1.FunnelPolicy, error) {
	return p.by(byService, service.String())
}

// clientsOf are those that refer to the backend.
func (p policies) clientsOf(backend types.NamespacedName) ([]*v1alpha1.FunnelPolicy, error) {
	return p.by(byBackend, backend.String())
}

// by are those that have the value in the index.
func (p policies) by(x index, value string) ([]*v1alpha1.FunnelPolicy, error) {
	objects, err := p.indexer.ByIndex(x.name, placeOf(value))
	return slices.DeleteFunc(typed(objects), func(q *v1alpha1.FunnelPolicy) bool { return !slices.Contains(x.values(q), value) }), err
}

// all are those of all namespaces.
func (p policies) all() []*v1alpha1.FunnelPolicy { return typed(p.indexer.List()) }

func typed(objects []any) []*v1alpha1.FunnelPolicy {
	found := make([]*v1alpha1.FunnelPolicy, len(objects))
	for i := range objects {
		found[i] = objects[i].(*v1alpha1.FunnelPolicy)
	}
	return found
}

// withClients adds the clients of those that are backends.
func (p policies) withClients(found []*v1alpha1.FunnelPolicy) ([]*v1alpha1.FunnelPolicy, error) {
	for _, q := range found {
		if q.Spec.Backend == nil {
			continue
		}
		clients, err := p.clientsOf(client.ObjectKeyFromObject(q))
		if err != nil {
			return nil, err
		}
		found = append(found, clients...)
	}
	return found, nil
}

// namedServices are the values of byService.
func namedServices(p *v1alpha1.FunnelPolicy) []string {
	var names []string
	for _, name := range policy.References(p) {
		names = append(names, name.String())
	}
	return names
}

// namedBackend is the value of byBackend.
func namedBackend(p *v1alpha1.FunnelPolicy) []string {
	if name := policy.BackendName(p); name.Name != "" {
		return []string{name.String()}
	}
	return nil
}

// selectedLabel is the value of bySelector: of several labels the first by key. Without
// any the policy may select whatever is in its namespace.
func selectedLabel(p *v1alpha1.FunnelPolicy) []string {
	return []string{firstLabel(p.Namespace, p.Spec.PodSelector.MatchLabels)}
}

// firstLabel is of those that an object in the namespace selects the one by which it is found.
func firstLabel(namespace string, selected map[string]string) string {
	if len(selected) == 0 {
		return anyLabels(namespace)
	}
	first := firstKey(selected)
	return oneLabel(namespace, first, selected[first])
}

// firstKey is its key; "" of none.
func firstKey(selected map[string]string) string {
	first := ""
	for key := range selected {
		if first == "" || key < first {
			first = key
		}
	}
	return first
}

// Neither a namespace nor a label has a space.
func anyLabels(namespace string) string            { return namespace + " " }
func oneLabel(namespace, key, value string) string { return namespace + " " + key + "=" + value }
