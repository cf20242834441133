// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// cluster is one namespace of a cluster, with the user's permissions.
type cluster struct {
	api       dynamic.Interface
	namespace string
}

func connect(config clientcmd.ClientConfig) (cluster, error) {
	namespace, _, err := config.Namespace()
	if err != nil {
		return cluster{}, err
	}
	rest, err := config.ClientConfig()
	if err != nil {
		return cluster{}, err
	}
	rest.QPS, rest.Burst = 50, 100 // of reads of single pods; the client's own pace is for controllers
	api, err := dynamic.NewForConfig(rest)
	return cluster{api, namespace}, err
}

var (
	policyResource = v1alpha1.GroupVersion.WithResource("funnelpolicies")
	podResource    = corev1.SchemeGroupVersion.WithResource("pods")
)

// policies are those of the namespace, by name.
func (c cluster) policies(ctx context.Context) (map[string]*v1alpha1.FunnelPolicy, error) {
	var list v1alpha1.FunnelPolicyList
	if err := c.list(ctx, policyResource, metav1.ListOptions{}, &list); err != nil {
		return nil, installed(err)
	}
	byName := map[string]*v1alpha1.FunnelPolicy{}
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	return byName, nil
}

// installed explains why a list of policies is not found: nobody defined them.
func installed(err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	return fmt.Errorf("the cluster has no FunnelPolicies (%s): install the operator (docs/install.md), or choose another cluster with --context", v1alpha1.GroupVersion)
}

// pods are those of the namespace, by name.
func (c cluster) pods(ctx context.Context) (map[string]*corev1.Pod, error) {
	var list corev1.PodList
	if err := c.list(ctx, podResource, metav1.ListOptions{}, &list); err != nil {
		return nil, err
	}
	byName := map[string]*corev1.Pod{}
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	return byName, nil
}

// pod is one of the namespace, nil when it is gone.
func (c cluster) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	got, err := c.api.Resource(podResource).Namespace(c.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, permission(err, c.namespace)
	}
	pod := &corev1.Pod{}
	return pod, runtime.DefaultUnstructuredConverter.FromUnstructured(got.UnstructuredContent(), pod)
}

// list reads objects of the namespace into a list of their kind.
func (c cluster) list(ctx context.Context, of schema.GroupVersionResource, options metav1.ListOptions, into any) error {
	got, err := c.api.Resource(of).Namespace(c.namespace).List(ctx, options)
	if err != nil {
		return permission(err, c.namespace)
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(got.UnstructuredContent(), into)
}

// add gives a pod the container.
func (c cluster) add(ctx context.Context, pod *corev1.Pod, container corev1.EphemeralContainer) error {
	patch, err := inject.RefreshPatch(pod, container)
	if err != nil {
		return err
	}
	_, err = c.api.Resource(podResource).Namespace(c.namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{FieldManager: "kubectl-funnel"}, "ephemeralcontainers")
	return err
}

// find decides which pods are meant, and which policies of each.
func (r *refresh) find(ctx context.Context, names []string) error {
	policies, err := r.cluster.policies(ctx)
	if err != nil {
		return err
	}
	if r.pods, err = r.cluster.pods(ctx); err != nil {
		return err
	}
	r.want = map[string]map[string]string{}
	for _, name := range names {
		kind, rest, _ := named(name)
		policy, pod := policies[rest], r.pods[rest]
		injected := pod != nil && pod.Labels[v1alpha1.LabelInjected] == v1alpha1.InjectedTrue
		switch {
		case policy != nil && kind != "pod":
			err = r.wantPolicy(policy)
		case injected && kind != "fp":
			err = r.wantPod(pod, policies)
		case kind == "pod":
			err = fmt.Errorf("namespace %s has no injected pod %s: what is not injected needs to be replaced", r.cluster.namespace, rest)
		case kind == "fp":
			err = fmt.Errorf("namespace %s has no FunnelPolicy %s", r.cluster.namespace, rest)
		default:
			err = fmt.Errorf("namespace %s has neither a FunnelPolicy nor an injected pod %s", r.cluster.namespace, rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wantPolicy wants the policy's rules in all pods that it selects, but for those that are
// not to have any.
func (r *refresh) wantPolicy(p *v1alpha1.FunnelPolicy) error {
	digest, err := digestOf(p)
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return err
	}
	if r.maxUnavailable == nil && p.Spec.InPlace != nil {
		r.maxUnavailable = p.Spec.InPlace.MaxUnavailable
	}
	for name, pod := range r.pods {
		state := status.Observe(pod, p.Name, digest).State
		if selector.Matches(labels.Set(pod.Labels)) && state != status.Gone && state != status.OptedOut {
			r.add(name, p.Name, digest)
		}
	}
	return nil
}

// wantPod wants the rules of all policies whose rules the pod mounts, and that exist.
func (r *refresh) wantPod(pod *corev1.Pod, policies map[string]*v1alpha1.FunnelPolicy) error {
	for _, name := range inject.Policies(pod) {
		p := policies[name]
		if p == nil {
			continue // the rules of a deleted policy stay as they are
		}
		digest, err := digestOf(p)
		if err != nil {
			return err
		}
		r.add(pod.Name, name, digest)
	}
	if r.want[pod.Name] == nil {
		return fmt.Errorf("namespace %s has no FunnelPolicy whose rules pod %s mounts", r.cluster.namespace, pod.Name)
	}
	return nil
}

// digestOf identifies the rules that the operator published for a policy last.
func digestOf(p *v1alpha1.FunnelPolicy) (string, error) {
	if p.Status.ObservedGeneration < p.Generation || p.Status.RulesDigest == "" {
		return "", fmt.Errorf("FunnelPolicy %s/%s: the operator has not published its current rules yet; see kubectl funnel status -n %s %s", p.Namespace, p.Name, p.Namespace, p.Name)
	}
	return p.Status.RulesDigest, nil
}
