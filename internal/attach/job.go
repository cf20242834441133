// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// job is what is to be done for one interface.
type job struct {
	target
	options  Options
	compiler *compiler
	link     netlink.Link
	segment  *segmentDevice // nil when the rules need none
	programs *datapath.Programs
	left     *datapath.FlowTables // of earlier programs, which programs don't keep; nil when not looked for
	seats    []*seat              // of the programs that tcx attaches
	done     undo
	// generated is the generation of the rules in programs.
	generated uint32
	// The digests of the rules, which compile makes.
	ingressDigest, egressDigest string
	room                        int // that is reserved on routes, in bytes
}

type jobs []*job

func (o Options) newJob(t target, c *compiler) (*job, error) {
	if !o.owns(rules.Ingress) {
		t.ingress = nil
	}
	if !o.owns(rules.Egress) {
		t.egress = nil
	}
	link, err := netlink.LinkByIndex(t.index)
	if err != nil {
		return nil, err
	}
	return &job{target: t, options: o, compiler: c, link: link}, nil
}

// prepare makes the devices that the rules need, loads the programs and makes
// sure that they can be attached.
func (j *job) prepare() error {
	if err := j.ensureHooks(j.link); err != nil {
		return err
	}
	if err := j.ensureSegment(); err != nil {
		return err
	}
	if err := j.load(); err != nil {
		return err
	}
	return j.reserve()
}

func (j *job) ensureSegment() error {
	if !datapath.NeedsSegmenting(j.ingress, j.egress) {
		return nil
	}
	segment, back, err := ensureSegmentDevice(j.index)
	if err != nil {
		return err
	}
	j.done.add(back)
	j.segment = segment
	return j.ensureHooks(segment.b)
}

// ensureHooks makes sure that programs can be attached to a link.
func (j *job) ensureHooks(link netlink.Link) error {
	tcx, err := attachesByTCX(link)
	if err != nil || tcx {
		return err
	}
	back, err := ensureClsact(link)
	j.done.add(back)
	return err
}

func (j *job) load() error {
	c := datapath.Config{Flows: j.flows, Interface: datapath.Interface{Index: j.index, MTU: j.mtu, Ethernet: j.ethernet}}
	if j.segment != nil {
		c.Interface.SegmentA = j.segment.a.Attrs().Index
		c.Interface.SegmentB = j.segment.b.Attrs().Index
	}
	if err := j.compile(&c); err != nil {
		return err
	}
	if err := j.hearErrors(&c); err != nil {
		return err
	}
	if err := j.keepFlows(&c); err != nil {
		return err
	}
	if c.Kept != nil {
		defer c.Kept.Close()
	}
	j.generated = c.Generation
	if c.Ingress == nil && c.Egress == nil && c.Kept == nil {
		j.programs = &datapath.Programs{}
		return nil
	}
	var err error
	if j.programs, err = datapath.Load(c); err != nil {
		return err
	}
	return j.checkDirections()
}

// overhead is that of the rules of both directions.
func (j *job) overhead() int {
	return max(rules.Overhead(j.ingress), rules.Overhead(j.egress))
}

// reserve makes room on the routes through the interface when that is asked for.
// A call that does not decide about egress leaves them as they are.
func (j *job) reserve() error {
	if !j.options.owns(rules.Egress) {
		return nil
	}
	before, err := reserved(j.link)
	if err != nil {
		return err
	}
	if j.target.reserve {
		j.room = j.overhead()
	}
	back, err := reservation{before, j.room}.reserve(j.device)
	j.done.add(back)
	return err
}

// compile makes tables and digests, those of both directions at once.
func (j *job) compile(c *datapath.Config) error {
	waitIngress, waitEgress := j.compiler.begin(j.ingress), j.compiler.begin(j.egress)
	ingress, egress := waitIngress(), waitEgress()
	c.Ingress, c.Egress = ingress.table, egress.table
	j.ingressDigest, j.egressDigest = ingress.digest, egress.digest
	if ingress.err != nil {
		return fmt.Errorf("%s: %w", rules.Ingress, ingress.err)
	}
	if egress.err != nil {
		return fmt.Errorf("%s: %w", rules.Egress, egress.err)
	}
	return nil
}

// hearErrors gives both hooks a program where rules of one push: ICMP errors about
// what is pushed come to the other, and only there can be put right. A call for
// one direction does without.
func (j *job) hearErrors(c *datapath.Config) error {
	pushes := datapath.Pushes(j.ingress) || datapath.Pushes(j.egress)
	if !pushes || !j.options.owns(rules.Ingress) || !j.options.owns(rules.Egress) {
		return nil
	}
	for _, table := range []**classifier.Table{&c.Ingress, &c.Egress} {
		if *table != nil {
			continue
		}
		none, err := classifier.Compile(nil)
		if err != nil {
			return err
		}
		*table = none
	}
	return nil
}

