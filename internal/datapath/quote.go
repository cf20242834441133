// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// pushedHeader is struct pushed_header of bpf/config.h: a header that ICMP
// errors may quote which come to the other hook than the rules that push it.
type pushedHeader struct {
	Outer, Inner    uint8
	Port            [2]byte // network byte order
	FirstSourcePort uint16
	SourcePorts     uint16 // how many
}

// pushedBy lists what rules push, each header once.
func pushedBy(t *classifier.Table) []pushedHeader {
	if t == nil {
		return nil
	}
	var headers []pushedHeader
	listed := map[pushedHeader]bool{}
	for _, r := range t.Rules() {
		if r.Action.Verb != rules.Funnel || r.Action.Inline {
			continue
		}
		a := actionOf(r.Action)
		h := pushedHeader{a.Protocol, uint8(r.Protocol), a.Port, a.FirstSourcePort, a.SourcePorts}
		if !listed[h] {
			headers = append(headers, h)
		}
		listed[h] = true
	}
	return headers
}

// sizePushed makes room for the headers that rules of the other hook push.
func sizePushed(o *object, headers []pushedHeader) error {
	o.maps[bpf.EgressMapPushedHeaders].MaxEntries = uint32(max(1, len(headers)))
	return o.set(bpf.EgressVarPushedHeadersCount, uint32(len(headers)))
}

func fillPushed(maps map[string]*ebpf.Map, headers []pushedHeader) error {
	pushed := maps[bpf.EgressMapPushedHeaders]
	for i, h := range headers {
		if err := pushed.Put(uint32(i), h); err != nil {
			return fmt.Errorf("fill %s: %w", bpf.EgressMapPushedHeaders, err)
		}
	}
	if err := pushed.Freeze(); err != nil {
		return fmt.Errorf("freeze %s: %w", bpf.EgressMapPushedHeaders, err)
	}
	return nil
}
