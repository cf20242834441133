// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// SetupWithManager fills in what is not set and starts the reconciler with the
// manager, whose cache must be made with CacheOptions.
func (r *FunnelPolicyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.fillIn(mgr)
	if r.Events == nil {
		recorder := newRecorder(r.Client)
		if err := mgr.Add(recorder); err != nil {
			return err
		}
		r.Events = recorder
	}
	var err error
	if r.policies, err = policiesIn(mgr.GetCache()); err != nil {
		return err
	}
	if err = r.policies.noteKeys(); err != nil {
		return err
	}
	if r.services.indexer, err = indexerOf(mgr.GetCache(), &corev1.Service{}, serviceIndexers); err != nil {
		return err
	}
	if r.pods.indexer, err = indexerOf(mgr.GetCache(), &corev1.Pod{}, podIndexers); err != nil {
		return err
	}
	if r.configMaps.indexer, err = indexerOf(mgr.GetCache(), &corev1.ConfigMap{}, nil); err != nil {
		return err
	}
	if r.endpointSlices.indexer, err = indexerOf(mgr.GetCache(), &discoveryv1.EndpointSlice{}, endpointSliceIndexers); err != nil {
		return err
	}
	if err := mgr.Add(statusCollector{r.policies}); err != nil {
		return err
	}
	changed := builder.WithPredicates(contentChanged)
	controlled := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.FunnelPolicy{}, builder.WithPredicates(specChanged)).
		Watches(&v1alpha1.FunnelPolicy{}, mapped(r.neighbours), builder.WithPredicates(specChanged)).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(policyOfConfigMap), builder.WithPredicates(contentChanged, r.byOthers())).
		Watches(&corev1.ConfigMap{}, mapped(r.clientsOfConfigMap), changed).
		Watches(&corev1.ConfigMap{}, mapped(r.neighboursOfConfigMap), builder.WithPredicates(goes)).
		Watches(&corev1.Pod{}, later(mapped(r.policiesOfPod)), changed).
		Watches(&corev1.Pod{}, later(handler.EnqueueRequestsFromMapFunc(r.missingOfPod)), builder.WithPredicates(appears)).
		Watches(&discoveryv1.EndpointSlice{}, later(mapped(r.policiesOfEndpoints)), changed).
		Watches(&corev1.Service{}, mapped(r.policiesOfService), changed).
		WatchesMetadata(&corev1.Namespace{}, mapped(r.policiesOfNamespace), changed).
		WatchesMetadata(&corev1.Namespace{}, handler.Funcs{DeleteFunc: r.forgetNamespace}).
		WatchesRawSource(source.Func(r.begin)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Workers})
	if r.WebhookConfiguration != "" {
		controlled = controlled.Watches(&admissionregistrationv1.MutatingWebhookConfiguration{},
			putOff(mapped(r.allPolicies), r.sometime), builder.WithPredicates(comesOrGoes))
	}
	return controlled.Complete(r)
}

func (r *FunnelPolicyReconciler) fillIn(mgr ctrl.Manager) {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.CiliumConfig = cmp.Or(r.CiliumConfig, types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: "cilium-config"})
	r.Workers = cmp.Or(r.Workers, 16)
	r.KeepDeleted = cmp.Or(r.KeepDeleted, 10*time.Minute)
	r.ListAtMost = cmp.Or(r.ListAtMost, 2*time.Second)
	r.ListSlowly = cmp.Or(r.ListSlowly, 10*time.Minute)
	r.StatusAtMost = cmp.Or(r.StatusAtMost, time.Second)
	r.SettleFor = cmp.Or(r.SettleFor, 10*time.Second)
	r.LookAgain = cmp.Or(r.LookAgain, time.Minute)
	r.podsPerPage = cmp.Or(r.podsPerPage, 100)
}

// begin is called before the first reconcile, when this replica leads. It follows what is
// not watched.
func (r *FunnelPolicyReconciler) begin(ctx context.Context, queue requests) error {
	now := r.Clock.Now()
	r.started.Store(&now)
	go wait.UntilWithContext(ctx, func(ctx context.Context) { r.followCilium(ctx, queue) }, r.ListSlowly)
	return nil
}

// specChanged lets pass policies but as their status changed. One that was deleted and made
// again while the watch was interrupted is an update, and may have the same generation.
var specChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
	},
}

// contentChanged lets pass what changed in the cut object. Most updates of pods,
// Services and namespaces change nothing that is read.
var contentChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before := e.ObjectOld.DeepCopyObject().(client.Object)
		before.SetResourceVersion(e.ObjectNew.GetResourceVersion())
		return !equality.Semantic.DeepEqual(before, e.ObjectNew)
	},
}

