// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Config says what to load for one interface.
type Config struct {
	// Ingress and Egress are the rules of the two hooks. A program is loaded
	// for a direction when its table is not nil, and for both when rules of one
	// are inline or say reply: what answers comes to the other hook.
	Ingress, Egress *classifier.Table
	Interface       Interface
	// Flows is for how many inline flows there is room in each role, funneled
	// here or unfunneled here; 0 is DefaultFlows. Memory for all of them is taken at
	// once: about 300 octets for one that is funneled, 150 for one that is unfunneled.
	// More of them than that are refused, and counted. It is also for how many flows
	// of rules with reply there is room, which take 150 octets each; the one that was
	// silent for longest goes when another comes.
	Flows int
	// Kept are flow tables that are to be used further; nil: new ones.
	Kept *Kept
	// Generation tells the rules from earlier ones that flows in Kept belong to,
	// below MaxGeneration.
	Generation uint32
	// LocalPorts are the source ports that the kernel gives to connections, which
	// inline flows keep off. Zero: ip_local_port_range of the network namespace
	// of the calling thread.
	LocalPorts rules.PortRange
}

// MaxGeneration bounds Config.Generation.
const MaxGeneration = 1<<20 - 1

// Kept are the flow tables of programs that are about to be replaced. Inline flows
// in them go on as they are, whatever the new rules say, and count for no rule
// unless Generation stayed the same; replies in kind go on where the new rules have
// any. The tables keep their sizes.
type Kept struct {
	*FlowTables
	// Unfunneled are the directions in which flows are unfunneled.
	Unfunneled map[rules.Direction]bool
}

// Interface is what the programs have to know of the interface they will be
// attached to. They can't be moved to another one.
type Interface struct {
	// Index is the interface's index in its network namespace.
	Index int
	// MTU is the interface's MTU in octets. It is for reports: the programs ask
	// the kernel for the MTU of the moment.
	MTU int
	// Ethernet tells that packets begin with an Ethernet header. Without it (tun
	// and other layer 3 devices) they begin with the IP header.
	Ethernet bool
	// SegmentA and SegmentB are the indexes of the two ends of the segmenting
	// device, 0 when there is none. A is where the egress program sends packets
	// to, B where the segment program takes them up.
	//
	// Load needs both when NeedsSegmenting says so. The device is a veth pair in
	// the namespace of the interface with, on both ends: tx-checksumming, TSO
	// and all other GSO off, GRO off, no IPv6 address, NOARP, an MTU not below
	// the interface's, and up.
	SegmentA, SegmentB int
}

// NeedsSegmenting reports whether an interface needs the segmenting device for
// these rules: whether a header is pushed into what leaves, by an egress rule or
// because it answers what an ingress rule unfunneled.
func NeedsSegmenting(ingress, egress rules.RuleSet) bool {
	return Pushes(egress) || slices.ContainsFunc(ingress, func(r rules.Rule) bool {
		return r.Action.Verb == rules.Unfunnel && r.Action.Reply
	})
}

// Pushes reports whether some rule pushes a header.
func Pushes(rs rules.RuleSet) bool {
	return slices.ContainsFunc(rs, func(r rules.Rule) bool {
		return r.Action.Verb == rules.Funnel && !r.Action.Inline
	})
}

// unfunnels reports whether some rule takes a header off.
func unfunnels(rs rules.RuleSet) bool {
	return slices.ContainsFunc(rs, func(r rules.Rule) bool {
		return r.Action.Verb == rules.Unfunnel && !r.Action.Inline
	})
}

func (c Config) needsSegmenting() bool {
	var ingress, egress rules.RuleSet
	if c.Ingress != nil {
		ingress = c.Ingress.Rules()
	}
	if c.Egress != nil {
		egress = c.Egress.Rules()
	}
	return NeedsSegmenting(ingress, egress)
}

func (c Config) validate() error {
	if c.Ingress == nil && c.Egress == nil && c.Kept == nil {
		return errors.New("no rules for either direction")
	}
	if c.Flows < 0 || c.Flows > MaxFlows {
		return fmt.Errorf("room for %d flows; 1 to %d are possible", c.Flows, MaxFlows)
	}
	if c.Generation >= MaxGeneration {
		return fmt.Errorf("generation %d, at most %d is possible", c.Generation, MaxGeneration-1)
	}
	if c.Interface.Index <= 0 {
		return fmt.Errorf("interface index %d", c.Interface.Index)
	}
	if c.needsSegmenting() && (c.Interface.SegmentA <= 0 || c.Interface.SegmentB <= 0) {
		return errors.New("the rules push headers into what leaves, which needs a segmenting device")
	}
	return nil
}
