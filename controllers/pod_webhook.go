// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// PodWebhookPath is where the webhook server answers for pods.
const PodWebhookPath = "/inject-pod"

// The API server asks about pods of opted-in namespaces that are created and did
// not opt out, and creates none without an answer. It asks again when a later
// webhook changed the pod (reinvocationPolicy): a mesh that put its container in
// front of ours, or one more container, which lowers the report's size limit.
//
// +kubebuilder:webhookconfiguration:mutating=true,name=sfunnel
// +kubebuilder:webhook:path=/inject-pod,mutating=true,failurePolicy=fail,sideEffects=None,groups="",resources=pods,verbs=create,versions=v1,name=pods.sfunnel.io,admissionReviewVersions=v1,timeoutSeconds=5,reinvocationPolicy=IfNeeded,serviceName=sfunnel-webhook,serviceNamespace=sfunnel-system,patch=`{"namespaceSelector":{"matchLabels":{"sfunnel.io/injection":"enabled"},"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["kube-system","sfunnel-system"]}]},"objectSelector":{"matchExpressions":[{"key":"sfunnel.io/inject","operator":"NotIn","values":["false"]}]}}`
// +kubebuilder:rbac:groups=sfunnel.io,resources=funnelpolicies,verbs=get;list;watch

// PodWebhookOptions is what SetupPodWebhook needs to know.
type PodWebhookOptions struct {
	// Namespace is the operator's own: its pods are never injected.
	Namespace string
	// Inject is passed on to inject.Pod.
	Inject inject.Options
}

// SetupPodWebhook makes the manager's webhook server answer for pods, on every
// replica. It keeps FunnelPolicies in the manager's cache, whether or not this
// replica leads, and adds a readiness check that waits for them.
func SetupPodWebhook(mgr ctrl.Manager, opts PodWebhookOptions) error {
	cached, err := policiesIn(mgr.GetCache())
	if err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("funnelpolicies", func(*http.Request) error { return cached.ready() }); err != nil {
		return err
	}
	answers := &webhook.Admission{Handler: counted(&podWebhook{
		cached:    cached,
		live:      mgr.GetAPIReader(),
		decoder:   admission.NewDecoder(mgr.GetScheme()),
		namespace: opts.Namespace,
		inject:    opts.Inject,
	})}
	mgr.GetWebhookServer().Register(PodWebhookPath, timed(answers, webhookSeconds))
	return nil
}

// podWebhook answers for one pod at a time. It has no side effects, so a dry run
// gets the same answer.
type podWebhook struct {
	cached    policies
	live      client.Reader
	decoder   admission.Decoder
	namespace string
	inject    inject.Options
}

// Handle injects the pod, denies it, or leaves it alone. When it can't decide it
// denies, with an error of the server's: whoever creates pods tries again.
func (w *podWebhook) Handle(ctx context.Context, req admission.Request) admission.Response {
	if !w.concerns(req) {
		return admission.Allowed("")
	}
	pod := &corev1.Pod{}
	if err := w.decoder.DecodeRaw(req.Object, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if inject.IsStatic(pod) || inject.OptedOut(pod) {
		return admission.Allowed("")
	}
	policies, err := w.policiesFor(ctx, req.Namespace, pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("find the FunnelPolicies of the pod: %w", err))
	}
	var denied *inject.DeniedError
	switch err := inject.Pod(pod, policies, w.inject); {
	case errors.As(err, &denied):
		return admission.Denied(denied.Error())
	case err != nil:
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if len(policies) == 0 {
		return admission.Allowed("")
	}
	return patchPod(req.Object.Raw, pod)
}

// concerns repeats what the webhook configuration selects, for the case that
// somebody widened it: the cluster and this operator must start without us.
func (w *podWebhook) concerns(req admission.Request) bool {
	return req.Operation == admissionv1.Create && req.SubResource == "" &&
		req.Namespace != metav1.NamespaceSystem && req.Namespace != w.namespace
}

// policiesFor names the policies of the namespace that select the pod. A pod
// that requires one and has none gets a second, live look: the policy may be
// too young for the cache.
//
// A policy counts whatever its status. Until its rules are published, and so its
// ConfigMap exists, the pods that it selects wait in ContainerCreating.
func (w *podWebhook) policiesFor(ctx context.Context, namespace string, pod *corev1.Pod) ([]string, error) {
	if err := w.cached.await(ctx); err != nil {
		return nil, err
	}
	candidates, err := w.cached.maySelect(namespace, pod.Labels)
	if err != nil {
		return nil, err
	}
	found, err := selecting(candidates, pod)
	if err != nil || len(found) > 0 || !inject.Required(pod) {
		return found, err
	}
	var list v1alpha1.FunnelPolicyList
	if err := w.live.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	all := make([]*v1alpha1.FunnelPolicy, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return selecting(all, pod)
}

// selecting names those that select the pod and are not being deleted. A selector
// that can't be read is an error where the policy has rules: it selected pods before it was
// edited, and whether this is one is not known. Of others it selects nothing.
func selecting(candidates []*v1alpha1.FunnelPolicy, pod *corev1.Pod) ([]string, error) {
	var names []string
	for _, policy := range candidates {
		selected, err := chosen(&policy.Spec.PodSelector, pod.Labels)
		if err != nil && policy.Status.RulesDigest != "" {
			return nil, fmt.Errorf("FunnelPolicy %s: spec.podSelector: %w", policy.Name, err)
		}
		if policy.DeletionTimestamp.IsZero() && selected {
			names = append(names, policy.Name)
		}
	}
	return names, nil
}
