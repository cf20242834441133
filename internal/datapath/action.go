// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// action is struct action of bpf/config.h.
type action struct {
	Verb            uint8 // enum verb
	Protocol        uint8
	Port            [2]byte // network byte order
	FirstSourcePort uint16
	SourcePorts     uint16 // how many
	Reply           bool
	_               [3]byte
}

// The verbs of inline rules follow those of rules.Verb in enum verb.
const (
	verbFunnelInline   = uint8(rules.Unfunnel) + 1
	verbUnfunnelInline = uint8(rules.Unfunnel) + 2
)

func verbOf(a rules.Action) uint8 {
	switch {
	case a.Inline && a.Verb == rules.Funnel:
		return verbFunnelInline
	case a.Inline && a.Verb == rules.Unfunnel:
		return verbUnfunnelInline
	}
	return uint8(a.Verb)
}

func actionOf(a rules.Action) action {
	out := action{
		Verb:            verbOf(a),
		Protocol:        uint8(a.Protocol),
		Port:            [2]byte{byte(a.Port >> 8), byte(a.Port)},
		FirstSourcePort: a.SourcePorts.First,
		Reply:           a.Reply,
	}
	if a.Verb == rules.Funnel {
		out.SourcePorts = a.SourcePorts.Last - a.SourcePorts.First + 1
	}
	return out
}

// sizeActions gives every rule an action.
func sizeActions(o *object, rs rules.RuleSet) {
	o.maps[bpf.EgressMapActions].MaxEntries = uint32(max(1, len(rs)))
}

// fillActions writes one action per rule and freezes them.
func fillActions(maps map[string]*ebpf.Map, rs rules.RuleSet) error {
	actions := maps[bpf.EgressMapActions]
	keys, values := make([]uint32, len(rs)), make([]action, len(rs))
	for i, r := range rs {
		keys[i], values[i] = uint32(i), actionOf(r.Action)
	}
	if len(rs) > 0 {
		if _, err := actions.BatchUpdate(keys, values, nil); err != nil {
			return fmt.Errorf("fill %s: %w", bpf.EgressMapActions, err)
		}
	}
	if err := actions.Freeze(); err != nil {
		return fmt.Errorf("freeze %s: %w", bpf.EgressMapActions, err)
	}
	return nil
}
