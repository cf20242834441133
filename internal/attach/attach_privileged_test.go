// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

const (
	funnelText   = "udp dport 2055 funnel tcp dport 179 sport 540"
	unfunnelText = "tcp dport 179 sport 540 unfunnel udp dport 2055"
)

// options attach the two texts on the interfaces named.
func options(t *testing.T, ingress, egress, interfaces string) Options {
	t.Helper()
	return Options{
		Sets:    []Set{{Interfaces: strings.Fields(interfaces), Ingress: mustRules(t, ingress), Egress: mustRules(t, egress)}},
		Version: "test",
	}
}

func mustAttach(t *testing.T, o Options) []Attached {
	t.Helper()
	attached, err := Attach(context.Background(), o)
	must(t, err)
	return attached
}

// state lists what is in the namespace that attaching could leave there: per
// interface its qdisc, programs and filters, and our devices.
func state(t *testing.T) string {
	t.Helper()
	var out []string
	devices, err := listDevices()
	must(t, err)
	for _, d := range devices {
		if d.ours() {
			out = append(out, d.name[:3]+d.name[len(d.name)-1:])
			continue
		}
		l := mustLink(t, d.name)
		for _, h := range []Hook{Ingress, Egress} {
			c, err := readChain(l, h)
			must(t, err)
			for range c.own() {
				out = append(out, d.name+":"+string(h))
			}
		}
		clsact, err := checkQdiscs(l)
		if err != nil {
			out = append(out, d.name+":"+"ingress-qdisc")
			continue
		}
		if !clsact {
			continue
		}
		for _, h := range []Hook{Ingress, Egress} {
			for _, n := range filterNames(t, l, h) {
				if own, ok := parseName(n); ok {
					n = string(own.Hook)
				}
				out = append(out, d.name+":"+n)
			}
		}
		out = append(out, d.name+":clsact")
	}
	return strings.Join(out, " ")
}

// checkState compares the state. With tcx a qdisc is not expected that only filters
// of ours would need.
func checkState(t *testing.T, when, want string) {
	t.Helper()
	got := strings.Fields(state(t))
	expected := slices.DeleteFunc(strings.Fields(want), func(s string) bool {
		device, ofQdisc := strings.CutSuffix(s, ":clsact")
		return ofQdisc && hasTCX(mustLink(t, "lo")) && !strings.Contains(want, device+":foreign")
	})
	slices.Sort(got)
	slices.Sort(expected)
	if !slices.Equal(got, expected) {
		t.Errorf("%s:\ngot  %v\nwant %v", when, got, expected)
	}
}

func TestAttachTwiceIsOneProgramPerHook(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		for range 2 {
			got := mustAttach(t, options(t, unfunnelText, funnelText, ""))
			want := Attached{Name: "eth0", Index: mustLink(t, "eth0").Attrs().Index, MTU: 1500, Overhead: 20, Ingress: 1, Egress: 1}
			if len(got) != 1 || got[0].Name != want.Name || got[0].MTU != want.MTU || got[0].Overhead != want.Overhead ||
				got[0].Headroom != 0 || got[0].Ingress != 1 || got[0].Egress != 1 || len(got[0].InFront) != 0 {
				t.Errorf("got %+v, want %+v", got, want)
			}
			checkState(t, "attached", "eth0:clsact eth0:ingress eth0:egress sfna sfnb")
		}
		found, err := List(Where{})
		must(t, err)
		var hooks []string
		for _, a := range found {
			hooks = append(hooks, a.Interface+":"+string(a.Name.Hook)+":"+a.Name.Version)
		}
		if want := []string{"eth0:ingress:test", "eth0:egress:test", "eth0:segment:test"}; !slices.Equal(hooks, want) {
			t.Errorf("listed %v, want %v", hooks, want)
		}
		if found[1].Name.Digest != Digest(mustRules(t, funnelText)) || found[1].Program == 0 {
			t.Errorf("listed %+v", found[1])
		}
	})
}

func TestAttachTakesAwayWhatTheNewRulesDoNotNeed(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		mustAttach(t, options(t, unfunnelText, funnelText, ""))
		mustAttach(t, options(t, unfunnelText, "udp dport 53 drop", ""))
		checkState(t, "no header pushed", "eth0:clsact eth0:ingress eth0:egress")
		mustAttach(t, options(t, unfunnelText, "", ""))
		checkState(t, "no egress rules", "eth0:clsact eth0:ingress")
		mustAttach(t, options(t, "", "", ""))
		checkState(t, "no rules", "eth0:clsact")
	})
}

