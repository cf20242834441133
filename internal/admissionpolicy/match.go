// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// ownNamespace is the operator's, whose pods are never injected. The kustomization
// puts the real one in its place.
const ownNamespace = "sfunnel-system"

// newPods matches pods of opted-in namespaces that are created and have the labels,
// as the webhook configuration does.
func newPods(pods metav1.LabelSelector) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled},
			MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{metav1.NamespaceSystem, ownNamespace},
			}},
		},
		ObjectSelector: &pods,
		MatchPolicy:    ptr.To(admissionregistrationv1.Equivalent),
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: ptr.To(admissionregistrationv1.AllScopes),
			},
		}}},
	}
}

func notOptedOut() metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: v1alpha1.LabelInject, Operator: metav1.LabelSelectorOpNotIn, Values: []string{v1alpha1.InjectFalse},
	}}}
}

func required() metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelInject: v1alpha1.InjectRequired}}
}

func paramKind() *admissionregistrationv1.ParamKind {
	return &admissionregistrationv1.ParamKind{APIVersion: v1alpha1.GroupVersion.String(), Kind: "FunnelPolicy"}
}

// everyPolicy is all FunnelPolicies of the pod's namespace. Where there is none,
// nothing is evaluated.
func everyPolicy() *admissionregistrationv1.ParamRef {
	return &admissionregistrationv1.ParamRef{Selector: &metav1.LabelSelector{}, ParameterNotFoundAction: ptr.To(admissionregistrationv1.AllowAction)}
}

// conditions always leave out pods that stand for static ones, which their nodes
// start from files whatever the API server holds.
func conditions(more ...admissionregistrationv1.MatchCondition) []admissionregistrationv1.MatchCondition {
	return append([]admissionregistrationv1.MatchCondition{{
		Name:       "not-mirrored",
		Expression: fmt.Sprintf("!(%s in object.metadata.?annotations.orValue({}))", quoted(corev1.MirrorPodAnnotationKey)),
	}}, more...)
}

// selected says that the FunnelPolicy is not being deleted and selects the pod: a
// label selector, as labels.Selector matches it. The schema of FunnelPolicy lets no
// operators but these four through.
func selected() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "selected", Expression: `!has(params.metadata.deletionTimestamp) &&
params.spec.podSelector.?matchLabels.orValue({}).all(key, value,
  object.metadata.?labels[?key].orValue(value + '?') == value) &&
params.spec.podSelector.?matchExpressions.orValue([]).all(e,
  e.operator == 'In' ? object.metadata.?labels[?e.key].hasValue() && object.metadata.labels[e.key] in e.values :
  e.operator == 'NotIn' ? !(object.metadata.?labels[?e.key].hasValue() && object.metadata.labels[e.key] in e.values) :
  e.operator == 'Exists' ? object.metadata.?labels[?e.key].hasValue() :
  !object.metadata.?labels[?e.key].hasValue())`}
}
