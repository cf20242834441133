// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// FlowsError says that programs were not replaced because flows that they
// remember would break.
type FlowsError struct {
	Hook Hook
	Err  error
}

// Error says what keeps the flows from being taken over and what to do.
func (e *FlowsError) Error() string {
	needs := ""
	if errors.Is(e.Err, unix.EPERM) {
		needs = "taking them over needs SYS_ADMIN; "
	}
	return fmt.Sprintf("the %s program remembers flows, which break when it is replaced without them; %s--drop-flows gives them up: %v", e.Hook, needs, e.Err)
}

func (e *FlowsError) Unwrap() error { return e.Err }

// keepFlows makes the new programs use the flow tables of those that they
// replace. What holds no flow and has another size than is asked for is not kept, but
// for a second time: keepLate.
func (j *job) keepFlows(c *datapath.Config) error {
	before, err := j.keeping()
	if err != nil || len(before) == 0 || j.options.DropFlows {
		return err
	}
	first := before[0] // they share their tables
	tables, err := datapath.AttachedFlowTables(first.id)
	if err != nil {
		return &FlowsError{first.name.Hook, err}
	}
	if j.left == nil {
		j.left, err = tables.TakeEmpty(*c)
	}
	if err != nil || tables.None() {
		tables.Close()
		return err
	}
	c.Generation = j.generation(before)
	c.Kept = &datapath.Kept{FlowTables: tables, Unfunneled: map[rules.Direction]bool{}}
	for _, own := range before {
		if own.name.Flows == unfunnelsFlows { // one that an attacher which was killed left in front may not
			c.Kept.Unfunneled[own.name.Hook.direction()] = true
		}
	}
	return nil
}

// keepLate loads the programs once more where a flow began in a table that they were not to
// keep: loading takes time.
func (j *job) keepLate() error {
	if j.left == nil {
		return nil
	}
	live, err := j.left.Live()
	if err != nil || !live {
		return err
	}
	if err := j.programs.Close(); err != nil {
		return err
	}
	return j.load()
}

// keeping returns our programs on the interface that remember flows.
func (j *job) keeping() ([]ownProgram, error) {
	var found []ownProgram
	for _, h := range []Hook{Ingress, Egress} {
		if !j.options.owns(h.direction()) {
			continue
		}
		programs, err := ownPrograms(j.link, h)
		if err != nil {
			return nil, err
		}
		for _, p := range programs {
			if p.name.KeepsFlows() {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// generation tells the new rules from those that flows were claimed by. The same
// rules have the same number, so that their flows go on counting.
func (j *job) generation(before []ownProgram) uint32 {
	same, latest := true, uint32(0)
	for _, own := range before {
		same = same && own.name.Digest == j.digest(own.name.Hook)
		latest = max(latest, own.name.Generation)
	}
	if same {
		return latest
	}
	return (latest + 1) % datapath.MaxGeneration
}
