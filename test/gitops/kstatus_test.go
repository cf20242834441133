// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"testing"

	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func TestKstatusUnderstandsEachStage(t *testing.T) {
	for _, s := range life() {
		result, err := kstatus.Compute(object(t, s.policy))
		if err != nil || string(result.Status) != s.kstatus {
			t.Errorf("%s: %+v (%v), not %s", s.name, result, err, s.kstatus)
		}
	}
}
