// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// newNamespace moves the test into a network namespace of its own, with lo up.
// It ends with the test.
func newNamespace(t testing.TB) {
	t.Helper()
	testnet.RequireRoot(t)
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	own, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Set(before); err != nil {
			t.Errorf("leave namespace: %v", err)
			return // the thread stays locked and ends with the goroutine
		}
		own.Close()
		before.Close()
		runtime.UnlockOSThread()
	})
	up(t, mustLink(t, "lo"))
}

// bothWays runs a test with tcx, where the kernel has it, and without.
func bothWays(t *testing.T, test func(*testing.T)) {
	t.Helper()
	testnet.RequireRoot(t)
	if hasTCX(mustLink(t, "lo")) {
		t.Run("tcx", test)
	}
	t.Run("filters", func(t *testing.T) {
		withoutTCX(t)
		test(t)
	})
}

// withoutTCX does as on a kernel that has none, until the test ends.
func withoutTCX(t *testing.T) {
	withTCX = false
	t.Cleanup(func() { withTCX = true })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustLink(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return l
}

func up(t testing.TB, l netlink.Link) {
	t.Helper()
	must(t, netlink.LinkSetUp(l))
}

// ethernet adds an Ethernet device that is up and ends in "<name>p"; with an
// address unless it is empty.
func ethernet(t testing.TB, name, address string) netlink.Link {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = name
	pair := netlink.NewVeth(a)
	pair.PeerName = name + "p"
	must(t, netlink.LinkAdd(pair))
	l := mustLink(t, name)
	up(t, l)
	up(t, mustLink(t, pair.PeerName))
	if address != "" {
		addAddress(t, l, address)
	}
	return l
}

func addAddress(t testing.TB, l netlink.Link, address string) {
	t.Helper()
	parsed, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, netlink.AddrAdd(l, parsed))
}

// returns is a program that does nothing but return a verdict.
func returns(t testing.TB, verdict int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "verdict", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// foreignFilter puts a filter on a hook that is not ours.
func foreignFilter(t testing.TB, l netlink.Link, h Hook, prio uint16, handle uint32) *netlink.BpfFilter {
	t.Helper()
	_, err := ensureClsact(l)
	must(t, err)
	f := newFilter(l, h, returns(t, -1).FD(), "foreign")
	f.Priority, f.Handle = prio, handle
	must(t, netlink.FilterAdd(f))
	return f
}

// foreignPrograms puts programs of somebody else behind what tcx runs on a hook.
func foreignPrograms(t testing.TB, l netlink.Link, h Hook, count int) {
	t.Helper()
	for range count {
		must(t, link.RawAttachProgram(link.RawAttachProgramOptions{
			Target: l.Attrs().Index, Program: returns(t, -1), Attach: h.tcx(), Anchor: link.Tail(),
		}))
	}
}

// fill makes a hook refuse a program, and returns what checkState finds of that.
func fill(t *testing.T, l netlink.Link, h Hook) string {
	t.Helper()
	if hasTCX(l) {
		foreignPrograms(t, l, h, 63) // BPF_MPROG_MAX less one
		return ""
	}
	foreignFilter(t, l, h, priority, handle)
	name := l.Attrs().Name
	return " " + name + ":clsact " + name + ":foreign"
}

// filterNames returns the names of all filters of a hook, in running order.
func filterNames(t testing.TB, l netlink.Link, h Hook) []string {
	t.Helper()
	filters, err := listFilters(l, h)
	must(t, err)
	names := []string{}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok {
			names = append(names, b.Name)
		} else {
			names = append(names, f.Type())
		}
	}
	return names
}
