// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Options say what to attach and where.
type Options struct {
	// Netns is the network namespace: a name below /run/netns, a path or the id
	// of a process. Empty: that of this process.
	Netns string
	// Sets are the rules; where several hold for one interface they are joined
	// in this order.
	Sets []Set
	// Directions are those that the call decides about: ours in a direction that
	// is listed is replaced, or removed when it has no rules any more; ours in
	// others stays. Empty: both.
	Directions []rules.Direction
	// Whole says that Sets is all that is to be in the namespace: ours on an
	// interface that no set is for is treated as that of a set without rules.
	// Otherwise it is left alone, so that several calls can see to one interface each.
	Whole bool
	// Flows is for how many flows sets that don't say want room, as
	// datapath.Config has it. A table that is kept keeps its size.
	Flows int
	// DropFlows gives up flows that programs of ours remember. Without it they go
	// on, or where that can't be, Attach fails with a FlowsError.
	DropFlows bool
	// Version goes into the names of the filters.
	Version string
	// Attempts is how often to look for interfaces that are not there yet, Delay
	// the time between two looks. Nothing else is tried again, because nothing
	// else heals.
	Attempts int
	Delay    time.Duration
	// Waiting is called before each further look; it may be nil.
	Waiting func(*MissingError)
}

// owns reports whether the call decides about a direction.
func (o Options) owns(d rules.Direction) bool {
	return len(o.Directions) == 0 || slices.Contains(o.Directions, d)
}

// Attached is an interface after Attach.
type Attached struct {
	Name  string
	Index int
	// MTU of the interface, Overhead the bytes that its rules add to a packet at
	// most, Headroom by how many bytes the packets of local sockets stay below
	// the MTU.
	MTU, Overhead, Headroom int
	// Ingress and Egress count the rules attached.
	Ingress, Egress int
	// KeptFlows says that flows of the programs before go on, in a table of their
	// size: FlowEntries.
	KeptFlows   bool
	FlowEntries int
	// RemembersFlows says that the programs remember flows, which who replaces them
	// must take over.
	RemembersFlows bool
	// InFront describes programs of others that run before ours and can keep
	// packets from it.
	InFront []string
}

// Attach loads the rules of all interfaces, then puts the programs in place.
// When it fails it takes back what it had done, and nothing of it stays: no
// program, no qdisc, no device. There are two exceptions. Where the program before
// can't come back (it was replaced without SYS_ADMIN, or is gone already), nothing that was
// done for its interface is taken back, and the error says so. And when everything is in place,
// a failure to remove what an earlier run left, or to describe it, takes nothing back.
//
// Interfaces are those that the sets name, and with Options.Whole those that have
// something of ours.
func Attach(ctx context.Context, o Options) ([]Attached, error) {
	var attached []Attached
	err := inNamespace(o.Netns, func() (err error) {
		attached, err = o.attach(ctx)
		return explain(err)
	})
	return attached, err
}

// explain puts the cause in front of an error; a FlowsError says it itself.
func explain(err error) error {
	if flows := new(FlowsError); errors.As(err, &flows) {
		return err
	}
	return datapath.Explain(err)
}

func (o Options) attach(ctx context.Context) ([]Attached, error) {
	compiler := compilerOf(o)
	targets, err := o.targets(ctx)
	if err != nil {
		return nil, err
	}
	jobs, err := o.prepare(targets, compiler)
	defer jobs.close()
	if err == nil {
		err = jobs.attach()
	}
	if err != nil {
		return nil, errors.Join(explain(err), jobs.undo()) // the cause is that of the first
	}
	if err := jobs.removeUnused(); err != nil {
		return nil, fmt.Errorf("rules are attached, but something of an earlier run stays: %w", err)
	}
	attached, err := jobs.describe()
	if err != nil {
		return nil, fmt.Errorf("rules are attached, but can't be described: %w", err)
	}
	return attached, nil
}

// targets decides what goes where, and waits for interfaces.
func (o Options) targets(ctx context.Context) ([]target, error) {
	for attempt := 1; ; attempt++ {
		devices, err := listDevices()
		if err != nil {
			return nil, err
		}
		targets, err := plan(devices, o.sized())
		if err == nil && o.Whole {
			return withLeft(targets, devices)
		}
		var absent *MissingError
		if !errors.As(err, &absent) || attempt >= o.Attempts {
			return targets, err
		}
		if o.Waiting != nil {
			o.Waiting(absent)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(o.Delay):
		}
	}
}

// sized returns the sets, each with the number of flows that it wants room for.
func (o Options) sized() []Set {
	sets := slices.Clone(o.Sets)
	for i := range sets {
		sets[i].Flows = cmp.Or(sets[i].Flows, o.Flows, datapath.DefaultFlows)
	}
	return sets
}

// prepare does for all targets what can fail for a reason of its own. The jobs
// are to be undone and closed also when it fails.
func (o Options) prepare(targets []target, c *compiler) (jobs, error) {
	var js jobs
	for _, t := range targets {
		j, err := o.newJob(t, c)
		if err != nil {
			return js, fmt.Errorf("attach %s: %w", t.name, err)
		}
		js = append(js, j)
		if err := j.prepare(); err != nil {
			return js, fmt.Errorf("attach %s: %w", t.name, err)
		}
	}
	return js, nil
}
