// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// memory is what the controller remembers of each policy between two reconciles.
// All of it can be lost: a restart costs reads and at most some waiting.
type memory struct {
	sync.Mutex
	policies map[types.NamespacedName]*known
	programs map[types.NamespacedName]compiled
	sweeps   map[string]*sweep // by namespace
	looks    map[string]*look  // by namespace
	// configMaps are the versions that we wrote last, by namespace and name.
	configMaps map[fingerprint]fingerprint
	// ports are the numbers that named ports had last, by policy.
	ports map[types.NamespacedName]portNumbers
	// whole are ConfigMaps as they were read live and then left as they were.
	whole map[types.NamespacedName]*corev1.ConfigMap
}

// known is what is remembered of one policy. The work queue gives a policy to one
// worker at a time; the lock is for callers from outside.
type known struct {
	sync.Mutex
	// orphanedAt is when the ConfigMap was first seen without its policy.
	orphanedAt moment
	// configMap and external tell a stale cache.
	configMap, external written
	// status tells a stale cache.
	status written
	// statusAt is when the status was written; podsChangedAt when it first differed
	// by what pods do alone, zero when it does not.
	statusAt, podsChangedAt moment
	// attached is of the digest of the rules that all pods had last.
	attached fingerprint
	// conflicts are those with older policies.
	conflicts verdict
	// covered is how long a client's backend has been ready for its rules.
	covered covered
	// others are the pods that were not injected.
	others listing
}

// moment is a time.Time in a third of the room, as nanoseconds since beforeStart; 0: never.
type moment int64

// beforeStart has a reading of the monotonic clock, so that nobody who sets the other one
// makes waits longer.
var beforeStart = time.Now().Add(-24 * time.Hour)

func momentOf(t time.Time) moment { return moment(t.Sub(beforeStart)) }

// until is how much later t is; a day at least when there was no such moment.
func (m moment) until(t time.Time) time.Duration { return time.Duration(momentOf(t) - m) }

// written is the last write to an object: a cached copy that still has the version
// before it is stale.
type written struct {
	from, to fingerprint // of versions; zero where there is no object
	// content is that of a ConfigMap, as contentPrint tells it.
	content fingerprint
	// hidden says that it met an object that the cache does not show.
	hidden bool
}

func (w written) stale(version string) bool {
	return w.to != w.from && w.from == fingerprintOf(version)
}

// kept reports whether the last write was of this content and left the ConfigMap as it is:
// all of that was there.
func (w written) kept(c *corev1.ConfigMap, want content) bool {
	return c != nil && w.to != 0 && w.from == w.to && w.to == fingerprintOf(c.ResourceVersion) && w.content == contentPrint(want.releasedFor, want.data)
}

// put stores a value in a map that need not have been made.
func put[K comparable, V any](into *map[K]V, key K, value V) {
	if *into == nil {
		*into = map[K]V{}
	}
	(*into)[key] = value
}

func (m *memory) of(name types.NamespacedName) *known { return of(m, &m.policies, name) }

// wrote notes what a write of ours made.
func (m *memory) wrote(name types.NamespacedName, version string) {
	m.Lock()
	defer m.Unlock()
	put(&m.configMaps, fingerprintOf(name.String()), fingerprintOf(version))
	delete(m.whole, name)
}

// wroteIt reports whether the ConfigMap is as our last write left it.
func (m *memory) wroteIt(c client.Object) bool {
	m.Lock()
	defer m.Unlock()
	return m.configMaps[fingerprintOf(client.ObjectKeyFromObject(c).String())] == fingerprintOf(c.GetResourceVersion())
}

// keepWhole keeps what was read live.
func (m *memory) keepWhole(c *corev1.ConfigMap) {
	m.Lock()
	defer m.Unlock()
	put(&m.whole, client.ObjectKeyFromObject(c), c)
}

// keptWhole is what was read live of that version, nil when nothing was. It must not be
// changed.
func (m *memory) keptWhole(name types.NamespacedName, version string) *corev1.ConfigMap {
	m.Lock()
	defer m.Unlock()
	if c := m.whole[name]; c != nil && c.ResourceVersion == version {
		return c
	}
	return nil
}

func (m *memory) forget(name types.NamespacedName) {
	m.Lock()
	defer m.Unlock()
	for _, c := range []types.NamespacedName{rulesName(name), {Namespace: name.Namespace, Name: v1alpha1.ExternalName(name.Name)}} {
		delete(m.configMaps, fingerprintOf(c.String()))
		delete(m.whole, c)
	}
	delete(m.policies, name)
	delete(m.programs, name)
	delete(m.ports, name)
}

// compiled is what the policy compiled to last time, if it was kept.
func (m *memory) compiled(name types.NamespacedName) compiled {
	m.Lock()
	defer m.Unlock()
	return m.programs[name]
}

func (m *memory) keep(name types.NamespacedName, c compiled) {
	m.Lock()
	defer m.Unlock()
	put(&m.programs, name, c)
}

// portNumbers are the numbers that the pods of a policy gave to named ports.
type portNumbers struct {
	of      string // the policy's generation and its Service's ports
	numbers map[string][]uint16
}

// namedPorts are those that were kept of that, nil for none. They must not be changed.
func (m *memory) namedPorts(name types.NamespacedName, of string) map[string][]uint16 {
	m.Lock()
	defer m.Unlock()
	if n := m.ports[name]; n.of == of {
		return n.numbers
	}
	return nil
}

func (m *memory) keepNamedPorts(name types.NamespacedName, n portNumbers) {
	m.Lock()
	defer m.Unlock()
	put(&m.ports, name, n)
}

// forgetNamespace drops what is by namespace.
func (m *memory) forgetNamespace(name string) {
	m.Lock()
	defer m.Unlock()
	delete(m.sweeps, name)
	delete(m.looks, name)
}

func (m *memory) sweep(namespace string) *sweep { return of(m, &m.sweeps, namespace) }

func (m *memory) look(namespace string) *look { return of(m, &m.looks, namespace) }

// of is what the memory has at the key, which is made when it is not there.
func of[K comparable, V any](m *memory, in *map[K]*V, key K) *V {
	m.Lock()
	defer m.Unlock()
	v, ok := (*in)[key]
	if !ok {
		v = new(V)
		put(in, key, v)
	}
	return v
}
