// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Load loads the programs for one interface, fills their maps and freezes
// those that the programs only read. It attaches nothing. What it created is
// gone when it fails.
//
// Its errors are one line and name what is missing. One that wraps an
// *ebpf.VerifierError has the verifier's log for those who print it with %+v.
func Load(cfg Config) (*Programs, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Programs{}
	if err := p.load(cfg); err != nil {
		p.Close()
		return nil, Explain(err)
	}
	return p, nil
}

// completed gives both directions a program when flows are remembered.
func (c Config) completed(flows *flowTable) (Config, error) {
	if !flows.used() {
		return c, nil
	}
	none, err := classifier.Compile(nil)
	if err != nil {
		return c, err
	}
	if c.Ingress == nil {
		c.Ingress = none
	}
	if c.Egress == nil {
		c.Egress = none
	}
	return c, nil
}

func (p *Programs) load(cfg Config) error {
	flows, err := planFlows(cfg)
	if err != nil {
		return err
	}
	if cfg, err = cfg.completed(flows); err != nil {
		return err
	}
	if err := flows.make(); err != nil {
		return err
	}
	defer flows.close()
	p.Flows = flows.held()
	var ingress, egress loaded
	var loading sync.WaitGroup
	if cfg.Egress != nil {
		load := func() { egress = loadDirection(rules.Egress, cfg, flows) }
		if cfg.Ingress != nil {
			loading.Go(load)
		} else {
			load()
		}
	}
	if cfg.Ingress != nil {
		ingress = loadDirection(rules.Ingress, cfg, flows)
	}
	loading.Wait()
	p.take(ingress)
	p.take(egress)
	return cmp.Or(ingress.err, egress.err)
}

// loaded is a direction's collection, also if it could not be filled.
type loaded struct {
	*ebpf.Collection
	err error
}

// take keeps the programs of a direction.
func (p *Programs) take(l loaded) {
	if l.Collection == nil {
		return
	}
	p.collections = append(p.collections, l.Collection)
	if program := l.Programs[bpf.IngressProgIngress]; program != nil {
		p.Ingress = program
		return
	}
	p.Egress = l.Programs[bpf.EgressProgEgress]
	p.Segment = l.Programs[bpf.EgressProgSegment]
}

func loadDirection(d rules.Direction, cfg Config, flows *flowTable) (l loaded) {
	defer func() {
		if l.err != nil {
			l.err = fmt.Errorf("load %s: %w", d, l.err)
		}
	}()
	t, other := cfg.Ingress, cfg.Egress
	if d == rules.Egress {
		t, other = other, t
	}
	spec, err := specFor(d, t, cfg, flows.used())
	if err != nil {
		return loaded{err: err}
	}
	pushed := pushedBy(other)
	if err := sizePushed(spec, pushed); err != nil {
		return loaded{err: err}
	}
	if err := flows.configure(spec, d); err != nil {
		return loaded{err: err}
	}
	options := ebpf.CollectionOptions{MapReplacements: flows.shared}
	useKernelTypes(spec, &options)
	if l.Collection, l.err = ebpf.NewCollectionWithOptions(spec, options); l.err == nil {
		l.err = cmp.Or(fillPushed(l.Collection, pushed), fill(l.Collection, t))
	}
	return l
}

// fill writes the rules to the maps of a collection.
func fill(coll *ebpf.Collection, t *classifier.Table) error {
	if err := fillThrough(coll, t.Rules()); err != nil {
		return err
	}
	if err := fillActions(coll, t.Rules()); err != nil {
		return err
	}
	return fillClassifier(coll, t)
}

// objects are the programs of a direction: those that remember flows, and the
// plain ones, which are half as long and take the verifier half the time.
var objects = map[rules.Direction]struct {
	flows, plain func() (*ebpf.CollectionSpec, error)
}{
	rules.Ingress: {bpf.LoadIngress, bpf.LoadIngressPlain},
	rules.Egress:  {bpf.LoadEgress, bpf.LoadEgressPlain},
}

func object(d rules.Direction, flows bool) (*ebpf.CollectionSpec, error) {
	if flows {
		return objects[d].flows()
	}
	spec, err := objects[d].plain()
	if err != nil {
		return nil, err
	}
	for _, unused := range []string{bpf.EgressMapFlows, bpf.EgressMapHalfOpen, bpf.EgressMapPushedFlows, bpf.EgressMapThroughPorts} {
		delete(spec.Maps, unused)
	}
	return spec, nil
}

// specFor returns what to load for a direction: sized maps, constants set.
func specFor(d rules.Direction, t *classifier.Table, cfg Config, flows bool) (*ebpf.CollectionSpec, error) {
	spec, err := object(d, flows)
	if err != nil {
		return nil, err
	}
	if d == rules.Egress && !cfg.needsSegmenting() {
		delete(spec.Programs, bpf.EgressProgSegment)
	}
	sizeActions(spec, t.Rules())
	if err := setConstants(spec, cfg.Interface); err != nil {
		return nil, err
	}
	return spec, sizeClassifier(spec, t)
}

const ethernetHeaderLen = 14

// setConstants sets those of bpf/config.h that the object has.
func setConstants(spec *ebpf.CollectionSpec, i Interface) error {
	constants := map[string]any{
		bpf.EgressVarL2Len:   uint32(0),
		bpf.EgressVarIfindex: uint32(i.Index),
	}
	if i.Ethernet {
		constants[bpf.EgressVarL2Len] = uint32(ethernetHeaderLen)
	}
	if _, ok := spec.Variables[bpf.EgressVarSegmentA]; ok {
		constants[bpf.EgressVarSegmentA] = uint32(i.SegmentA)
		constants[bpf.EgressVarSegmentB] = uint32(i.SegmentB)
	}
	return setVariables(spec, constants)
}

func setVariables(spec *ebpf.CollectionSpec, values map[string]any) error {
	for name, value := range values {
		variable, ok := spec.Variables[name]
		if !ok {
			return fmt.Errorf("the object has no %s", name)
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