// byOthers lets pass ConfigMaps but as our own writes made them: whoever wrote knows,
// and has told. An event that comes before the answer to its write passes, too.
func (r *FunnelPolicyReconciler) byOthers() predicate.Predicate {
	others := func(c client.Object) bool { return !r.memory.wroteIt(c) }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return others(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return others(e.ObjectNew) },
	}
}

// policyOfConfigMap is the policy whose name the ConfigMap has, whatever its
// label says now.
func policyOfConfigMap(_ context.Context, obj client.Object) []reconcile.Request {
	of, ok := policyBefore(obj, v1alpha1.ConfigMapSuffix)
	if !ok {
		of, ok = policyBefore(obj, v1alpha1.ExternalSuffix)
	}
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: of}}
}

// policyBefore is the policy whose name the ConfigMap has in front of the suffix.
func policyBefore(obj client.Object, suffix string) (of types.NamespacedName, ok bool) {
	name, ok := strings.CutSuffix(obj.GetName(), suffix)
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}, ok
}

// finder names the policies that an object matters to.
type finder func(client.Object) ([]*v1alpha1.FunnelPolicy, error)

// mapped enqueues what find finds. While the policies are being read it may find none:
// all of them are reconciled after that.
func mapped(find finder) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []reconcile.Request {
		found, err := find(obj)
		if err != nil {
			log.FromContext(ctx).Error(err, "find the policies that an object matters to", "object", client.ObjectKeyFromObject(obj))
			return nil
		}
		requests := make([]reconcile.Request, len(found))
		for i := range found {
			requests[i].NamespacedName = client.ObjectKeyFromObject(found[i])
		}
		return requests
	})
}

// aMoment is how long events about pods are gathered.
const aMoment = 100 * time.Millisecond

// lowPriority is that of reconciles that pods and time ask for. What publishes rules,
// such as an edit of a policy, has the default, 0, and goes first: while many pods roll,
// the others wait for each other.
var lowPriority = -10

// later makes h enqueue a moment later and behind others, so that many pods that change
// together make one reconcile of their policy.
func later(h handler.EventHandler) handler.EventHandler {
	return putOff(h, func() time.Duration { return aMoment })
}

// sometime is some time soon, for what concerns all policies.
func (r *FunnelPolicyReconciler) sometime() time.Duration {
	return wait.Jitter(aMoment, float64(r.ListSlowly/10)/float64(aMoment))
}

// putOff makes h enqueue later by that time, and behind others.
func putOff(h handler.EventHandler, by func() time.Duration) handler.EventHandler {
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q requests) { h.Create(ctx, e, delayed{q, by}) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q requests) { h.Update(ctx, e, delayed{q, by}) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q requests) { h.Delete(ctx, e, delayed{q, by}) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q requests) { h.Generic(ctx, e, delayed{q, by}) },
	}
}

type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// delayed is a queue to which adding takes a while.
type delayed struct {
	requests
	by func() time.Duration
}

func (d delayed) Add(request reconcile.Request) {
	if queue, ok := d.requests.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		queue.AddWithOpts(priorityqueue.AddOpts{After: d.by(), Priority: &lowPriority}, request)
		return
	}
	d.AddAfter(request, d.by())
}

// policiesOfPod are those that select the pod, and clients of those.
func (r *FunnelPolicyReconciler) policiesOfPod(pod client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	candidates, err := r.policies.maySelect(pod.GetNamespace(), pod.GetLabels())
	if err != nil {
		return nil, err
	}
	return r.policies.withClients(slices.DeleteFunc(candidates, func(p *v1alpha1.FunnelPolicy) bool {
		selected, err := chosen(&p.Spec.PodSelector, pod.GetLabels())
		return err != nil || !selected
	}))
}

