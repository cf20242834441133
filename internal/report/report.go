// SPDX-License-Identifier: Apache-2.0

package report

// Version is the version of the format that this package writes and reads.
// It grows only with changes that an older reader would misunderstand; new
// keys are no such change.
const Version = 1

// MaxSize is how much of a termination message the kubelet keeps, in bytes,
// however few containers a pod has.
const MaxSize = 4096

// MinSize is the smallest limit that Marshal obeys, in bytes: a report without
// anything that may be left out.
const MinSize = 128

// The results of a run.
const (
	// Attached says that all rules of all named digests are in place.
	Attached = "attached"
	// Failed says that it failed; Error tells why, and what is in place all the same if
	// anything is.
	Failed = "failed"
)

// Report is what one run of the attacher did.
type Report struct {
	// Version of the format. Marshal sets it.
	Version int `json:"version"`
	// Result is Attached or Failed.
	Result string `json:"result"`
	// KeepsFlows says that a program that is attached remembers flows, so that
	// whoever replaces it must be able to take them over.
	KeepsFlows bool `json:"keepsFlows,omitempty"`
	// Omitted counts the digests that did not fit into the line.
	Omitted int `json:"omitted,omitempty"`
	// Digests holds the rules digest of each policy by the policy's name; the
	// name is empty for rules that belong to no policy.
	Digests map[string]string `json:"digests,omitempty"`
	// Error is one line of text when Result is Failed.
	Error string `json:"error,omitempty"`
	// Interfaces are those that rules were attached to.
	Interfaces []Interface `json:"interfaces,omitempty"`
	// Kernel is the release of the running kernel, as uname -r prints it.
	Kernel string `json:"kernel,omitempty"`
	// Truncated says that the line was cut or digests did not fit into it.
	// Parse sets it.
	Truncated bool `json:"-"`
}

// Interface tells of an interface what the controller can't see from outside.
type Interface struct {
	Name string `json:"name"`
	// MTU of the interface in bytes.
	MTU int `json:"mtu"`
	// Overhead is how many bytes the egress rules add to a packet at most.
	Overhead int `json:"overhead"`
	// Headroom is by how many bytes the largest packet that a local socket
	// sends through the interface stays below MTU, by the routes' MTUs. Pushed
	// packets may be lost where it is smaller than Overhead.
	Headroom int `json:"headroom"`
	// IngressRules and EgressRules count the rules of each direction.
	IngressRules int `json:"ingressRules"`
	EgressRules  int `json:"egressRules"`
	// InFront describes programs of others that run before ours and can keep
	// packets from it.
	InFront []string `json:"inFront,omitempty"`
}

// Runs reports whether the run left the policy attached with that digest. An
// empty digest is never attached.
func (r Report) Runs(policy, digest string) bool {
	return r.Result == Attached && digest != "" && r.Digests[policy] == digest
}
