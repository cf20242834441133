// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// Denials refuses pods that a FunnelPolicy selects and that can't be injected, and
// those that the injection did not reach: the API server reads FunnelPolicies once
// for either policy, and the other may be the later one.
func Denials() *admissionregistrationv1.ValidatingAdmissionPolicy {
	return denying(DenialsName, paramKind(), notOptedOut(), conditions(selected()),
		admissionregistrationv1.Validation{
			Expression:        "size(variables.faults) == 0",
			MessageExpression: "variables.faults.join('; ')",
		},
		admissionregistrationv1.Validation{
			Expression: fmt.Sprintf("%s && %s.exists(v, v.name == %s && v.?projected.?sources.orValue([]).exists(s, s.?configMap.?name.orValue('') == params.metadata.name + %s))",
				injected, volumes, quoted(v1alpha1.VolumeName), quoted(v1alpha1.ConfigMapName(""))),
			MessageExpression: "'the pod was not injected for FunnelPolicy ' + params.metadata.name + ', which selects it: try again'",
		},
	)
}

// Required refuses pods that require injection and got none. It is evaluated once,
// also where there is no FunnelPolicy.
func Required() *admissionregistrationv1.ValidatingAdmissionPolicy {
	return denying(RequiredName, nil, required(), conditions(), admissionregistrationv1.Validation{
		Expression:        injected,
		MessageExpression: fmt.Sprintf("(variables.faults + [%s]).join('; or ')", quoted(notSelected())),
	})
}

func denying(name string, params *admissionregistrationv1.ParamKind, pods metav1.LabelSelector,
	when []admissionregistrationv1.MatchCondition, validations ...admissionregistrationv1.Validation,
) *admissionregistrationv1.ValidatingAdmissionPolicy {
	for i := range validations {
		validations[i].Reason = ptr.To(metav1.StatusReasonForbidden)
	}
	return &admissionregistrationv1.ValidatingAdmissionPolicy{
		TypeMeta:   typeOf("ValidatingAdmissionPolicy"),
		ObjectMeta: named(name),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			ParamKind:        params,
			MatchConstraints: newPods(pods),
			MatchConditions:  when,
			Variables:        []admissionregistrationv1.Variable{{Name: "faults", Expression: messages()}},
			Validations:      validations,
			FailurePolicy:    ptr.To(admissionregistrationv1.Fail),
		},
	}
}
