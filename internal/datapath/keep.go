// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
)

// flowLayout is the version of what entries of the flow tables are and mean
// (bpf/flow.h). Tables carry it in their names, and those of another version are
// not used further. It grows with every change of struct flow, struct flow_key or
// struct pushed_flow that another version could not do with, and of which tables there are.
const flowLayout = "3"

// FlowTables are the flow tables of programs that are attached.
type FlowTables struct {
	maps map[string]*ebpf.Map // by their names in the objects
}

// AttachedFlowTables takes up the flow tables of a program that is attached
// somewhere. It needs CAP_SYS_ADMIN, as AttachedCounters does. Close them.
func AttachedFlowTables(id ebpf.ProgramID) (*FlowTables, error) {
	t := &FlowTables{maps: map[string]*ebpf.Map{}}
	err := eachMap(id, func(name string, m *ebpf.Map) error {
		for object, spec := range (&flowTable{}).specs() {
			if name != spec.Name {
				continue
			}
			kept, err := m.Clone()
			if err != nil {
				return err
			}
			t.maps[object] = kept
		}
		return nil
	})
	if err == nil && len(t.maps) != len((&flowTable{}).specs()) {
		err = fmt.Errorf("program %d has no flow tables of layout %s", id, flowLayout)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// TakeEmpty takes out the tables that hold no flow and aren't what the next rules ask for.
// Those of inline flows stay or go together. Close what it returns, too.
func (t *FlowTables) TakeEmpty(next Config) (*FlowTables, error) {
	next.Kept = nil
	wanted, err := planFlows(next)
	if err != nil {
		return nil, err
	}
	taken := &FlowTables{maps: map[string]*ebpf.Map{}}
	for _, group := range []struct {
		names  []string
		wanted bool
	}{
		{[]string{bpf.EgressMapFlows, bpf.EgressMapHalfOpen, bpf.EgressMapSources}, wanted.inline()},
		{[]string{bpf.EgressMapPushedFlows}, wanted.replies()},
	} {
		if group.wanted && t.sized(group.names, wanted.specs()) {
			continue
		}
		tables := &FlowTables{maps: map[string]*ebpf.Map{}}
		for _, name := range group.names {
			tables.maps[name] = t.maps[name]
		}
		live, err := tables.Live()
		if err != nil {
			taken.Close()
			return nil, err
		}
		if live {
			continue
		}
		maps.Copy(taken.maps, tables.maps)
		for _, name := range group.names {
			delete(t.maps, name)
		}
	}
	return taken, nil
}

// None reports whether there is no table.
func (t *FlowTables) None() bool { return len(t.maps) == 0 }

// Live reports whether a flow in the tables lives: entries of inline flows that are over
// stay until their place is wanted.
func (t *FlowTables) Live() (bool, error) {
	for name := range t.maps {
		var live bool
		var err error
		switch name {
		case bpf.EgressMapSources: // of counters, which are there always
			continue
		case bpf.EgressMapPushedFlows:
			var n int
			n, err = countEntries(t.maps[name])
			live = n > 0
		default:
			live, err = t.lives(name)
		}
		if err != nil {
			return false, fmt.Errorf("look into a flow table: %w", err)
		}
		if live {
			return true, nil
		}
	}
	return false, nil
}

// lives reports whether a flow of an inline table is not over.
func (t *FlowTables) lives(name string) (bool, error) {
	now, err := monotonic()
	if err != nil {
		return false, err
	}
	var key flowKey
	var entry flowEntry
	entries := t.maps[name].Iterate()
	for entries.Next(&key, &entry) {
		if !entry.over(now) {
			return true, nil
		}
	}
	if err := entries.Err(); !errors.Is(err, ebpf.ErrIterationAborted) {
		return false, err
	}
	return true, nil // entries come and go
}

func (t *FlowTables) sized(names []string, specs map[string]*ebpf.MapSpec) bool {
	for _, name := range names {
		if m, spec := t.maps[name], specs[name]; m.MaxEntries() != spec.MaxEntries || m.ValueSize() != spec.ValueSize {
			return false
		}
	}
	return true
}

// Close lets go of the tables; programs keep theirs.
func (t *FlowTables) Close() {
	for _, m := range t.maps {
		m.Close()
	}
}

// eachMap calls f with every map of an attached program and its name. The map is
// closed after that.
func eachMap(id ebpf.ProgramID, f func(name string, m *ebpf.Map) error) error {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Errorf("program %d: %w", id, err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return fmt.Errorf("program %d: %w", id, err)
	}
	ids, ok := info.MapIDs()
	if !ok {
		return fmt.Errorf("program %d: this kernel does not tell its maps", id)
	}
	for _, mapID := range ids {
		if err := withMap(mapID, f); err != nil {
			return fmt.Errorf("map %d of program %d: %w", mapID, id, err)
		}
	}
	return nil
}

func withMap(id ebpf.MapID, f func(name string, m *ebpf.Map) error) error {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return err
	}
	return f(info.Name, m)
}
