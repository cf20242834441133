// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// policy is one set of rules and how it is to be attached.
type policy struct {
	name, digest    string
	priority        int
	interfaces      []string
	flows           int // 0 when nothing was said
	reserve         bool
	ingress, egress rules.RuleSet
}

// input is what a run is to attach.
type input struct {
	policies   []policy // in the order in which their rules apply
	directions []rules.Direction
}

// single is the input of rules that belong to no policy.
func single(p policy, directions []rules.Direction) input {
	p.digest = attach.Digest(p.ingress) + "-" + attach.Digest(p.egress)
	return input{policies: []policy{p}, directions: directions}
}

// digests maps policies to the digests of their rules.
func (in input) digests() map[string]string {
	found := map[string]string{}
	for _, p := range in.policies {
		found[p.name] = p.digest
	}
	return found
}

// sets returns what to attach. Policies that name no interface get the ones
// given; none given stands for the default interfaces.
func (in input) sets(interfaces []string) []attach.Set {
	sets := make([]attach.Set, 0, len(in.policies))
	for _, p := range in.policies {
		names := p.interfaces
		if len(names) == 0 {
			names = interfaces
		}
		sets = append(sets, attach.Set{Interfaces: names, Ingress: p.ingress, Egress: p.egress, Flows: p.flows, Reserve: p.reserve})
	}
	return sets
}
