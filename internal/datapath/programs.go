// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Programs are loaded programs with their maps filled and frozen; nil for what
// was not loaded. They live as long as someone holds a file descriptor or an
// attachment.
type Programs struct {
	// Ingress and Egress go on the hooks of the interface.
	Ingress, Egress *ebpf.Program
	// Segment goes on the ingress hook of the segmenting device's end B. It is
	// loaded when Egress is and NeedsSegmenting says so. It shares rules and
	// counters with Egress.
	Segment *ebpf.Program
	// Flows says what the programs remember.
	Flows Flows

	collections []*ebpf.Collection
}

// Close closes the file descriptors of all programs and maps. Attached
// programs go on working.
func (p *Programs) Close() error {
	for _, c := range p.collections {
		c.Close()
	}
	*p = Programs{}
	return nil
}

// Flows says what programs remember of flows.
type Flows struct {
	// Kept says that they remember any. Then both hooks have a program.
	Kept bool
	// Entries is how many the table has room for.
	Entries int
	// Unfunneled are the directions in which flows may be unfunneled.
	Unfunneled map[rules.Direction]bool
}
