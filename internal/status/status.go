// SPDX-License-Identifier: Apache-2.0

package status

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// servicesAtMost is the bound of status.services in the schema.
const servicesAtMost = 64

// Facts is all that a status is made from.
type Facts struct {
	// Policy as it is now; the status in it is the one before.
	Policy *v1alpha1.FunnelPolicy
	// Program and Faults are what policy.Compile made of it.
	Program *policy.Program
	Faults  field.ErrorList
	// Conflicts are what keeps it from being accepted besides Faults.
	Conflicts []policy.Conflict
	// ConfigMap is what the policy's ConfigMap holds now.
	ConfigMap ConfigMap
	// Services that lead to the pods, and those that the policy's rules name.
	Services []*corev1.Service
	// Pods that the policy selects.
	Pods *Census
	// RefreshRefused is why the API server let the operator refresh no pod that
	// should be, "" if it did or none should be.
	RefreshRefused string
	// Namespace of the policy.
	Namespace Namespace
	// Coverage of a backend's Service by its pods; nil for other policies.
	Coverage *Coverage
	// SocketLoadBalancing says that the cluster's network picks backends when pods
	// connect, before any packet to a Service.
	SocketLoadBalancing bool
}

// Failure is a reason of a condition and its message.
type Failure struct{ Reason, Message string }

func (f Failure) happened() bool { return f.Reason != "" }

// ConfigMap is what a policy's ConfigMap holds.
type ConfigMap struct {
	// Exists says that there is one and that it is ours.
	Exists bool
	// Current says that it holds the Program.
	Current bool
	// Empty says that it is a client's and holds an empty rule set, so that pods
	// start: no rules were released, or they were taken back.
	Empty bool
	// Digest, Ingress and Egress are what it holds.
	Digest          string
	Ingress, Egress rules.RuleSet
	// Overhead is how many bytes these rules add to a packet at most.
	Overhead int
	// Failure is why it could not be written; zero: it could, or need not be.
	Failure Failure
}

// Of returns the whole status. Conditions that did not change keep their
// transition times, so that an equal status means that nothing is to be written.
func Of(f Facts) v1alpha1.FunnelPolicyStatus {
	shapes := f.Pods.allShapes()
	carrying := filter(f.Services, func(s *corev1.Service) bool { return carries(s, f.Policy, f.ingress(), shapes) })
	status := v1alpha1.FunnelPolicyStatus{
		ObservedGeneration: f.Policy.Generation,
		RulesDigest:        f.ConfigMap.Digest,
		Pods:               f.Pods.Counts(),
		MTU:                f.Pods.mtuStatus(),
		Services:           f.services(carrying),
	}
	if f.ConfigMap.Exists {
		status.ConfigMap = v1alpha1.ConfigMapName(f.Policy.Name)
	}
	status.Conditions = f.conditions(carrying)
	return status
}

// ingress are the rules that pods get; before there are any, those that the spec
// asks for.
func (f Facts) ingress() rules.RuleSet {
	if f.ConfigMap.Exists {
		return f.ConfigMap.Ingress
	}
	return f.Program.Ingress
}

// conditions keeps what of the conditions before still holds.
func (f Facts) conditions(carrying []*corev1.Service) []metav1.Condition {
	verdicts := f.verdicts(carrying)
	kept := slices.DeleteFunc(slices.Clone(f.Policy.Status.Conditions), func(c metav1.Condition) bool {
		_, present := verdicts[c.Type]
		return !present
	})
	for _, kind := range slices.Sorted(maps.Keys(verdicts)) {
		v := verdicts[kind]
		meta.SetStatusCondition(&kept, metav1.Condition{
			Type: kind, Status: v.status, Reason: v.reason, Message: v.message,
			ObservedGeneration: f.Policy.Generation,
		})
	}
	return kept
}

func (f Facts) verdicts(carrying []*corev1.Service) map[string]verdict {
	front := f.front(carrying)
	all := map[string]verdict{
		v1alpha1.ConditionAccepted:          f.accepted(),
		v1alpha1.ConditionResolvedRefs:      f.resolved(),
		v1alpha1.ConditionProgrammed:        f.programmed(),
		v1alpha1.ConditionSessionAffinity:   affinity(front),
		v1alpha1.ConditionSourceIPPreserved: sourceIP(front, f.consequence()),
		v1alpha1.ConditionAttached:          f.Pods.attached(f.Namespace, f.RefreshRefused, f.notYet()),
		v1alpha1.ConditionMTUWarning:        f.Pods.mtuWarning(f.Policy.Spec.MTU),
		v1alpha1.ConditionWarnings:          f.warnings(),
		v1alpha1.ConditionReady:             f.ready(),
	}
	if f.Coverage != nil {
		all[v1alpha1.ConditionCoverage] = f.Coverage.covered()
	}
	if v := f.stalled(); v.isTrue() {
		all[v1alpha1.ConditionStalled] = v
	} else if v := f.reconciling(); v.isTrue() {
		all[v1alpha1.ConditionReconciling] = v
	}
	return all
}

// front are the Services that funneled packets of these pods go through: those
// that lead to them, and those that their funnel rules name.
func (f Facts) front(carrying []*corev1.Service) []*corev1.Service {
	through := throughServices(f.Policy)
	through[f.Program.Front] = true
	front := slices.Clone(carrying)
	for _, s := range f.Services {
		if through[nameOf(s)] && !slices.Contains(front, s) {
			front = append(front, s)
		}
	}
	slices.SortFunc(front, byName)
	return front
}

// throughServices are the Services that packets are funneled to.
func throughServices(p *v1alpha1.FunnelPolicy) map[types.NamespacedName]bool {
	through := map[types.NamespacedName]bool{}
	for i := range p.Spec.Rules.Egress {
		if name, funnels := policy.FunnelsTo(p, &p.Spec.Rules.Egress[i]); funnels {
			through[name] = true
		}
	}
	return through
}

func nameOf(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// services is status.services: those that the rules name, and those that lead
// funneled packets to the pods.
func (f Facts) services(carrying []*corev1.Service) []v1alpha1.ServiceStatus {
	shown := filter(f.Services, func(s *corev1.Service) bool {
		_, named := f.Program.Addresses[nameOf(s)]
		return named || slices.Contains(carrying, s)
	})
	slices.SortFunc(shown, byName)
	var list []v1alpha1.ServiceStatus
	for _, s := range shown[:min(len(shown), servicesAtMost)] {
		list = append(list, serviceStatus(s, f.Program.Addresses[nameOf(s)]))
	}
	return list
}

func serviceStatus(s *corev1.Service, addresses []string) v1alpha1.ServiceStatus {
	status := v1alpha1.ServiceStatus{
		Namespace:             s.Namespace,
		Name:                  s.Name,
		Addresses:             addresses,
		Affinity:              string(s.Spec.SessionAffinity),
		ExternalTrafficPolicy: string(s.Spec.ExternalTrafficPolicy),
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		status.TimeoutSeconds = affinityTimeout(s)
	}
	if s.Spec.InternalTrafficPolicy != nil {
		status.InternalTrafficPolicy = string(*s.Spec.InternalTrafficPolicy)
	}
	return status
}

func filter[T any](all []T, keep func(T) bool) []T {
	var kept []T
	for _, one := range all {
		if keep(one) {
			kept = append(kept, one)
		}
	}
	return kept
}
