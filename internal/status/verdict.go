// SPDX-License-Identifier: Apache-2.0

package status

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// verdict is a condition without its type, generation and time.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func yes(reason, message string) verdict { return verdict{metav1.ConditionTrue, reason, message} }
func no(reason, message string) verdict  { return verdict{metav1.ConditionFalse, reason, message} }
func unknown(reason, message string) verdict {
	return verdict{metav1.ConditionUnknown, reason, message}
}

func (v verdict) isTrue() bool { return v.status == metav1.ConditionTrue }
