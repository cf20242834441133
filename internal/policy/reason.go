// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// Reason is that of the condition Accepted for the faults of a spec. Plain
// mistakes come before limits and Services that can't be used.
func Reason(errs field.ErrorList) string {
	reason := v1alpha1.ReasonAccepted
	for _, err := range errs {
		switch {
		case !slices.Contains(particular, err.Origin):
			return v1alpha1.ReasonInvalid
		case reason == v1alpha1.ReasonAccepted:
			reason = err.Origin
		}
	}
	return reason
}

// particular are the reasons besides Invalid.
var particular = []string{
	v1alpha1.ReasonTooManyRules,
	v1alpha1.ReasonUnsupportedServiceType,
	v1alpha1.ReasonPortMappingUnsupported,
}