func TestOneDirectionLeavesTheOtherAlone(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		in, out := options(t, unfunnelText, "", ""), options(t, "", funnelText, "")
		in.Directions, out.Directions = []rules.Direction{rules.Ingress}, []rules.Direction{rules.Egress}
		mustAttach(t, in)
		mustAttach(t, out)
		checkState(t, "both runs", "eth0:clsact eth0:ingress eth0:egress sfna sfnb")
		mustAttach(t, in)
		checkState(t, "the first again", "eth0:clsact eth0:ingress eth0:egress sfna sfnb")
		_, err := Detach(Where{Directions: in.Directions})
		must(t, err)
		checkState(t, "ingress detached", "eth0:clsact eth0:egress sfna sfnb")
		_, err = Detach(Where{Directions: out.Directions})
		must(t, err)
		checkState(t, "egress detached", "")
	})
}

// TestErrorsAboutWhatIsPushedAreHeard: they come to the other hook.
func TestErrorsAboutWhatIsPushedAreHeard(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		o := options(t, "", funnelText, "")
		mustAttach(t, o)
		checkState(t, "both directions", "eth0:clsact eth0:ingress eth0:egress sfna sfnb")
		_, err := Detach(Where{})
		must(t, err)
		o.Directions = []rules.Direction{rules.Egress}
		mustAttach(t, o)
		checkState(t, "egress only", "eth0:clsact eth0:egress sfna sfnb")
	})
}

func TestRulesOfSeveralSetsMeetPerInterface(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		ethernet(t, "net1", "10.0.1.1/24")
		o := options(t, unfunnelText, "", "net1")
		o.Sets = append(o.Sets, Set{Egress: mustRules(t, "udp dport 53 drop; udp dport 54 drop")})
		got := mustAttach(t, o)
		if len(got) != 2 || got[0].Ingress != 0 || got[0].Egress != 2 || got[1].Ingress != 1 || got[1].Egress != 2 {
			t.Errorf("got %+v", got)
		}
		checkState(t, "attached", "eth0:clsact eth0:egress net1:clsact net1:ingress net1:egress")
	})
}

// TestWholeTakesOursFromOtherInterfaces: without it several calls see to one interface each.
func TestWholeTakesOursFromOtherInterfaces(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		ethernet(t, "net1", "10.0.1.1/24")
		before := routes(t)
		all := options(t, unfunnelText, funnelText, "net1")
		all.Sets[0].Reserve = true
		mustAttach(t, all)
		eth0 := options(t, unfunnelText, "", "eth0")
		mustAttach(t, eth0)
		const here, there = "eth0:clsact eth0:ingress", " net1:clsact net1:ingress net1:egress sfna sfnb"
		checkState(t, "one interface each", here+there)

		eth0.Whole, eth0.Directions = true, []rules.Direction{rules.Ingress}
		mustAttach(t, eth0)
		checkState(t, "only ingress", here+" net1:clsact net1:egress sfna sfnb")
		eth0.Directions = nil
		got := mustAttach(t, eth0)
		checkState(t, "the whole", here+" net1:clsact")
		if len(got) != 2 || got[0].Name != "eth0" || got[1].Name != "net1" || got[1].Ingress+got[1].Egress != 0 || got[1].RemembersFlows {
			t.Errorf("got %+v", got)
		}
		if after := routes(t); !slices.Equal(after, before) {
			t.Errorf("routes %v, before %v", after, before)
		}
		if got := mustAttach(t, eth0); len(got) != 1 {
			t.Errorf("again: %+v", got)
		}
	})
}

// ingressQdisc puts the qdisc there that keeps clsact out.
func ingressQdisc(t *testing.T, l netlink.Link) {
	t.Helper()
	must(t, netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}))
}

func TestAFailureHalfWayLeavesNothing(t *testing.T) {
	newNamespace(t)
	withoutTCX(t)
	ethernet(t, "eth0", "10.0.0.1/24")
	blocked := ethernet(t, "net1", "10.0.1.1/24")
	ingressQdisc(t, blocked)
	for interfaces, want := range map[string]string{
		"":              `attach net1: an "ingress" qdisc is in the way of clsact; replace it by clsact, which can do the same and more`,
		"eth0 net1":     `attach net1: an "ingress" qdisc is in the way of clsact; replace it by clsact, which can do the same and more`,
		"eth0 absent0":  "no interface absent0 (there are: lo, eth0p, eth0, net1p, net1)",
		"eth0 net1 lo0": "no interface lo0 (there are: lo, eth0p, eth0, net1p, net1)",
	} {
		_, err := Attach(context.Background(), options(t, unfunnelText, funnelText, interfaces))
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v", interfaces, err)
		}
		checkState(t, interfaces, "net1:ingress-qdisc")
	}
}

