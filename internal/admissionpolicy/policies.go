// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"bytes"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The names of the policies and of their bindings.
const (
	Name         = "sfunnel"
	DenialsName  = "sfunnel-denials"
	RequiredName = "sfunnel-required"
)

// Manifests is all policies and their bindings, as YAML.
func Manifests() ([]byte, error) {
	var documents [][]byte
	for _, object := range []any{
		Policy(), &admissionregistrationv1.MutatingAdmissionPolicyBinding{
			TypeMeta: typeOf("MutatingAdmissionPolicyBinding"), ObjectMeta: named(Name),
			Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: Name, ParamRef: everyPolicy()},
		},
		Denials(), denied(DenialsName, everyPolicy()),
		Required(), denied(RequiredName, nil),
	} {
		document, err := yaml.Marshal(object)
		if err != nil {
			return nil, err
		}
		documents = append(documents, bytes.TrimSuffix(document, []byte("status: {}\n")))
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

func denied(name string, params *admissionregistrationv1.ParamRef) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		TypeMeta: typeOf("ValidatingAdmissionPolicyBinding"), ObjectMeta: named(name),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ParamRef: params, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
}

func typeOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: kind}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
