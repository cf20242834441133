// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// portMap collects --map tcp/80=8080.
type portMap rules.PortMap

// String is empty: the flag has no default to show.
func (portMap) String() string { return "" }

// Set reads "protocol/port=target".
func (m portMap) Set(s string) error {
	protocols := map[string]rules.Protocol{"tcp": rules.TCP, "udp": rules.UDP}
	name, ports, _ := strings.Cut(s, "/")
	service, target, _ := strings.Cut(ports, "=")
	from, errFrom := strconv.ParseUint(service, 10, 16)
	to, errTo := strconv.ParseUint(target, 10, 16)
	if protocols[name] == 0 || errFrom != nil || errTo != nil || from == 0 || to == 0 {
		return fmt.Errorf("want a Service's port and its target port, as in tcp/80=8080")
	}
	m[rules.Port{Protocol: protocols[name], Number: uint16(from)}] = uint16(to)
	return nil
}

// located are rules and where each stands.
type located struct {
	rules rules.RuleSet
	at    []string // "file:line:column"
}

// peerSide is one side as it was given.
type peerSide struct{ ingress, egress located }

func (s peerSide) side() rules.Side {
	return rules.Side{Ingress: s.ingress.rules, Egress: s.egress.rules}
}

// checkPeers says of each flow that one side funnels whether the other one
// undoes it.
func (o outside) checkPeers(names []string, services portMap) int {
	var found faults
	client, backend := o.readSide(&found, names[0]), o.readSide(&found, names[1])
	if len(found) > 0 {
		o.note("%v", found)
		return exitBadInput
	}
	flows := rules.Peers(client.side(), backend.side(), rules.PortMap(services))
	if len(flows) == 0 {
		o.note("attacher: neither %s nor %s funnels anything", names[0], names[1])
		return exitBadInput
	}
	code := exitDone
	for _, f := range flows {
		from, to := client.egress, backend.ingress
		if f.FromBackend {
			from, to = backend.egress, client.ingress
		}
		o.printFlow(f, from, to)
		if len(f.Mismatches) > 0 {
			code = exitFailed
		}
	}
	return code
}

// readSide reads a folder with a file per direction, or a file: one that is not
// named after a direction holds for both.
func (o outside) readSide(found *faults, name string) peerSide {
	var s peerSide
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		s.ingress = o.readSideFile(found, filepath.Join(name, ingressFile))
		s.egress = o.readSideFile(found, filepath.Join(name, egressFile))
		return s
	}
	both := o.readSideFile(found, name)
	for _, d := range directionsOf(name) {
		if d == rules.Ingress {
			s.ingress = both
		} else {
			s.egress = both
		}
	}
	return s
}

// readSideFile parses a file and keeps where each rule stands.
func (o outside) readSideFile(found *faults, file string) located {
	text, err := o.readFile(file)
	if err != nil {
		found.join(err)
		return located{}
	}
	rs, at, err := rules.ParsePositions(text)
	if err != nil {
		addSyntax(found, file, err)
	}
	l := located{rules: rs}
	for _, p := range at {
		l.at = append(l.at, fmt.Sprintf("%s:%d:%d", file, p.Line, p.Column))
	}
	return l
}

func (o outside) printFlow(f rules.Flow, from, to located) {
	o.print("%s: %v", from.at[f.Rule], from.rules[f.Rule])
	verdict := "  undone by"
	if len(f.Mismatches) > 0 {
		verdict = "  NOT undone by"
	}
	if len(f.By) == 0 {
		o.print("%s any rule", verdict)
	}
	for _, j := range f.By {
		o.print("%s %s: %v", verdict, to.at[j], to.rules[j])
	}
	for _, m := range f.Mismatches {
		o.print("    %v", m)
	}
	for _, n := range f.Notes {
		o.print("    note: %s", n)
	}
}