// checkDirections refuses rules whose answers need a hook that the call does not
// decide about.
func (j *job) checkDirections() error {
	for d, p := range map[rules.Direction]*ebpf.Program{rules.Ingress: j.programs.Ingress, rules.Egress: j.programs.Egress} {
		if p != nil && !j.options.owns(d) {
			return fmt.Errorf("flows that are remembered need the %s hook as well: attach both directions", d)
		}
	}
	return nil
}

// undo takes back what was done for all of them, the last first.
func (js jobs) undo() error {
	var errs []error
	for _, j := range slices.Backward(js) {
		if err := j.done.run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", j.name, err))
		}
	}
	return errors.Join(errs...)
}

func (js jobs) close() {
	for _, j := range js {
		for _, s := range j.seats {
			s.close()
		}
		if j.programs != nil {
			_ = j.programs.Close()
		}
		if j.left != nil {
			j.left.Close()
		}
	}
}

// attach puts all programs in place: a segment program before the egress program
// that sends packets to it. Older ones go when all are there.
func (js jobs) attach() error {
	for _, j := range js {
		if err := j.keepLate(); err != nil {
			return fmt.Errorf("attach %s: %w", j.name, err)
		}
	}
	for _, j := range js {
		if err := j.attach(); err != nil {
			return fmt.Errorf("attach %s: %w", j.name, err)
		}
	}
	for _, j := range js {
		for _, s := range j.seats {
			if err := s.settle(); err != nil {
				return fmt.Errorf("attach %s: %w", j.name, err)
			}
		}
	}
	return nil
}

func (j *job) attach() error {
	p := j.programs
	if p.Segment != nil {
		if err := j.put(j.segment.b, p.Segment, Segment); err != nil {
			return err
		}
	}
	if err := j.put(j.link, p.Ingress, Ingress); err != nil {
		return err
	}
	return j.put(j.link, p.Egress, Egress)
}

// put attaches one program; nil is nothing to attach.
func (j *job) put(link netlink.Link, p *ebpf.Program, h Hook) error {
	if p == nil {
		return nil
	}
	done, err := j.putOn(link, p, h)
	if err != nil {
		return fmt.Errorf("%s: %w", h, err)
	}
	j.done.steps = append(j.done.steps, done)
	return nil
}

func (j *job) putOn(link netlink.Link, p *ebpf.Program, h Hook) (step, error) {
	tcx, err := attachesByTCX(link)
	if err != nil {
		return step{}, err
	}
	if !tcx {
		return putFilter(link, p, j.nameOf(h))
	}
	s, err := sit(link, p, j.nameOf(h), func(on bool) error {
		if h == Segment {
			return nil // lets no packet pass
		}
		return j.programs.EndChain(h.direction(), on)
	})
	if err != nil {
		return step{}, err
	}
	j.seats = append(j.seats, s)
	return step{s.leave, s.stays}, nil
}

func (j *job) nameOf(h Hook) Name {
	n := Name{Hook: h, Version: j.options.Version, Digest: j.digest(h)}
	if flows := j.programs.Flows; flows.Kept && h != Segment {
		n.Flows, n.Generation = keepsFlows, j.generated
		if flows.Unfunneled[h.direction()] {
			n.Flows = unfunnelsFlows
		}
	}
	if h == Egress {
		n.Reserved = j.room
	}
	return n
}

func (j *job) digest(h Hook) string {
	if h == Ingress {
		return j.ingressDigest
	}
	return j.egressDigest
}

// removeUnused takes away what an earlier run left and these rules have no use
// for.
func (js jobs) removeUnused() error {
	var errs []error
	for _, j := range js {
		if j.options.owns(rules.Ingress) && j.programs.Ingress == nil {
			_, err := removeOwn(j.link, Ingress)
			errs = append(errs, err)
		}
		if !j.options.owns(rules.Egress) {
			continue
		}
		if j.programs.Egress == nil {
			_, err := removeOwn(j.link, Egress)
			errs = append(errs, err)
		}
		if j.segment == nil {
			errs = append(errs, removeSegmentDevice(j.index))
		}
	}
	return errors.Join(errs...)
}

func (js jobs) describe() ([]Attached, error) {
	all := make([]Attached, 0, len(js))
	for _, j := range js {
		a, err := j.describe()
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", j.name, err)
		}
		all = append(all, a)
	}
	return all, nil
}

func (j *job) describe() (Attached, error) {
	a := Attached{
		Name: j.name, Index: j.index, MTU: j.mtu, Overhead: j.overhead(),
		Ingress: len(j.ingress), Egress: len(j.egress),
		KeptFlows: j.programs.Flows.TakenOver, FlowEntries: j.programs.Flows.Entries, RemembersFlows: j.programs.Flows.Kept,
	}
	var err error
	if a.Headroom, err = measureHeadroom(j.device); err != nil {
		return a, err
	}
	for _, h := range []Hook{Ingress, Egress} {
		if h == Ingress && j.programs.Ingress == nil || h == Egress && j.programs.Egress == nil {
			continue
		}
		front, err := inFront(j.link, h)
		if err != nil {
			return a, err
		}
		for _, f := range front {
			a.InFront = append(a.InFront, string(h)+": "+f)
		}
	}
	return a, nil
}
