// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// FieldManager owns the fields that the controller writes.
const FieldManager = "funnel-operator"

// FunnelPolicyReconciler publishes the rules of FunnelPolicies in ConfigMaps and
// what came of them in their status. The zero value of each time and of Workers
// stands for its default.
type FunnelPolicyReconciler struct {
	// Client reads from a cache made with CacheOptions, and writes.
	client.Client
	// Live reads from the API server.
	Live client.Reader
	// Events tells people what happened.
	Events events.EventRecorder
	// Clock is the real one, but in tests.
	Clock clock.PassiveClock

	// Workers is how many policies are reconciled at a time. Default 16: a reconcile
	// mostly waits for the API server.
	Workers int
	// KeepDeleted is how long a ConfigMap stays when its policy is gone, and how
	// long after finding pods that mount it they are looked for again. Default 10
	// minutes.
	KeepDeleted time.Duration
	// ListAtMost is the least time between two lists of a policy's pods that were
	// not injected, and how long injected ones are gone before others are looked for
	// in their place. Default 2 seconds.
	ListAtMost time.Duration
	// ListSlowly is the longest time between two such lists while some pods were
	// not injected; it is approached by doubling. Default 10 minutes.
	ListSlowly time.Duration
	// LookAgain is how often a foreign ConfigMap of a policy's name is looked for:
	// it is not watched. Default 1 minute.
	LookAgain time.Duration
	// StatusAtMost is the least time between two status writes of one policy, and how
	// long what pods do is gathered before it is written. Default 1 second.
	StatusAtMost time.Duration
	// SettleFor is how long all ready endpoints of a Service must have run the rules
	// before its clients are updated in place: the time that nodes may take to learn
	// which endpoints have gone. Default 10 seconds.
	SettleFor time.Duration

	// Namespace is the operator's own: its pods are never injected at admission.
	Namespace string
	// Injector is who injects new pods elsewhere. Default: status.Admission.
	Injector status.Injector
	// WebhookConfiguration is the name of the MutatingWebhookConfiguration without which
	// nobody does. The cache must be limited to it, as WebhookCertificate.LimitCache does.
	// Empty: there is none, or whether it is there is not known.
	WebhookConfiguration string

	// CiliumConfig is the ConfigMap by which Cilium says how it balances. Default
	// kube-system/cilium-config. It is read live when the first policy that sends to
	// Services is looked at, and from then on every ListSlowly.
	CiliumConfig types.NamespacedName

	// podsPerPage bounds how many pods each worker has in memory when it lists them
	// live. Default 100: 16 such pages of ordinary pods, 25 KiB each, are 40 MiB.
	podsPerPage int64

	// started is when the controller began, after it stood by for however long.
	started atomic.Pointer[time.Time]
	// heard is from the last refresh that was added, nil before the first.
	heard atomic.Pointer[heard]

	policies policies
	services services
	pods     pods
	memory   memory
	cilium   ciliumConfig

	endpointSlices endpointSlices
	configMaps     cutConfigMaps
}

// Reconcile does what one policy needs, or what its ConfigMap needs when the
// policy is gone; nothing in a namespace that is being deleted.
func (r *FunnelPolicyReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	known := r.memory.of(req.NamespacedName)
	known.Lock()
	defer known.Unlock()

	var p v1alpha1.FunnelPolicy
	err := r.Get(ctx, req.NamespacedName, &p)
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return ctrl.Result{}, err
	}
	unpackPolicy(&p)
	ends, err := r.ends(ctx, req.Namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	var result ctrl.Result
	switch {
	case gone && ends:
		r.memory.forget(req.NamespacedName)
	case gone:
		result, err = r.reconcileDeleted(ctx, req.NamespacedName, known)
	case !ends:
		known.orphanedAt = 0
		result, err = r.reconcilePolicy(ctx, &p, known)
	}
	if ending(err) {
		return ctrl.Result{}, nil // the namespace's event follows, and all others'
	}
	return result, err
}

// reconcilePolicy publishes what can be published and tells what came of it. A
// failed write is in the status, and tried again, less and less often; what is due sooner,
// such as a status with what pods did meanwhile, comes first.
func (r *FunnelPolicyReconciler) reconcilePolicy(ctx context.Context, p *v1alpha1.FunnelPolicy, known *known) (ctrl.Result, error) {
	facts, err := r.gather(ctx, p, known)
	if err != nil {
		return ctrl.Result{}, err
	}
	refused, err := r.publishAll(ctx, &facts, known)
	if err != nil {
		return ctrl.Result{}, err
	}
	if p.Spec.Backend != nil {
		coverage, err := r.coverage(p, facts.ConfigMap.Digest)
		if err != nil {
			return ctrl.Result{}, err
		}
		facts.Coverage = &coverage
	}
	listAgain, err := r.count(ctx, &facts, known)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.addLeading(&facts); err != nil {
		return ctrl.Result{}, err
	}
	refreshAgain, notRefreshed := r.refresh(ctx, &facts)
	writeAgain, err := r.writeStatus(ctx, known, facts, refused != nil)
	if err != nil {
		return ctrl.Result{}, errors.Join(err, refused, notRefreshed)
	}
	again := soonest(refreshAgain, writeAgain, r.settling(known))
	if err := errors.Join(refused, notRefreshed); err != nil && again == 0 {
		return ctrl.Result{}, err
	}
	again = soonest(again, listAgain, facts.Pods.NextStall(), r.lookAgain(facts))
	return ctrl.Result{RequeueAfter: again, Priority: &lowPriority}, nil
}

// publishAll writes both ConfigMaps. refused is as publish has it. That somebody was faster
// is an error: one must look again before telling. So is that the namespace ends: there is
// nobody to tell.
func (r *FunnelPolicyReconciler) publishAll(ctx context.Context, facts *status.Facts, known *known) (refused, err error) {
	var inPods, external error
	facts.ConfigMap, inPods, err = r.publish(ctx, *facts, known)
	if err = cmp.Or(err, overtaken(inPods)); err != nil {
		return nil, err
	}
	external, err = r.publishExternal(ctx, facts, known)
	if err = cmp.Or(err, overtaken(external)); err != nil {
		return nil, err
	}
	return errors.Join(inPods, external), nil
}

// overtaken is err if it says that another write came first, or the namespace's deletion.
func overtaken(err error) error {
	if apierrors.IsConflict(err) || ending(err) {
		return err
	}
	return nil
}

// soonest returns the smallest positive duration, or 0.
func soonest(all ...time.Duration) time.Duration {
	var first time.Duration
	for _, d := range all {
		if d > 0 && (first == 0 || d < first) {
			first = d
		}
	}
	return first
}
