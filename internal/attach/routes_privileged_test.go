// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func ip(t *testing.T, args string) string {
	t.Helper()
	text, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, text)
	}
	return string(text)
}

var countdown = regexp.MustCompile(`expires \d+sec`)

// routes lists all routes of both families but those of table local.
func routes(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, family := range []string{"-4", "-6"} {
		for _, line := range strings.Split(ip(t, family+" -d route show table all"), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "table local") {
				all = append(all, family+" "+countdown.ReplaceAllString(line, "expires N"))
			}
		}
	}
	slices.Sort(all)
	return all
}

// routedDevice has routes of all kinds, of which one is smaller already.
func routedDevice(t *testing.T) {
	t.Helper()
	newNamespace(t)
	ethernet(t, "eth0", "10.0.0.1/24")
	ethernet(t, "net1", "10.9.0.1/24")
	ip(t, "addr add 2001:db8::1/64 dev eth0 nodad")
	for _, route := range []string{
		"route add default via 10.0.0.254 dev eth0 proto static metric 50 src 10.0.0.1 advmss 1400 initcwnd 20",
		"route add 10.1.0.0/16 via 10.0.0.253 dev eth0 table 100 mtu 1400",
		"route add 10.2.0.0/16 nexthop via 10.0.0.253 dev eth0 weight 2 nexthop via 10.9.0.254 dev net1",
		"route add 10.3.0.0/16 via 10.9.0.254 dev net1",
		"route add 10.4.0.0/16 via 10.0.0.253 dev eth0 mtu 9000 rtt 30ms",
		"route add blackhole 10.5.0.0/16",
		"-6 route add default via 2001:db8::2 dev eth0 metric 7 pref high",
		"-6 route add 2001:db8:1::/48 via 2001:db8::2 dev eth0 expires 600",
		"nexthop add id 7 via 10.0.0.253 dev eth0",
		"route add 10.6.0.0/16 nhid 7",
	} {
		ip(t, route)
	}
	settle(t)
}

// settle waits until the addresses that the kernel makes by itself have their
// routes.
func settle(t *testing.T) {
	t.Helper()
	for before, n := routes(t), 0; n < 10; n++ {
		time.Sleep(100 * time.Millisecond)
		now := routes(t)
		if !slices.Equal(before, now) {
			before, n = now, 0
		}
	}
}

var mtuOfRoute = regexp.MustCompile(` mtu \d+`)

func TestReserveMakesRoomOnRoutesAndGivesItBack(t *testing.T) {
	routedDevice(t)
	before := routes(t)
	o := options(t, "", funnelText, "eth0")
	o.Sets[0].Reserve = true
	attached := mustAttach(t, o)
	if attached[0].Overhead != 20 || attached[0].Headroom != 20 {
		t.Errorf("got %+v", attached[0])
	}
	reserved := routes(t)
	for _, r := range reserved {
		through := strings.Contains(r, "dev eth0") && !strings.Contains(r, "multicast") && !strings.Contains(r, "fe80::/64") || strings.Contains(r, "10.2.0.0/16") || strings.Contains(r, "via 10.0.0.253")
		want := ""
		switch {
		case strings.Contains(r, "10.1.0.0/16"):
			want = " mtu 1400"
		case through:
			want = " mtu 1480"
		}
		if got := mtuOfRoute.FindString(r); got != want && !strings.HasPrefix(r, "-4 nexthop") && !strings.Contains(r, "nh_info") {
			t.Errorf("%s: want%s", r, want)
		}
	}
	mustAttach(t, o)
	if again := routes(t); !slices.Equal(again, reserved) {
		t.Errorf("a second time:\n%s", difference(reserved, again))
	}
	without := func(list []string) (out []string) {
		for _, r := range list {
			if !strings.Contains(r, "mtu 9000") && !strings.Contains(r, "10.4.0.0/16") {
				out = append(out, r)
			}
		}
		return out
	}
	o.Sets[0].Reserve = false
	mustAttach(t, o)
	if back := routes(t); !slices.Equal(without(back), without(before)) {
		t.Errorf("attached without Reserve:\n%s", difference(before, back))
	}
	o.Sets[0].Reserve = true
	mustAttach(t, o)
	_, err := Detach(Where{})
	must(t, err)
	if back := routes(t); !slices.Equal(without(back), without(before)) {
		t.Errorf("detached:\n%s", difference(before, back))
	}
}