// appears lets pass objects that are new to the cache.
var appears = predicate.Funcs{
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// missingOfPod are policies that the pod waits for and that are not there: whoever saw
// them go, before this manager began, was to let such pods start (reconcileDeleted).
func (r *FunnelPolicyReconciler) missingOfPod(ctx context.Context, obj client.Object) []reconcile.Request {
	missing, err := r.missing(ctx, obj)
	if err != nil {
		log.FromContext(ctx).Error(err, "look at what a pod waits for", "object", client.ObjectKeyFromObject(obj))
	}
	var requests []reconcile.Request
	for _, key := range missing {
		requests = append(requests, reconcile.Request{NamespacedName: key})
	}
	return requests
}

// missing names those policies. Only admission injects no pod before there is its policy:
// what a manifest names may come later. A pod that must have rules waits anyway.
func (r *FunnelPolicyReconciler) missing(ctx context.Context, obj client.Object) ([]types.NamespacedName, error) {
	packed, err := asPacked(obj)
	if err != nil {
		return nil, err
	}
	pod, err := unpackPod(packed)
	if err != nil || pod.Status.Phase != corev1.PodPending || inject.Required(pod) {
		return nil, err
	}
	var missing []types.NamespacedName
	for _, name := range inject.Policies(pod) {
		key := types.NamespacedName{Namespace: pod.Namespace, Name: name}
		if _, exists, err := r.policies.indexer.GetByKey(key.String()); err == nil && !exists {
			missing = append(missing, key)
		}
	}
	if missing == nil {
		return nil, nil
	}
	n, err := r.namespace(ctx, pod.Namespace)
	if err != nil || !n.AtAdmission() {
		return nil, client.IgnoreNotFound(err)
	}
	return missing, nil
}

// policiesOfService are those that name the Service with their clients, whose rules may
// change, and whom that concerns; and those of its namespace whose pods it may lead to.
func (r *FunnelPolicyReconciler) policiesOfService(obj client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	naming, err := r.policies.naming(client.ObjectKeyFromObject(obj))
	if err != nil {
		return nil, err
	}
	if naming, err = r.policies.withClients(naming); err == nil {
		naming, err = r.policies.withReachable(naming)
	}
	if err != nil {
		return nil, err
	}
	service, err := asPacked(obj)
	if err != nil || service.Labels == "" {
		return naming, err
	}
	leading, err := r.policies.meeting(service.Namespace, service.Labels.set())
	return append(leading, naming...), err
}

// policiesOfEndpoints are the backends behind the slice's Service, and their
// clients.
func (r *FunnelPolicyReconciler) policiesOfEndpoints(obj client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	naming, err := r.policies.naming(serviceOfSlice(obj))
	if err != nil {
		return nil, err
	}
	return r.policies.withClients(slices.DeleteFunc(naming, func(p *v1alpha1.FunnelPolicy) bool { return p.Spec.Backend == nil }))
}

// clientsOfConfigMap are those of the backend whose rules the ConfigMap holds.
func (r *FunnelPolicyReconciler) clientsOfConfigMap(obj client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	of, ok := policyBefore(obj, v1alpha1.ConfigMapSuffix)
	if !ok {
		return nil, nil
	}
	return r.policies.clientsOf(of)
}

// goes lets pass objects that are gone.
var goes = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// neighboursOfConfigMap are those of the policy whose last good rules the ConfigMap may have
// held.
func (r *FunnelPolicyReconciler) neighboursOfConfigMap(obj client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	of, ok := policyBefore(obj, v1alpha1.ConfigMapSuffix)
	if !ok {
		return nil, nil
	}
	p, exists, err := r.policies.indexer.GetByKey(of.String())
	if err != nil || !exists {
		return nil, err
	}
	return r.policies.reachable(p.(*v1alpha1.FunnelPolicy))
}

// comesOrGoes lets pass objects that are made or deleted while the controller runs.
var comesOrGoes = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
	UpdateFunc: func(event.UpdateEvent) bool { return false },
}

// allPolicies are all, whatever the object.
func (r *FunnelPolicyReconciler) allPolicies(client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	return r.policies.all(), nil
}

// policiesOfNamespace are those in it.
func (r *FunnelPolicyReconciler) policiesOfNamespace(obj client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	return r.policies.in(obj.GetName(), func(*v1alpha1.FunnelPolicy) bool { return true })
}

// forgetNamespace drops what is remembered of a namespace that is gone, besides its policies.
func (r *FunnelPolicyReconciler) forgetNamespace(ctx context.Context, e event.DeleteEvent, _ requests) {
	name := e.Object.GetName()
	r.memory.forgetNamespace(name)
	if err := r.policies.forgetKeys(name); err != nil {
		log.FromContext(ctx).Error(err, "forget which labels the policies of a namespace select", "namespace", name)
	}
}

// neighbours are the other policies whose verdict depends on this one, by way of others too:
// they may conflict, or no longer. Clients of this one follow it, and so do their neighbours.
func (r *FunnelPolicyReconciler) neighbours(obj client.Object) ([]*v1alpha1.FunnelPolicy, error) {
	p := obj.(*v1alpha1.FunnelPolicy)
	clients, err := r.policies.clientsOf(client.ObjectKeyFromObject(p))
	if err != nil {
		return nil, err
	}
	changed, err := r.policies.withReachable(append([]*v1alpha1.FunnelPolicy{p}, clients...))
	return changed[1:], err
}
