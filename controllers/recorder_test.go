// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// eventServer answers creations, and notes them.
type eventServer struct {
	client.Client
	mutex  sync.Mutex
	tries  int
	last   *eventsv1.Event
	answer func(try int) error
}

func (s *eventServer) Scheme() *apiruntime.Scheme { return policiesAlone }

var policiesAlone = func() *apiruntime.Scheme {
	scheme := apiruntime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		panic(err)
	}
	return scheme
}()

func (s *eventServer) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.tries++
	s.last = obj.(*eventsv1.Event)
	return s.answer(s.tries)
}

func answered(int) error { return nil }

// tell records an Event about a policy of that name, of another version each time.
func tell(r *recorder, version int) {
	p := &v1alpha1.FunnelPolicy{}
	p.Namespace, p.Name, p.UID, p.ResourceVersion = "shop", fmt.Sprint("p", version), "1", fmt.Sprint(version)
	r.Eventf(p, nil, corev1.EventTypeWarning, "Invalid", "Reconcile", "%s", "100% wrong")
}

func TestEventsAreTriedUntilTheyAreAnswered(t *testing.T) {
	resource := schema.GroupResource{Resource: "events"}
	for name, row := range map[string]struct {
		answer func(try int) error
		want   int
	}{
		"created": {answered, 1},
		"refused": {func(int) error { return apierrors.NewForbidden(resource, "e", errors.New("no")) }, 1},
		"no answer": {func(try int) error {
			if try < 3 {
				return errors.New("connection refused")
			}
			return nil
		}, 3},
		"made without an answer": {func(try int) error {
			if try < 2 {
				return errors.New("connection lost")
			}
			return apierrors.NewAlreadyExists(resource, "e")
		}, 2},
		"never an answer": {func(int) error { return errors.New("connection refused") }, eventTries},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &eventServer{answer: row.answer}
				r := newRecorder(server)
				go func() { _ = r.Start(t.Context()) }()
				tell(r, 1)
				time.Sleep(time.Hour)
				if server.tries != row.want {
					t.Errorf("tried %d times, want %d", server.tries, row.want)
				}
				e := server.last
				if e.Namespace != "shop" || e.Regarding.Kind != "FunnelPolicy" || e.Regarding.Name != "p1" || e.Type != "Warning" || e.Reason != "Invalid" || e.Note != "100% wrong" || e.EventTime.IsZero() {
					t.Errorf("got %+v", e)
				}
			})
		})
	}
}

// While nobody answers, as many wait as there is room for, and nobody waits for them. The others
// are counted.
func TestEventsThatDoNotFitAreDropped(t *testing.T) {
	dropped := func() float64 {
		t.Helper()
		value, err := gathered("sfunnel_events_dropped_total")
		if err != nil || value < 0 {
			t.Fatalf("the metric is %v, %v", value, err)
		}
		return value
	}
	before := dropped()
	r := newRecorder(&eventServer{answer: answered})
	for i := range 3 * mostEvents {
		tell(r, i)
	}
	if len(r.queue) != mostEvents {
		t.Errorf("%d wait, want %d", len(r.queue), mostEvents)
	}
	if counted := dropped() - before; counted != 2*mostEvents {
		t.Errorf("%v are counted as dropped, want %d", counted, 2*mostEvents)
	}
}

func TestEventsThatWereAnsweredAreNotKept(t *testing.T) {
	const many, most = 20_000, 50 // bytes an Event; its own are more than 600
	server := &eventServer{answer: answered}
	r := newRecorder(server)
	go func() { _ = r.Start(t.Context()) }()
	before := heapInUse()
	for i := range many {
		tell(r, i)
		for len(r.queue) > mostEvents/2 {
			time.Sleep(time.Millisecond)
		}
	}
	for len(r.queue) > 0 {
		time.Sleep(time.Millisecond)
	}
	if each := float64(heapInUse()-before) / many; each > most {
		t.Errorf("%.0f bytes are kept of each", each)
	}
	runtime.KeepAlive(r)
}

// heapInUse is what is left of the heap without its garbage, in bytes.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what finalizers kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