// TestAFailureWhileAttachingIsUndone lets the last step fail, when programs are in
// place already.
func TestAFailureWhileAttachingIsUndone(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		taken := ethernet(t, "net1", "10.0.1.1/24")
		left := fill(t, taken, Egress)
		_, err := Attach(context.Background(), options(t, unfunnelText, funnelText, ""))
		if err == nil || !strings.Contains(err.Error(), "attach net1: egress: the egress hook has ") {
			t.Errorf("got %v", err)
		}
		checkState(t, "undone", left)
	})
}

func TestAFailureWhileReplacingPutsTheOldProgramsBack(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		mustAttach(t, options(t, unfunnelText, funnelText, ""))
		before, err := List(Where{})
		must(t, err)
		taken := ethernet(t, "net1", "10.0.1.1/24")
		left := fill(t, taken, Egress)
		if _, err := Attach(context.Background(), options(t, "udp dport 7 drop", funnelText+"; udp drop", "")); err == nil {
			t.Error("no error")
		}
		checkState(t, "undone", "eth0:clsact eth0:ingress eth0:egress sfna sfnb"+left)
		after, err := List(Where{})
		must(t, err)
		for i := range before {
			if before[i].Name != after[i].Name || before[i].Program != after[i].Program {
				t.Errorf("was %+v, is %+v", before[i], after[i])
			}
		}
	})
}

// TestWhatStaysKeepsItsDevice: the programs before are gone when something fails, so that
// the new ones stay. They send packets to the segmenting device, which those had none of.
func TestWhatStaysKeepsItsDevice(t *testing.T) {
	tcxInterface(t) // filters are put back
	mustAttach(t, options(t, "udp dport 7 drop", "udp dport 7 drop", ""))
	o := options(t, unfunnelText, funnelText, "")
	targets, err := o.targets(context.Background())
	must(t, err)
	js, err := o.prepare(targets, compilerOf(o))
	defer js.close()
	must(t, err)
	must(t, js.attach())
	if err := js.undo(); !errors.Is(err, errStays) {
		t.Errorf("undone: %v", err)
	}
	checkState(t, "what stays", "eth0:clsact eth0:ingress eth0:egress sfna sfnb")
	mustAttach(t, o)
	checkState(t, "attached again", "eth0:clsact eth0:ingress eth0:egress sfna sfnb")
}

func TestDetachRemovesOnlyOurs(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		l := ethernet(t, "eth0", "10.0.0.1/24")
		ethernet(t, "net1", "10.0.1.1/24")
		mustAttach(t, options(t, unfunnelText, funnelText, ""))
		foreignFilter(t, l, Ingress, 1, 1)
		foreignFilter(t, l, Egress, 9, 1)
		must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: func() netlink.LinkAttrs { a := netlink.NewLinkAttrs(); a.Name = "sfnx"; return a }()}))
		gone, err := Detach(Where{Interfaces: []string{"eth0"}})
		must(t, err)
		if len(gone) != 2 || gone[0].Interface != "eth0" || gone[0].Name.Hook != Egress || gone[1].Name.Hook != Ingress {
			t.Errorf("gone: %+v", gone)
		}
		checkState(t, "eth0 only", "eth0:clsact eth0:foreign eth0:foreign net1:clsact net1:ingress net1:egress sfna sfnb")
		_, err = Detach(Where{})
		must(t, err)
		checkState(t, "all", "eth0:clsact eth0:foreign eth0:foreign")
		mustLink(t, "sfnx")
		if gone, err := Detach(Where{}); err != nil || len(gone) != 0 {
			t.Errorf("a second time: %v, %v", gone, err)
		}
		var absent *MissingError
		if _, err := Detach(Where{Interfaces: []string{"absent0"}}); !errors.As(err, &absent) {
			t.Errorf("a missing interface: %v", err)
		}
	})
}

func TestDetachRemovesDevicesOfInterfacesThatAreGone(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		l := ethernet(t, "eth0", "10.0.0.1/24")
		mustAttach(t, options(t, "", funnelText, ""))
		must(t, netlink.LinkDel(l))
		checkState(t, "interface gone", "sfna sfnb")
		_, err := Detach(Where{})
		must(t, err)
		checkState(t, "detached", "")
	})
}

