// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Programs are loaded programs with their maps filled and frozen; nil for what
// was not loaded. They live as long as someone holds a file descriptor or an
// attachment.
type Programs struct {
	// Ingress and Egress go on the hooks of the interface.
	Ingress, Egress *ebpf.Program
	// Segment goes on the ingress hook of the segmenting device's end B: the same
	// program as Egress, which knows where it runs, when NeedsSegmenting says so.
	Segment *ebpf.Program
	// Flows says what the programs remember.
	Flows Flows

	ingress, egress *loaded
}

// Close closes the file descriptors of all programs and maps. Attached
// programs go on working.
func (p *Programs) Close() error {
	for _, l := range []*loaded{p.ingress, p.egress} {
		if l != nil {
			l.Close()
		}
	}
	*p = Programs{}
	return nil
}

// EndChain says what is to become of packets that Ingress or Egress lets pass: on,
// they don't come to what sits behind it on its hook; off, as programs begin, they
// do.
func (p *Programs) EndChain(d rules.Direction, on bool) error {
	l := p.ingress
	if d == rules.Egress {
		l = p.egress
	}
	value := uint8(0)
	if on {
		value = 1
	}
	if err := l.maps[chainData].Put(uint32(0), value); err != nil {
		return fmt.Errorf("set %s: %w", bpf.EgressVarEndsChain, err)
	}
	return nil
}

// chainData is the section of bpf/count.h that holds the one variable that is changed
// in programs that run.
const chainData = ".data.chain"

// Flows says what programs remember of flows.
type Flows struct {
	// Kept says that they remember any. Then both hooks have a program.
	Kept bool
	// TakenOver says that flows of earlier programs go on.
	TakenOver bool
	// Entries is how many the table has room for.
	Entries int
	// Unfunneled are the directions in which flows may be unfunneled.
	Unfunneled map[rules.Direction]bool
}
