// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

// Of random sides without addresses: a flow is undone exactly when each of its
// packets, followed by the definition of the language, is.
func TestPeersAgreesWithMatch(t *testing.T) {
	random := rulestest.New(rulestest.Seed(t))
	undone := 0
	for range 20_000 {
		client, backend := randomSide(random, randomFunnel), randomSide(random, randomUnfunnel)
		flows := rules.Peers(rules.Side{Egress: client}, rules.Side{Ingress: backend}, nil)
		for i := range client {
			packets := sent(client, i)
			at := slices.IndexFunc(flows, func(f rules.Flow) bool { return f.Rule == i })
			if client[i].Action.Verb != rules.Funnel || len(packets) == 0 {
				if at >= 0 {
					t.Fatalf("%vrule %d sends nothing and has a flow", client, i+1)
				}
				continue
			}
			if at < 0 {
				t.Fatalf("%vrule %d sends %d packets and has no flow", client, i+1, len(packets))
			}
			want := !slices.ContainsFunc(packets, func(p sentPacket) bool { return !undoes(backend, p) })
			got := !slices.ContainsFunc(flows[at].Mismatches, func(m rules.Mismatch) bool { return m.Kind != rules.Reply })
			if got != want {
				t.Fatalf("undone %t, want %t: %vrule %d to\n%v%v", got, want, client, i+1, backend, flows[at])
			}
			if got {
				undone++
			}
		}
	}
	if undone < 500 {
		t.Errorf("only %d flows were undone: the test says little", undone)
	}
}

// sentPacket is what leaves a client: the outer headers, and what is inside.
type sentPacket struct {
	outer  rules.Packet
	inline bool
	inner  rules.Port
}

// sent are the packets of which rule i decides, one for each pair of an inner
// port and an outer source port.
func sent(client rules.RuleSet, i int) []sentPacket {
	var packets []sentPacket
	r := client[i]
	for port := uint16(1); port <= 6; port++ { // 6 stands for all above 5
		p := rules.Packet{Source: netip.IPv4Unspecified(), Destination: netip.IPv4Unspecified(), Protocol: r.Protocol, SourcePort: 1000, DestinationPort: port}
		if j, ok := client.Match(p); !ok || j != i {
			continue
		}
		p.Protocol, p.DestinationPort, p.Pushed = r.Action.Protocol, r.Action.Port, r.Action.Protocol == rules.TCP && !r.Action.Inline
		ports := r.Action.SourcePorts
		if r.Action.Inline {
			ports = rules.PortRange{1024, 1030} // the rules below ask for no other above 1023
		}
		for s := ports.First; s <= ports.Last; s++ {
			p.SourcePort = s
			packets = append(packets, sentPacket{p, r.Action.Inline, rules.Port{r.Protocol, port}})
		}
	}
	return packets
}

// undoes reports whether the first rule that takes the packet restores it.
func undoes(backend rules.RuleSet, p sentPacket) bool {
	j, ok := backend.Match(p.outer)
	if !ok {
		return false
	}
	a := backend[j].Action
	return a.Verb == rules.Unfunnel && a.Inline == p.inline && a.Protocol == p.inner.Protocol && a.Ports.Contains(p.inner.Number)
}

// randomSide is a valid rule set of one to four rules.
func randomSide(random *rand.Rand, rule func(*rand.Rand) rules.Rule) rules.RuleSet {
	var rs rules.RuleSet
	for n := 1 + random.IntN(4); len(rs) < n; {
		if next := append(rs, rule(random)); next.Validate() == nil {
			rs = next
		}
	}
	return rs.Canonical()
}

func randomFunnel(random *rand.Rand) rules.Rule {
	r := rules.Rule{Protocol: randomProtocol(random), DestinationPorts: randomPorts(random, 1, 5)}
	if random.IntN(5) == 0 {
		return r // accept
	}
	r.Action = rules.Action{Verb: rules.Funnel, Protocol: randomProtocol(random), Port: uint16(80 + random.IntN(2)), Inline: random.IntN(3) == 0}
	if !r.Action.Inline {
		first := uint16(540 + random.IntN(4))
		r.Action.SourcePorts = rules.PortRange{first, first + uint16(random.IntN(3))}
	}
	return r
}

func randomUnfunnel(random *rand.Rand) rules.Rule {
	r := rules.Rule{Protocol: randomProtocol(random), DestinationPorts: randomPorts(random, 80, 81), Pushed: random.IntN(3) == 0}
	if random.IntN(2) == 0 {
		r.SourcePorts = randomPorts(random, 540, 545)
	}
	if random.IntN(6) == 0 {
		return r // accept
	}
	r.Action = rules.Action{Verb: rules.Unfunnel, Protocol: randomProtocol(random), Inline: random.IntN(3) == 0}
	if random.IntN(2) == 0 {
		r.Action.Ports = randomPorts(random, 1, 5)
	}
	return r
}

func randomProtocol(random *rand.Rand) rules.Protocol {
	return []rules.Protocol{rules.TCP, rules.UDP}[random.IntN(2)]
}

// randomPorts is a range of these ports, sometimes all others.
func randomPorts(random *rand.Rand, first, last uint16) rules.PortSet {
	a := first + uint16(random.IntN(int(last-first)+1))
	b := a + uint16(random.IntN(int(last-a)+1))
	return rules.PortSet{Ranges: []rules.PortRange{{a, b}}, Not: random.IntN(5) == 0}
}
