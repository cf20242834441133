// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// compiled is what a policy compiles to.
type compiled struct {
	// of is equal for equal input.
	of      string
	program *policy.Program
	faults  field.ErrorList
}

// manyRules is from how many rules on a program is kept: compiling 4,096 takes a
// few 100 ms, and pods come and go many times without new rules. Keeping the
// small ones would cost more memory than time.
const manyRules = 64

// compile compiles the policy with what of the cluster it depends on, which it
// returns too.
func (r *FunnelPolicyReconciler) compile(ctx context.Context, p *v1alpha1.FunnelPolicy) (compiled, policy.Cluster, error) {
	in, err := r.cluster(ctx, p)
	if err != nil {
		return compiled{}, in, err
	}
	name, of := client.ObjectKeyFromObject(p), input(p, in)
	if last := r.memory.compiled(name); last.of == of {
		return last, in, nil
	}
	c := compiled{of: of}
	c.program, c.faults = policy.Compile(p, in)
	if len(c.program.Ingress)+len(c.program.Egress) >= manyRules || len(c.faults) > 0 {
		r.memory.keep(name, c)
	}
	return c, in, nil
}

// input identifies what is compiled.
func input(p *v1alpha1.FunnelPolicy, in policy.Cluster) string {
	var of strings.Builder
	fmt.Fprint(&of, p.UID, "/", p.Generation, " ", in.Released, " ", in.Labels, " ", in.NamedPorts)
	if in.Backend != nil {
		fmt.Fprint(&of, " ", in.Backend.UID, "/", in.Backend.Generation)
	}
	for _, name := range in.References(p) {
		if s := in.Services[name]; s != nil {
			fmt.Fprint(&of, " ", s.ResourceVersion) // no other Service has it
		}
	}
	return of.String()
}

// cluster reads what the policy's program depends on.
func (r *FunnelPolicyReconciler) cluster(ctx context.Context, p *v1alpha1.FunnelPolicy) (in policy.Cluster, err error) {
	if p.Spec.Client != nil {
		if in, err = r.referredTo(ctx, p); err != nil {
			return in, err
		}
	}
	if in.Services, err = r.namedServices(in.References(p)); err != nil {
		return in, err
	}
	if s := backendService(p, in.Services); s != nil && namesTargets(s) {
		in.NamedPorts, err = r.namedPorts(p, s)
	}
	return in, err
}

// referredTo reads the backend policy of a client, and what decides whether it
// may know of it.
func (r *FunnelPolicyReconciler) referredTo(ctx context.Context, p *v1alpha1.FunnelPolicy) (in policy.Cluster, err error) {
	backend, name := &v1alpha1.FunnelPolicy{}, policy.BackendName(p)
	switch err := r.Get(ctx, name, backend); {
	case err == nil:
		in.Backend = backend
	case !apierrors.IsNotFound(err):
		return in, fmt.Errorf("get FunnelPolicy %s: %w", name, err)
	}
	if in.Labels, err = r.namespaceLabels(ctx, p.Namespace); err != nil {
		return in, err
	}
	have, err := r.configMaps.get(rulesName(client.ObjectKeyFromObject(p)))
	in.Released = have != nil && owned(have) && strings.HasPrefix(have.Annotations[v1alpha1.AnnotationReleased], name.String()+" ")
	return in, err
}

// namedServices returns those Services that exist.
func (r *FunnelPolicyReconciler) namedServices(names []types.NamespacedName) (map[types.NamespacedName]*corev1.Service, error) {
	found := map[types.NamespacedName]*corev1.Service{}
	for _, name := range names {
		s, err := r.services.get(name)
		if err != nil {
			return nil, err
		}
		if s != nil {
			found[name] = s
		}
	}
	return found, nil
}

// backendService is the Service in front of a backend, nil when there is none.
func backendService(p *v1alpha1.FunnelPolicy, services map[types.NamespacedName]*corev1.Service) *corev1.Service {
	if p.Spec.Backend == nil {
		return nil
	}
	return services[types.NamespacedName{Namespace: p.Namespace, Name: p.Spec.Backend.Service}]
}

func namesTargets(s *corev1.Service) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(port corev1.ServicePort) bool { return port.TargetPort.Type == intstr.String })
}

// namedPorts are those of the injected pods that the policy selects and the Service leads
// to, from the cache. Pods that wait for their rules are among them; those that were not
// injected have no rules. Where there is no pod for a while, as between those of a
// workload that is recreated, the numbers before hold for the same Service.
func (r *FunnelPolicyReconciler) namedPorts(p *v1alpha1.FunnelPolicy, s *corev1.Service) (map[string][]uint16, error) {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return nil, nil // Accepted says so
	}
	pods, err := r.pods.selected(p.Namespace, selector)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(pod *corev1.Pod) bool {
		return pod.DeletionTimestamp != nil || status.Finished(pod) || !policy.LeadsTo(s, pod)
	})
	of := fmt.Sprint(p.UID, "/", p.Generation, " ", s.UID, " ", s.Spec.Selector)
	for i := range s.Spec.Ports {
		to := &s.Spec.Ports[i]
		of += fmt.Sprint(" ", to.Port, to.Protocol, to.TargetPort.String())
	}
	name := client.ObjectKeyFromObject(p)
	if len(pods) == 0 {
		return r.memory.namedPorts(name, of), nil
	}
	numbers := policy.NumbersOf(slices.Values(pods))
	r.memory.keepNamedPorts(name, portNumbers{of, numbers})
	return numbers, nil
}
