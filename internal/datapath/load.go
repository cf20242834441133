// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

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
		return nil, explain(err)
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
	if cfg.Ingress != nil {
		coll, err := p.loadDirection(rules.Ingress, cfg.Ingress, cfg.Interface, flows)
		if err != nil {
			return fmt.Errorf("load ingress: %w", err)
		}
		p.Ingress = coll.Programs[bpf.IngressProgIngress]
	}
	if cfg.Egress != nil {
		coll, err := p.loadDirection(rules.Egress, cfg.Egress, cfg.Interface, flows)
		if err != nil {
			return fmt.Errorf("load egress: %w", err)
		}
		p.Egress = coll.Programs[bpf.EgressProgEgress]
		p.Segment = coll.Programs[bpf.EgressProgSegment]
	}
	return nil
}

// loadDirection adds a collection to p even if it can't be filled.
func (p *Programs) loadDirection(d rules.Direction, t *classifier.Table, i Interface, flows *flowTable) (*ebpf.Collection, error) {
	spec, err := specFor(d, t, i)
	if err != nil {
		return nil, err
	}
	if err := flows.configure(spec, d); err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, flows.share())
	if err != nil {
		return nil, err
	}
	p.collections = append(p.collections, coll)
	flows.loaded(coll)
	if err := fillThrough(coll, t.Rules()); err != nil {
		return nil, err
	}
	if err := fillActions(coll, t.Rules()); err != nil {
		return nil, err
	}
	return coll, fillClassifier(coll, t)
}

// specFor returns what to load for a direction: sized maps, constants set.
func specFor(d rules.Direction, t *classifier.Table, i Interface) (*ebpf.CollectionSpec, error) {
	load := bpf.LoadIngress
	if d == rules.Egress {
		load = bpf.LoadEgress
	}
	spec, err := load()
	if err != nil {
		return nil, err
	}
	if d == rules.Egress && !NeedsSegmenting(t.Rules()) {
		delete(spec.Programs, bpf.EgressProgSegment)
	}
	sizeActions(spec, t.Rules())
	if err := setConstants(spec, i); err != nil {
		return nil, err
	}
	return spec, sizeClassifier(spec, t)
}

const ethernetHeaderLen = 14

// pushIPv6 says whether headers are pushed to and popped from IPv6 packets. It
// goes with what rules.Supported says.
var pushIPv6 = false

// setConstants sets those of bpf/config.h that the object has.
func setConstants(spec *ebpf.CollectionSpec, i Interface) error {
	constants := map[string]any{
		bpf.EgressVarL2Len:    uint32(0),
		bpf.EgressVarIfindex:  uint32(i.Index),
		bpf.EgressVarPushIpv6: pushIPv6,
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
