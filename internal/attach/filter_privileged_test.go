// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

var (
	oldName = Name{Hook: Ingress, Version: "v1", Digest: "0a"}
	newName = Name{Hook: Ingress, Version: "v2", Digest: "0b"}
)

func TestPutTwiceIsOneFilter(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	_, err := ensureClsact(l)
	must(t, err)
	for _, n := range []Name{oldName, newName, newName} {
		_, err := putFilter(l, returns(t, -1), n)
		must(t, err)
		if got := filterNames(t, l, Ingress); !slices.Equal(got, []string{n.String()}) {
			t.Errorf("filters %q", got)
		}
	}
	if got := filterNames(t, l, Egress); len(got) != 0 {
		t.Errorf("egress has %q", got)
	}
}

func TestUndoOfReplacePutsTheOldProgramBack(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	_, err := ensureClsact(l)
	must(t, err)
	removeFirst, err := putFilter(l, returns(t, -1), oldName)
	must(t, err)
	before, err := ownAt(l, Ingress)
	must(t, err)
	back, err := putFilter(l, returns(t, 2), newName)
	must(t, err)
	must(t, back.back())
	after, err := ownAt(l, Ingress)
	must(t, err)
	if after == nil || after.Id != before.Id || after.Name != oldName.String() {
		t.Errorf("program %+v, was %+v", after, before)
	}
	must(t, removeFirst.back())
	must(t, removeFirst.back())
	if got := filterNames(t, l, Ingress); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestOthersFiltersStay(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	foreignFilter(t, l, Ingress, 1, 1)
	foreignFilter(t, l, Ingress, 7, 1)
	_, err := putFilter(l, returns(t, -1), oldName)
	must(t, err)
	if got, want := filterNames(t, l, Ingress), []string{oldName.String(), "foreign", "foreign"}; !slices.Equal(got, want) {
		t.Errorf("filters %q, want %q", got, want)
	}
	removed, err := removeOwn(l, Ingress)
	if err != nil || !slices.Equal(removed, []Name{oldName}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if got := filterNames(t, l, Ingress); !slices.Equal(got, []string{"foreign", "foreign"}) {
		t.Errorf("left: %q", got)
	}
}

func TestOurHandleInOtherHandsIsAnError(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	foreignFilter(t, l, Ingress, priority, handle)
	_, err := putFilter(l, returns(t, -1), oldName)
	if err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("got %v", err)
	}
}

func TestOurPriorityInOtherHandsIsNamed(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	_, err := ensureClsact(l)
	must(t, err)
	f := newFilter(l, Ingress, returns(t, -1).FD(), "foreign")
	f.Handle, f.Protocol, f.Chain = 1, unix.ETH_P_IP, new(uint32(5))
	must(t, netlink.FilterAdd(f))
	if _, err := putFilter(l, returns(t, -1), oldName); err != nil {
		t.Errorf("beside a filter of another chain: %v", err)
	}
	_, err = removeOwn(l, Ingress)
	must(t, err)
	f.Chain = nil
	must(t, netlink.FilterAdd(f))
	_, err = putFilter(l, returns(t, -1), oldName)
	if err == nil || !strings.Contains(err.Error(), "bpf filter, priority 1, handle 0x1 (foreign), protocol 0x0800") {
		t.Errorf("got %v", err)
	}
}

func TestAnIngressQdiscIsNamed(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	must(t, netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}))
	if _, err := ensureClsact(l); !errors.Is(err, errIngressQdisc) {
		t.Errorf("got %v", err)
	}
}

func TestUndoOfClsactSparesOthersFilters(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	back, err := ensureClsact(l)
	must(t, err)
	f := foreignFilter(t, l, Egress, 3, 1)
	must(t, back())
	if there, err := checkQdiscs(l); !there || err != nil {
		t.Errorf("the qdisc is gone with somebody's filter: %v", err)
	}
	must(t, netlink.FilterDel(f))
	must(t, back())
	if there, err := checkQdiscs(l); there || err != nil {
		t.Errorf("the qdisc stays: %v", err)
	}
	if again, err := ensureClsact(l); again == nil || err != nil {
		t.Errorf("a second time: %v", err)
	}
	if again, err := ensureClsact(l); again != nil || err != nil {
		t.Errorf("one that was there is to be undone: %v", err)
	}
}

func TestInFrontNamesWhatRunsBefore(t *testing.T) {
	newNamespace(t)
	l := ethernet(t, "eth0", "")
	_, err := ensureClsact(l)
	must(t, err)
	_, err = putFilter(l, returns(t, -1), oldName)
	must(t, err)
	foreignFilter(t, l, Ingress, 5, 1)
	if front, err := inFront(l, Ingress); len(front) != 0 || err != nil {
		t.Errorf("a filter behind is in front: %q, %v", front, err)
	}
	foreignFilter(t, l, Ingress, 1, 9)
	want := []string{"bpf filter, priority 1, handle 0x9 (foreign)"}
	tcx, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: returns(t, -1), Attach: ebpf.AttachTCXIngress})
	if !errors.Is(err, ebpf.ErrNotSupported) { // kernels before 6.6 have no tcx
		must(t, err)
		defer tcx.Close()
		info, err := tcx.Info()
		must(t, err)
		want = append([]string{fmt.Sprintf("tcx program %d (verdict)", info.Program)}, want...)
	}
	front, err := inFront(l, Ingress)
	if err != nil || !slices.Equal(front, want) {
		t.Errorf("in front: %q, %v, want %q", front, err, want)
	}
	if front, err := inFront(l, Egress); len(front) != 0 || err != nil {
		t.Errorf("egress: %q, %v", front, err)
	}
}

func TestInNamespaceLeavesThisOneAlone(t *testing.T) {
	testnet.RequireRoot(t)
	outside := exec.Command("sleep", "60") // started here, it is not in the new namespace
	must(t, outside.Start())
	t.Cleanup(func() { _ = outside.Process.Kill(); _ = outside.Wait() })
	newNamespace(t)
	ethernet(t, "here0", "")
	self, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, err)
	must(t, inNamespace(strconv.Itoa(outside.Process.Pid), func() error {
		other, err := os.Readlink("/proc/thread-self/ns/net")
		if other == self || err != nil {
			t.Errorf("still in %s, %v", other, err)
		}
		return nil
	}))
	mustLink(t, "here0")
	err = inNamespace("absent-namespace", func() error { return nil })
	if err == nil || !strings.Contains(err.Error(), "network namespace absent-namespace: open /run/netns/absent-namespace") {
		t.Errorf("got %v", err)
	}
}
