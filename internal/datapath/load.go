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
	if err := cmp.Or(cfg.validate(), refusePreemption()); err != nil {
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
	var ingress, egress result
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
	p.ingress, p.egress = ingress.loaded, egress.loaded
	if p.ingress != nil {
		p.Ingress = p.ingress.program
	}
	if p.egress != nil {
		p.Egress = p.egress.program
	}
	if cfg.needsSegmenting() {
		p.Segment = p.Egress
	}
	return cmp.Or(ingress.err, egress.err)
}

// result is what came of loading a direction.
type result struct {
	*loaded
	err error
}

func loadDirection(d rules.Direction, cfg Config, flows *flowTable) result {
	t, other := cfg.Ingress, cfg.Egress
	if d == rules.Egress {
		t, other = other, t
	}
	l, err := loadTable(d, t, pushedBy(other), cfg, flows)
	if err != nil {
		return result{err: fmt.Errorf("load %s: %w", d, err)}
	}
	return result{loaded: l}
}

// loadTable loads the program of a direction for its rules; pushed are the headers
// that those of the other one push.
func loadTable(d rules.Direction, t *classifier.Table, pushed []pushedHeader, cfg Config, flows *flowTable) (*loaded, error) {
	o, err := objectFor(d, t, cfg.Interface, flows.used())
	if err != nil {
		return nil, err
	}
	if err := sizePushed(o, pushed); err != nil {
		return nil, err
	}
	if err := flows.configure(o, d); err != nil {
		return nil, err
	}
	l, err := o.load(flows.shared)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(fillPushed(l.maps, pushed), fill(l.maps, t)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// fill writes the rules to the maps of a program.
func fill(maps map[string]*ebpf.Map, t *classifier.Table) error {
	if err := fillThrough(maps, t.Rules()); err != nil {
		return err
	}
	if err := fillActions(maps, t.Rules()); err != nil {
		return err
	}
	return fillClassifier(maps, t)
}

// objects are the programs of a direction: those that remember flows, and the
// plain ones, which are half as long and take the verifier half the time.
var objects = map[rules.Direction]struct{ flows, plain func() bpf.Object }{
	rules.Ingress: {bpf.LinkedIngress, bpf.LinkedIngressPlain},
	rules.Egress:  {bpf.LinkedEgress, bpf.LinkedEgressPlain},
}

// objectFor returns what to load for a direction: sized maps, constants set.
func objectFor(d rules.Direction, t *classifier.Table, i Interface, flows bool) (*object, error) {
	linked := objects[d].plain
	if flows {
		linked = objects[d].flows
	}
	o := newObject(linked())
	sizeActions(o, t.Rules())
	if err := sizeCounters(o, t.Rules()); err != nil {
		return nil, err
	}
	if err := setConstants(o, t, i); err != nil {
		return nil, err
	}
	return o, sizeClassifier(o, t)
}

const ethernetHeaderLen = 14

// setConstants sets those of bpf/config.h that the object has.
func setConstants(o *object, t *classifier.Table, i Interface) error {
	constants := map[string]any{
		bpf.EgressVarL2Len:     uint32(0),
		bpf.EgressVarIfindex:   uint32(i.Index),
		bpf.EgressVarPushes:    Pushes(t.Rules()),
		bpf.EgressVarUnfunnels: unfunnels(t.Rules()),
	}
	if i.Ethernet {
		constants[bpf.EgressVarL2Len] = uint32(ethernetHeaderLen)
	}
	if o.has(bpf.EgressVarSegmentA) {
		constants[bpf.EgressVarSegmentA] = uint32(i.SegmentA)
		constants[bpf.EgressVarSegmentB] = uint32(i.SegmentB)
	}
	return o.setAll(constants)
}
