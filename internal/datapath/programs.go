// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"github.com/cilium/ebpf"
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
