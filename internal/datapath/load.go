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

func (p *Programs) load(cfg Config) error {
	if cfg.Ingress != nil {
		coll, err := p.loadDirection(rules.Ingress, cfg.Ingress, cfg.Interface)
		if err != nil {
			return fmt.Errorf("load ingress: %w", err)
		}
		p.Ingress = coll.Programs[bpf.IngressProgIngress]
	}
	if cfg.Egress != nil {
		coll, err := p.loadDirection(rules.Egress, cfg.Egress, cfg.Interface)
		if err != nil {
			return fmt.Errorf("load egress: %w", err)
		}
		p.Egress = coll.Programs[bpf.EgressProgEgress]
		p.Segment = coll.Programs[bpf.EgressProgSegment]
	}
	return nil
}

// loadDirection adds a collection to p even if it can't be filled.
func (p *Programs) loadDirection(d rules.Direction, t *classifier.Table, i Interface) (*ebpf.Collection, error) {
	spec, err := specFor(d, t, i)
	if err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	p.collections = append(p.collections, coll)
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
	constants := map[string]uint32{
		bpf.EgressVarL2Len:    0,
		bpf.EgressVarIfindex:  uint32(i.Index),
		bpf.EgressVarSegmentA: uint32(i.SegmentA),
		bpf.EgressVarSegmentB: uint32(i.SegmentB),
	}
	if i.Ethernet {
		constants[bpf.EgressVarL2Len] = ethernetHeaderLen
	}
	if err := spec.Variables[bpf.EgressVarPushIpv6].Set(pushIPv6); err != nil {
		return fmt.Errorf("set %s: %w", bpf.EgressVarPushIpv6, err)
	}
	for name, value := range constants {
		variable, ok := spec.Variables[name]
		if !ok {
			continue
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
