// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// tcxInterface is eth0 in a namespace of its own. Kernels without tcx have nothing to prove.
func tcxInterface(t *testing.T) netlink.Link {
	t.Helper()
	newNamespace(t)
	l := ethernet(t, "eth0", "10.0.0.1/24")
	if !hasTCX(l) {
		t.Skip("this kernel has no tcx")
	}
	return l
}

func noChain(bool) error { return nil }

// mustSit attaches a program that returns a verdict, and settles it.
func mustSit(t *testing.T, l netlink.Link, verdict int32, n Name) *seat {
	t.Helper()
	s, err := sit(l, returns(t, verdict), n, noChain)
	must(t, err)
	t.Cleanup(s.close)
	must(t, s.settle())
	return s
}

// chainOf prints a chain: names of ours, ids of others.
func chainOf(t *testing.T, l netlink.Link, h Hook) []string {
	t.Helper()
	c, err := readChain(l, h)
	must(t, err)
	out := []string{}
	for _, p := range c.programs {
		if p.own != nil {
			out = append(out, p.own.name.String())
		} else {
			out = append(out, "foreign")
		}
	}
	return out
}

func altNames(t *testing.T, l netlink.Link) []string {
	t.Helper()
	now, err := netlink.LinkByIndex(l.Attrs().Index)
	must(t, err)
	return now.Attrs().AltNames
}

func TestOursRunsBeforeThoseThatAreThere(t *testing.T) {
	l := tcxInterface(t)
	foreignPrograms(t, l, Ingress, 1)
	mustSit(t, l, -1, oldName)
	if got, want := chainOf(t, l, Ingress), []string{oldName.String(), "foreign"}; !slices.Equal(got, want) {
		t.Errorf("chain %q, want %q", got, want)
	}
	if front, err := inFront(l, Ingress); err != nil || len(front) != 0 {
		t.Errorf("in front: %q, %v", front, err)
	}
	first := returns(t, -1)
	must(t, link.RawAttachProgram(link.RawAttachProgramOptions{Target: l.Attrs().Index, Program: first, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()}))
	info, err := first.Info()
	must(t, err)
	id, _ := info.ID()
	want := []string{fmt.Sprintf("tcx program %d (verdict)", id)}
	if front, err := inFront(l, Ingress); err != nil || !slices.Equal(front, want) {
		t.Errorf("in front: %q, %v, want %q", front, err, want)
	}
}

// TestEachPacketMeetsOneProgramMeanwhile: the older program drops everything, the
// newer lets everything pass, and both are there.
func TestEachPacketMeetsOneProgramMeanwhile(t *testing.T) {
	l := tcxInterface(t)
	neighbour(t, l, "10.0.0.2")
	name := Name{Hook: Egress, Version: "v1", Digest: "0a"}
	arrived := countArrivals(t, mustLink(t, "eth0p"))
	mustSit(t, l, 2, name)
	table, err := classifier.Compile(nil)
	must(t, err)
	programs, err := datapath.Load(datapath.Config{Egress: table, Interface: datapath.Interface{Index: l.Attrs().Index, MTU: 1500, Ethernet: true}})
	must(t, err)
	defer programs.Close()

	sent := func() uint64 {
		conn, err := net.Dial("udp4", "10.0.0.2:9")
		must(t, err)
		defer conn.Close()
		before := arrived.of(t, unix.IPPROTO_UDP)
		_, _ = conn.Write([]byte("flow record"))
		return arrived.of(t, unix.IPPROTO_UDP) - before
	}
	check := func(when string, want uint64) {
		t.Helper()
		if got := sent(); got != want {
			t.Errorf("%s: %d packets arrived, want %d", when, got, want)
		}
	}
	check("before", 0)
	s, err := sit(l, programs.Egress, Name{Hook: Egress, Version: "v2", Digest: "0b"}, func(on bool) error { return programs.EndChain(rules.Egress, on) })
	must(t, err)
	check("meanwhile", 1)
	must(t, s.leave())
	check("taken back", 0)
	s, err = sit(l, programs.Egress, Name{Hook: Egress, Version: "v2", Digest: "0b"}, func(on bool) error { return programs.EndChain(rules.Egress, on) })
	must(t, err)
	must(t, s.settle())
	check("settled", 1)
	foreign, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: returns(t, 2), Attach: ebpf.AttachTCXEgress, Anchor: link.Tail()})
	must(t, err)
	defer foreign.Close()
	check("others behind get their packets again", 0)
	if err := s.stays(); !errors.Is(err, errStays) {
		t.Errorf("left after it settled: %v", err)
	}
}

// TestOthersBehindAreSpared: ours is replaced at once, so that no packet misses them.
func TestOthersBehindAreSpared(t *testing.T) {
	for name, others := range map[string]func(*testing.T, netlink.Link){
		"program": func(t *testing.T, l netlink.Link) { foreignPrograms(t, l, Ingress, 1) },
		"filter":  func(t *testing.T, l netlink.Link) { foreignFilter(t, l, Ingress, 1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			l := tcxInterface(t)
			mustSit(t, l, -1, oldName)
			others(t, l)
			want := chainOf(t, l, Ingress)
			s, err := sit(l, returns(t, -1), newName, func(bool) error { return errors.New("the chain is ended") })
			must(t, err)
			defer s.close()
			must(t, s.leave())
			if got := chainOf(t, l, Ingress); !slices.Equal(got, want) {
				t.Errorf("taken back: %q, want %q", got, want)
			}
			mustSit(t, l, -1, newName)
			want[0] = newName.String()
			if got := chainOf(t, l, Ingress); !slices.Equal(got, want) {
				t.Errorf("replaced: %q, want %q", got, want)
			}
			if marks := altNames(t, l); len(marks) != 1 {
				t.Errorf("marks %q", marks)
			}
		})
	}
}