func TestInterfacesThatComeLateAreWaitedFor(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		o := options(t, unfunnelText, "", "late0")
		o.Attempts, o.Delay = 3, time.Millisecond
		looks := 0
		o.Waiting = func(*MissingError) {
			if looks++; looks == 2 {
				ethernet(t, "late0", "")
			}
		}
		mustAttach(t, o)
		checkState(t, "attached", "late0:clsact late0:ingress")
		looks = 0
		o.Sets[0].Interfaces = []string{"never0"}
		o.Waiting = func(*MissingError) { looks++ }
		if _, err := Attach(context.Background(), o); err == nil || looks != 2 {
			t.Errorf("%v after %d waits", err, looks)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		o.Delay = time.Hour
		if _, err := Attach(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestReplyTakesBothHooks: answers come to the other one, and may need the
// segmenting device.
func TestReplyTakesBothHooks(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		ethernet(t, "eth0", "10.0.0.1/24")
		const backend = "tcp dport 179 pushed unfunnel udp dport 53 reply"
		o := options(t, backend, "", "")
		o.Directions = []rules.Direction{rules.Ingress}
		if _, err := Attach(context.Background(), o); err == nil || !strings.Contains(err.Error(), "attach both directions") {
			t.Errorf("one direction: %v", err)
		}
		checkState(t, "refused", "")
		mustAttach(t, options(t, backend, "", ""))
		if device, err := findSegmentDevice(mustLink(t, "eth0").Attrs().Index); err != nil || device == nil {
			t.Errorf("segmenting device: %v, %v", device, err)
		}
	})
}

func TestProgramsDieWithTheirNamespace(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		testnet.RequireRoot(t)
		var ids []uint32
		t.Run("in a namespace", func(t *testing.T) {
			newNamespace(t)
			ethernet(t, "eth0", "10.0.0.1/24")
			mustAttach(t, options(t, unfunnelText, funnelText, ""))
			found, err := List(Where{})
			must(t, err)
			for _, a := range found {
				ids = append(ids, a.Program)
			}
		})
		if len(ids) != 3 {
			t.Fatalf("programs %v", ids)
		}
		deadline := time.Now().Add(20 * time.Second)
		for _, id := range ids {
			for alive(id) {
				if time.Now().After(deadline) {
					t.Fatalf("program %d outlives its namespace", id)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	})
}

func alive(id uint32) bool {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	p.Close()
	return true
}

// TestInlineTakesBothHooks: answers come to the hook that has no rules, and its
// program goes with the rules that needed it.
func TestInlineTakesBothHooks(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		for name, o := range map[string]func(*testing.T) Options{
			"client":  func(t *testing.T) Options { return options(t, "", "tcp dport 443 funnel tcp dport 80 inline", "") },
			"backend": func(t *testing.T) Options { return options(t, "tcp dport 80 unfunnel tcp inline dport 443", "", "") },
		} {
			t.Run(name, func(t *testing.T) {
				newNamespace(t)
				ethernet(t, "eth0", "10.0.0.1/24")
				restricted := o(t)
				restricted.Directions = []rules.Direction{rules.Egress}
				if name == "backend" {
					restricted.Directions[0] = rules.Ingress
				}
				if _, err := Attach(context.Background(), restricted); err == nil || !strings.Contains(err.Error(), "attach both directions") {
					t.Errorf("one direction: %v", err)
				}
				checkState(t, "refused", "")
				mustAttach(t, o(t))
				checkState(t, "attached", "eth0:clsact eth0:ingress eth0:egress")
				mustAttach(t, options(t, "tcp dport 1 drop", "", ""))
				checkState(t, "other rules", "eth0:clsact eth0:ingress")
			})
		}
	})
}

// TestAFlowThatBeginsWhileProgramsLoadIsKept: its table held none when it was asked, and was
// to be made anew in another size.
func TestAFlowThatBeginsWhileProgramsLoadIsKept(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		neighbour(t, ethernet(t, "eth0", "10.0.0.1/24"), "10.0.0.2")
		o := options(t, "", "tcp dport 443 funnel tcp dport 80 inline", "")
		mustAttach(t, o)
		o.Flows = 100
		targets, err := o.targets(t.Context())
		must(t, err)
		js, err := o.prepare(targets, compilerOf(o))
		defer js.close()
		must(t, err)

		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		if _, err := new(net.Dialer).DialContext(ctx, "tcp4", "10.0.0.2:443"); err == nil {
			t.Fatal("somebody answered")
		}
		must(t, js.attach())
		attached, err := js.describe()
		must(t, err)
		if !attached[0].KeptFlows || attached[0].FlowEntries != 2*datapath.DefaultFlows+1 {
			t.Errorf("got %+v", attached[0])
		}
	})
}
