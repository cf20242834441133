// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// recorder is an events.EventRecorder that creates Events and keeps none that was answered.
// The one of client-go keeps each for minutes, to make a series of repeated ones: thousands of
// ours, of which each is about another version of its policy, and told once.
type recorder struct {
	client   client.Client
	instance string
	queue    chan *eventsv1.Event
}

const (
	// mostEvents is how many wait to be created. What happens while as many do is counted, and
	// told by statuses alone.
	mostEvents = 1000
	// eventWriters is how many are created at a time: as many as reconciles by default, each of
	// which makes one with most statuses that it writes.
	eventWriters = 16
	// eventTries is how often an Event is tried that nobody answers, and eventPause how long it
	// waits in between.
	eventTries = 12
	eventPause = 10 * time.Second
)

var eventLog = ctrl.Log.WithName("events")

func newRecorder(c client.Client) *recorder {
	host, _ := os.Hostname()
	return &recorder{client: c, instance: FieldManager + "-" + host, queue: make(chan *eventsv1.Event, mostEvents)}
}

// Eventf queues an Event about a namespaced object, with which no other is related, and does not
// wait.
func (r *recorder) Eventf(regarding, _ runtime.Object, kind, reason, action, note string, args ...any) {
	about, err := reference.GetReference(r.client.Scheme(), regarding)
	if err != nil {
		eventLog.Error(err, "an Event can't be told", "reason", reason)
		return
	}
	now := metav1.NowMicro()
	event := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: about.Namespace, Name: util.GenerateEventName(about.Name, now.UnixNano())},
		EventTime:           now,
		ReportingController: FieldManager,
		ReportingInstance:   r.instance,
		Regarding:           *about,
		Type:                kind,
		Reason:              reason,
		Action:              action,
		Note:                fmt.Sprintf(note, args...),
	}
	eventLog.V(1).Info(event.Note, "type", kind, "reason", reason, "object", about)
	select {
	case r.queue <- event:
	default:
		droppedEvents.Inc()
	}
}

// Start implements manager.Runnable. What still waits when the manager ends is lost.
func (r *recorder) Start(ctx context.Context) error {
	var writers sync.WaitGroup
	for range eventWriters {
		writers.Go(func() { r.write(ctx) })
	}
	writers.Wait()
	return nil
}

func (r *recorder) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-r.queue:
			r.create(ctx, event)
		}
	}
}

// create tries until there is an answer. A try without one may have made the Event, and in a
// namespace that ends none can be made.
func (r *recorder) create(ctx context.Context, event *eventsv1.Event) {
	for range eventTries {
		err := r.client.Create(ctx, event)
		if err == nil || apierrors.IsAlreadyExists(err) || ending(err) || ctx.Err() != nil {
			return
		}
		eventLog.Error(err, "an Event was not created", "reason", event.Reason, "object", event.Regarding)
		if answer := apierrors.APIStatus(nil); errors.As(err, &answer) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait.Jitter(eventPause, 0.25)):
		}
	}
}