// TestHeadroomOfAnInterfaceWithIPv6Alone, before and after room is reserved.
func TestHeadroomOfAnInterfaceWithIPv6Alone(t *testing.T) {
	newNamespace(t)
	ethernet(t, "eth0", "")
	ip(t, "addr add 2001:db8::1/64 dev eth0 nodad")
	ip(t, "-6 route add default via 2001:db8::2 dev eth0")
	o := options(t, "", funnelText, "eth0")
	for _, reserve := range []bool{false, true} {
		o.Sets[0].Reserve = reserve
		want := 0
		if reserve {
			want = 20
		}
		if attached := mustAttach(t, o); attached[0].Overhead != 20 || attached[0].Headroom != want {
			t.Errorf("reserve %v: got %+v", reserve, attached[0])
		}
	}
}

// The kernel would replace the first of the two, whichever is meant.
func TestRoutesOfOneDestinationAreLeftAlone(t *testing.T) {
	routedDevice(t)
	ip(t, "route add 10.7.0.0/16 via 10.9.0.254 dev net1")
	ip(t, "route append 10.7.0.0/16 via 10.0.0.253 dev eth0")
	o := options(t, "", funnelText, "eth0")
	o.Sets[0].Reserve = true
	if attached := mustAttach(t, o); attached[0].Headroom != 0 {
		t.Errorf("got %+v", attached[0])
	}
	for _, r := range routes(t) {
		if strings.Contains(r, "10.7.0.0/16") && strings.Contains(r, "mtu") {
			t.Errorf("changed: %s", r)
		}
	}
}

func TestAFailureGivesRoutesTheirMTUBack(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		routedDevice(t)
		fill(t, mustLink(t, "eth0"), Egress)
		before := routes(t)
		o := options(t, "", funnelText, "eth0")
		o.Sets[0].Reserve = true
		if _, err := Attach(t.Context(), o); err == nil {
			t.Fatal("a hook that is full took a program")
		}
		if back := routes(t); !slices.Equal(back, before) {
			t.Errorf("got\n%s", difference(before, back))
		}
	})
}

// difference lists what only one of two lists has.
func difference(before, after []string) string {
	var out []string
	for _, r := range before {
		if !slices.Contains(after, r) {
			out = append(out, "- "+r)
		}
	}
	for _, r := range after {
		if !slices.Contains(before, r) {
			out = append(out, "+ "+r)
		}
	}
	return strings.Join(out, "\n")
}

func TestTheMTUOfARouteWithRoomReserved(t *testing.T) {
	for _, c := range []struct {
		reservation
		device    int
		family    uint8
		mtu, want int
	}{
		{reservation{0, 20}, 1500, unix.AF_INET, 0, 1480},
		{reservation{0, 20}, 1500, unix.AF_INET, 1500, 1480},
		{reservation{0, 20}, 1500, unix.AF_INET, 1400, 1400},
		{reservation{20, 8}, 1500, unix.AF_INET, 1480, 1492},
		{reservation{20, 20}, 1500, unix.AF_INET, 1480, 1480},
		{reservation{20, 0}, 1500, unix.AF_INET, 1480, 0},
		{reservation{20, 0}, 1500, unix.AF_INET, 1479, 1479},
		{reservation{8, 20}, 1500, unix.AF_INET, 1400, 1400},
		{reservation{0, 20}, 1290, unix.AF_INET6, 0, 0},
		{reservation{0, 20}, 1290, unix.AF_INET, 0, 1270},
		{reservation{0, 20}, 1300, unix.AF_INET6, 0, 1280},
	} {
		if got := c.reservation.mtu(c.device, c.family, c.mtu); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