// TestAProcessThatEndedMeanwhileLeavesNothingToTheNext: with both programs there, and
// with a mark of none.
func TestAProcessThatEndedMeanwhileLeavesNothingToTheNext(t *testing.T) {
	l := tcxInterface(t)
	must(t, netlink.LinkAddAltName(l, "uplink"))
	must(t, addMark(l, oldName.mark(1<<31-1)))
	mustSit(t, l, -1, oldName)
	s, err := sit(l, returns(t, -1), newName, noChain)
	must(t, err)
	defer s.close()
	if got, want := chainOf(t, l, Ingress), []string{newName.String(), oldName.String()}; !slices.Equal(got, want) {
		t.Fatalf("chain %q, want %q", got, want)
	}
	last := mustSit(t, l, -1, oldName)
	if got, want := chainOf(t, l, Ingress), []string{oldName.String()}; !slices.Equal(got, want) {
		t.Errorf("chain %q, want %q", got, want)
	}
	if got, want := altNames(t, l), []string{"uplink", oldName.mark(last.id)}; !slices.Equal(got, want) {
		t.Errorf("alternative names %q, want %q", got, want)
	}
}

// TestDetachTakesOursOutOfTheMiddle of a chain, at its beginning and at its end.
func TestDetachTakesOursOutOfTheMiddle(t *testing.T) {
	for _, place := range []struct{ front, behind int }{{0, 0}, {0, 2}, {2, 0}, {1, 2}} {
		l := tcxInterface(t)
		mustSit(t, l, -1, oldName)
		foreignPrograms(t, l, Ingress, place.behind)
		for range place.front {
			must(t, link.RawAttachProgram(link.RawAttachProgramOptions{
				Target: l.Attrs().Index, Program: returns(t, -1), Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
			}))
		}
		removed, err := removeOwn(l, Ingress)
		if err != nil || !slices.Equal(removed, []Name{oldName}) {
			t.Errorf("%+v: removed %v, %v", place, removed, err)
		}
		if got := chainOf(t, l, Ingress); len(got) != place.front+place.behind || slices.Contains(got, oldName.String()) {
			t.Errorf("%+v: left %q", place, got)
		}
		if marks := altNames(t, l); len(marks) != 0 {
			t.Errorf("%+v: marks %q", place, marks)
		}
	}
}

// TestAnIngressQdiscIsNoObstacle to tcx.
func TestAnIngressQdiscIsNoObstacle(t *testing.T) {
	l := tcxInterface(t)
	ingressQdisc(t, l)
	mustAttach(t, options(t, unfunnelText, funnelText, ""))
	checkState(t, "attached", "eth0:ingress eth0:egress eth0:ingress-qdisc sfna sfnb")
}

// TestDetachLeavesOthersQdiscs where tcx attached ours: empty ones, and where there was
// one once: then the kernel answers a request to remove it in another way.
func TestDetachLeavesOthersQdiscs(t *testing.T) {
	for name, c := range map[string]struct {
		qdisc func(*testing.T, netlink.Link)
		left  string
	}{
		"clsact":  {func(t *testing.T, l netlink.Link) { must(t, netlink.QdiscAdd(clsact(l))) }, "eth0:clsact"},
		"ingress": {ingressQdisc, "eth0:ingress-qdisc"},
		"one that is gone": {func(t *testing.T, l netlink.Link) {
			must(t, netlink.QdiscAdd(clsact(l)))
			must(t, netlink.QdiscDel(clsact(l)))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := tcxInterface(t)
			c.qdisc(t, l)
			mustAttach(t, options(t, unfunnelText, funnelText, ""))
			_, err := Detach(Where{})
			must(t, err)
			if got := strings.TrimSpace(state(t)); got != c.left {
				t.Errorf("left %q, want %q", got, c.left)
			}
		})
	}
}

// TestHardwareInAPodGetsFilters: lo stands for it, having no kind either. Filters stay
// behind when an interface comes to another namespace.
func TestHardwareInAPodGetsFilters(t *testing.T) {
	l := tcxInterface(t)
	for name, want := range map[string]bool{"lo": false, "eth0": true} {
		if got, err := attachesByTCX(mustLink(t, name)); got != want || err != nil {
			t.Errorf("%s by tcx: %v, %v, want %v", name, got, err, want)
		}
	}
	withoutTCX(t)
	mustAttach(t, options(t, unfunnelText, "", "eth0"))
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	there, err := netns.New() // and goes there
	must(t, err)
	defer there.Close()
	defer func() { must(t, netns.Set(here)) }()
	must(t, netns.Set(here))
	must(t, netlink.LinkSetNsFd(l, int(there)))
	must(t, netns.Set(there))
	if found, err := List(Where{}); err != nil || len(found) != 0 {
		t.Errorf("in the other namespace: %+v, %v", found, err)
	}
}

// TestFiltersOfOursAreReplacedByFilters, as a newer attacher finds them.
func TestFiltersOfOursAreReplacedByFilters(t *testing.T) {
	l := tcxInterface(t)
	withTCX = false
	mustAttach(t, options(t, unfunnelText, "", ""))
	withTCX = true
	mustAttach(t, options(t, "udp dport 7 drop", "udp dport 8 drop", ""))
	if len(filterNames(t, l, Ingress)) != 1 || len(filterNames(t, l, Egress)) != 1 || len(chainOf(t, l, Ingress)) != 0 {
		t.Errorf("filters %q %q, chain %q", filterNames(t, l, Ingress), filterNames(t, l, Egress), chainOf(t, l, Ingress))
	}
}
