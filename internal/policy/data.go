// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// maxDataSize is how many bytes the API server lets a ConfigMap hold.
const maxDataSize = 1 << 20

// settings is the JSON object in the ConfigMap's key settings. The attacher
// reads it strictly: a key it does not know is an error there. Flows is absent
// for the default.
type settings struct {
	Policy     string   `json:"policy"`
	Digest     string   `json:"digest"`
	Priority   int32    `json:"priority"`
	Interfaces []string `json:"interfaces,omitempty"`
	MTU        string   `json:"mtu"`
	Flows      int32    `json:"flows,omitempty"`
}

func settingsOf(p *v1alpha1.FunnelPolicy) settings {
	s := settings{
		Policy:     p.Name,
		Priority:   p.Spec.Priority,
		Interfaces: slices.Sorted(slices.Values(p.Spec.Interfaces)),
		MTU:        string(p.Spec.MTU),
	}
	s.Interfaces = slices.Compact(s.Interfaces)
	if s.MTU == "" {
		s.MTU = string(v1alpha1.MTUWarn)
	}
	if p.Spec.Flows != v1alpha1.DefaultFlows {
		s.Flows = p.Spec.Flows
	}
	return s
}

// String is one line of JSON, ended by a newline.
func (s settings) String() string {
	return string(mustJSON(s)) + "\n"
}

// digest is "sha256:" and the first 128 bits of the hash in hexadecimal, over
// the canonical rules and all settings but the policy's name.
func digest(ingress, egress string, s settings) string {
	s.Policy, s.Digest = "", ""
	sum := sha256.Sum256(mustJSON([]any{ingress, egress, s}))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

func mustJSON(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return out
}

// dataSize counts what the API server counts.
func dataSize(data map[string]string) int {
	size := 0
	for _, value := range data {
		size += len(value)
	}
	return size
}

func tooLarge(path *field.Path, size int) *field.Error {
	detail := fmt.Sprintf("the rules take %d bytes, and the ConfigMap that carries them holds at most %d: use prefixes and port ranges instead of single addresses and ports, or divide the rules between several policies, which have at most %d rules per direction together on one interface", size, maxDataSize, rules.MaxRules)
	return field.Forbidden(path, detail).WithOrigin(v1alpha1.ReasonTooManyRules)
}
