// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// serviceIndex finds policies by the "namespace/name" of a Service that their
// rules name.
const serviceIndex = "spec.rules.service"

// SetupWithManager fills in what is not set and starts the reconciler with the
// manager, whose cache must be made with CacheOptions.
func (r *FunnelPolicyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.fillIn(mgr)
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.FunnelPolicy{}, serviceIndex, namedServices)
	if err != nil {
		return err
	}
	if err := mgr.Add(statusCollector{mgr.GetCache()}); err != nil {
		return err
	}
	changed := builder.WithPredicates(contentChanged)
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.FunnelPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.FunnelPolicy{}, mapped(r.neighbours), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(policyOfConfigMap), changed).
		Watches(&corev1.Pod{}, later(mapped(r.policiesOfPod)), changed).
		Watches(&corev1.Service{}, mapped(r.policiesOfService), changed).
		WatchesMetadata(&corev1.Namespace{}, mapped(r.policiesOfNamespace), changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Workers}).
		Complete(r)
}

func (r *FunnelPolicyReconciler) fillIn(mgr ctrl.Manager) {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(FieldManager)
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.Workers = cmp.Or(r.Workers, 16)
	r.KeepDeleted = cmp.Or(r.KeepDeleted, 10*time.Minute)
	r.ListAtMost = cmp.Or(r.ListAtMost, 2*time.Second)
	r.ListSlowly = cmp.Or(r.ListSlowly, 10*time.Minute)
	r.StatusAtMost = cmp.Or(r.StatusAtMost, time.Second)
	r.LookAgain = cmp.Or(r.LookAgain, time.Minute)
	r.podsPerPage = cmp.Or(r.podsPerPage, 500)
}

// contentChanged lets pass what changed in the cut object. Most updates of pods,
// Services and namespaces change nothing that is read.
var contentChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.DeepCopyObject().(client.Object), e.ObjectNew.DeepCopyObject().(client.Object)
		before.SetResourceVersion("")
		after.SetResourceVersion("")
		return !equality.Semantic.DeepEqual(before, after)
	},
}

// namedServices is the value of serviceIndex.
func namedServices(obj client.Object) []string {
	var names []string
	for _, name := range policy.References(obj.(*v1alpha1.FunnelPolicy)) {
		names = append(names, name.String())
	}
	return names
}

// policyOfConfigMap is the policy whose name the ConfigMap has, whatever its
// label says now.
func policyOfConfigMap(_ context.Context, obj client.Object) []reconcile.Request {
	name, ok := strings.CutSuffix(obj.GetName(), v1alpha1.ConfigMapSuffix)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}}}
}

// finder names the policies that an object matters to.
type finder func(context.Context, client.Object) ([]v1alpha1.FunnelPolicy, error)

// mapped enqueues what find finds. It reads the cache, which fails at shutdown
// only.
func mapped(find finder) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []reconcile.Request {
		found, err := find(ctx, obj)
		if err != nil {
			log.FromContext(ctx).Error(err, "find the policies that an object matters to", "object", client.ObjectKeyFromObject(obj))
			return nil
		}
		requests := make([]reconcile.Request, len(found))
		for i := range found {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&found[i])
		}
		return requests
	})
}

// aMoment is how long events about pods are gathered.
const aMoment = 100 * time.Millisecond

// later makes h enqueue a moment later, so that many pods that change together
// make one reconcile of their policy.
func later(h handler.EventHandler) handler.EventHandler {
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q requests) { h.Create(ctx, e, delayed{q}) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q requests) { h.Update(ctx, e, delayed{q}) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q requests) { h.Delete(ctx, e, delayed{q}) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q requests) { h.Generic(ctx, e, delayed{q}) },
	}
}

type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// delayed is a queue to which adding takes a moment.
type delayed struct{ requests }

func (d delayed) Add(request reconcile.Request) { d.AddAfter(request, aMoment) }

// policiesIn lists the policies of a namespace for which keep holds. They are
// the cache's own and must not be changed.
func (r *FunnelPolicyReconciler) policiesIn(ctx context.Context, namespace string, keep func(*v1alpha1.FunnelPolicy) bool) ([]v1alpha1.FunnelPolicy, error) {
	var list v1alpha1.FunnelPolicyList
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var kept []v1alpha1.FunnelPolicy
	for i := range list.Items {
		if keep(&list.Items[i]) {
			kept = append(kept, list.Items[i])
		}
	}
	return kept, nil
}

// policiesOfPod are those that select the pod.
func (r *FunnelPolicyReconciler) policiesOfPod(ctx context.Context, pod client.Object) ([]v1alpha1.FunnelPolicy, error) {
	return r.policiesIn(ctx, pod.GetNamespace(), func(p *v1alpha1.FunnelPolicy) bool {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		return err == nil && selector.Matches(labels.Set(pod.GetLabels()))
	})
}

// policiesOfService are those that name the Service, and those of its namespace
// whose pods it may lead to.
func (r *FunnelPolicyReconciler) policiesOfService(ctx context.Context, obj client.Object) ([]v1alpha1.FunnelPolicy, error) {
	var naming v1alpha1.FunnelPolicyList
	name := client.ObjectKeyFromObject(obj).String()
	if err := r.List(ctx, &naming, client.MatchingFields{serviceIndex: name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	selector := obj.(*corev1.Service).Spec.Selector
	leading, err := r.policiesIn(ctx, obj.GetNamespace(), func(p *v1alpha1.FunnelPolicy) bool {
		return len(selector) > 0 && !contradict(selector, p.Spec.PodSelector.MatchLabels)
	})
	return append(leading, naming.Items...), err
}

// policiesOfNamespace are those in it.
func (r *FunnelPolicyReconciler) policiesOfNamespace(ctx context.Context, obj client.Object) ([]v1alpha1.FunnelPolicy, error) {
	return r.policiesIn(ctx, obj.GetName(), func(*v1alpha1.FunnelPolicy) bool { return true })
}

// neighbours are the other policies that one pod may have besides this one:
// they may conflict, or no longer.
func (r *FunnelPolicyReconciler) neighbours(ctx context.Context, obj client.Object) ([]v1alpha1.FunnelPolicy, error) {
	mine := obj.(*v1alpha1.FunnelPolicy).Spec.PodSelector.MatchLabels
	return r.policiesIn(ctx, obj.GetNamespace(), func(p *v1alpha1.FunnelPolicy) bool {
		return p.Name != obj.GetName() && !contradict(mine, p.Spec.PodSelector.MatchLabels)
	})
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
