// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// shown is what show says of one program.
type shown struct {
	Interface string   `json:"interface"`
	Device    string   `json:"device"`
	Hook      string   `json:"hook"`
	Program   uint32   `json:"program"`
	Version   string   `json:"version"`
	Digest    string   `json:"digest"`
	InFront   []string `json:"inFront,omitempty"`
	// Rules and Reasons are missing where counters may not be read, and for
	// segment programs, which share those of their egress program.
	Rules   []shownRule   `json:"rules,omitempty"`
	Reasons []shownReason `json:"reasons,omitempty"`
	// Flows is missing where no flows are remembered or may not be read. Both
	// programs of an interface share them.
	Flows *shownFlows `json:"flows,omitempty"`
}

// shownFlows counts flows and, if that was asked for, lists some of the inline ones.
type shownFlows struct {
	Funneled   int         `json:"funneled"`
	Unfunneled int         `json:"unfunneled"`
	Direct     int         `json:"direct"`
	HalfOpen   int         `json:"halfOpen"`
	Replies    int         `json:"replies"`
	List       []shownFlow `json:"list,omitempty"`
}

// shownFlow is a flow as its client sees it, and the ports that travel.
type shownFlow struct {
	Role       string  `json:"role"`
	Client     string  `json:"client"`
	Server     string  `json:"server"`
	Through    uint16  `json:"through"`
	SourcePort uint16  `json:"sourcePort"`
	State      string  `json:"state"`
	Idle       float64 `json:"idleSeconds"`
}

// mostFlows is how many flows of an interface show lists.
const mostFlows = 1000

// shownRule is a rule with its counters. Text is missing when the files hold
// other rules than the program.
type shownRule struct {
	Text    string `json:"text,omitempty"`
	Packets uint64 `json:"packets"`
	Octets  uint64 `json:"octets"`
}

// shownReason is what became of packets, and of how many.
type shownReason struct {
	Reason  string `json:"reason"`
	Words   string `json:"words"`
	Dropped bool   `json:"dropped"`
	Packets uint64 `json:"packets"`
}

// showCommand lists our programs, what runs in front of them, and what they
// counted if it may be read.
func showCommand(args []string, o outside) int {
	c, rest, err := readChoices("show", args, o.getenv)
	if err != nil {
		return o.bad("%s", oneLine(err))
	}
	if len(rest) > 0 {
		return o.bad("show takes no argument, found %q", rest[0])
	}
	found, err := attach.List(attach.Where{Netns: c.netns, Interfaces: c.interfaces, Directions: c.directions})
	if err != nil {
		return o.failed(err)
	}
	in, _ := source{folder: c.folder, variable: o.getenv("SFUNNEL_RULESET"), directions: c.directions}.read()
	all := make([]shown, len(found))
	var unread error
	for i, a := range found {
		all[i] = describe(a)
		if err := all[i].count(in.rulesOf(a, c.interfaces)); err != nil {
			unread = err
		} else if err := all[i].countFlows(a, c.listFlows); err != nil {
			unread = err
		}
	}
	if unread != nil {
		o.note("attacher: counters or flows are not shown%s: %v", needs(unread), unread)
	}
	if c.json {
		return o.showJSON(all)
	}
	return o.showText(all)
}

// needs says what reading would take, where that is why it failed.
func needs(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return ", reading them needs SYS_ADMIN"
	}
	return ""
}

func describe(a attach.Attachment) shown {
	return shown{
		Interface: a.Interface, Device: a.Device, Hook: string(a.Name.Hook),
		Program: a.Program, Version: a.Name.Version, Digest: a.Name.Digest, InFront: a.InFront,
	}
}

// rulesOf returns the rules in a program if they are those of the files, else
// nil.
func (in input) rulesOf(a attach.Attachment, interfaces []string) rules.RuleSet {
	ingress, egress := attach.Join(in.sets(interfaces), a.Interface)
	for _, rs := range []rules.RuleSet{ingress, egress} {
		if attach.Digest(rs) == a.Name.Digest {
			return rs
		}
	}
	return nil
}

// count reads the counters of a program.
func (s *shown) count(rs rules.RuleSet) error {
	if s.Hook == string(attach.Segment) {
		return nil
	}
	counters, err := datapath.AttachedCounters(ebpf.ProgramID(s.Program))
	if err != nil {
		return err
	}
	for i, c := range counters.Rules {
		r := shownRule{Packets: c.Packets, Octets: c.Octets}
		if i < len(rs) {
			r.Text = rs[i].String()
		}
		s.Rules = append(s.Rules, r)
	}
	for _, r := range datapath.Reasons() {
		if n := counters.Reasons[r]; n > 0 {
			s.Reasons = append(s.Reasons, shownReason{r.String(), r.Words(), r.Drops(), n})
		}
	}
	return nil
}

// countFlows reads the flow tables of a program that has any.
func (s *shown) countFlows(a attach.Attachment, list bool) error {
	if !a.Name.KeepsFlows() {
		return nil
	}
	tables, err := datapath.AttachedFlowTables(ebpf.ProgramID(s.Program))
	if err != nil {
		return err
	}
	defer tables.Close()
	limit := 0
	if list {
		limit = mostFlows
	}
	found, err := tables.List(limit)
	if err != nil {
		return err
	}
	s.Flows = &shownFlows{Funneled: found.Funneled, Unfunneled: found.Unfunneled, Direct: found.Direct, HalfOpen: found.HalfOpen, Replies: found.Replies}
	for _, f := range found.Flows {
		s.Flows.List = append(s.Flows.List, shownFlow{
			f.Role, f.Client.String(), f.Server.String(), f.Through, f.SourcePort, f.State, f.Idle.Seconds(),
		})
	}
	return nil
}

func (o outside) showJSON(all []shown) int {
	enc := json.NewEncoder(o.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(all); err != nil {
		return o.failed(err)
	}
	return exitDone
}

func (o outside) showText(all []shown) int {
	if len(all) == 0 {
		o.print("nothing of ours is attached")
	}
	for _, s := range all {
		o.print("%s %s: program %d of attacher %s, rules %s", s.Interface, s.Hook, s.Program, s.Version, s.Digest)
		for _, f := range s.InFront {
			o.print("  in front: %s", f)
		}
		if err := s.table(o); err != nil {
			return o.failed(err)
		}
		s.Flows.print(o)
	}
	return exitDone
}

// table prints the counters of a program: numbers to the right, words to the
// left.
func (s shown) table(o outside) error {
	if len(s.Rules)+len(s.Reasons) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "packets\tbytes\t\n")
	for i, r := range s.Rules {
		fmt.Fprintf(w, "%d\t%d\t  rule %d: %s\n", r.Packets, r.Octets, i+1, r.Text)
	}
	for _, r := range s.Reasons {
		drop := ""
		if r.Dropped {
			drop = "DROPPED: "
		}
		fmt.Fprintf(w, "%d\t\t  %s%s\n", r.Packets, drop, r.Words)
	}
	return w.Flush()
}

// print prints the flows; nil prints nothing.
func (f *shownFlows) print(o outside) {
	if f == nil {
		return
	}
	o.print("  flows: %d funneled, %d unfunneled, %d direct, %d half open, %d with replies in kind",
		f.Funneled, f.Unfunneled, f.Direct, f.HalfOpen, f.Replies)
	for _, one := range f.List {
		o.print("  %s %s -> %s, travels %d -> %d, %s, idle %.1f s",
			one.Role, one.Client, one.Server, one.SourcePort, one.Through, one.State, one.Idle)
	}
}
