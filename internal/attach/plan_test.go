// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The devices of the cases: eth0 and net1 are default interfaces, and there is
// one of each kind that is not.
var (
	lo     = device{index: 1, name: "lo", up: true, loopback: true, addressed: true}
	eth0   = device{index: 2, name: "eth0", up: true, addressed: true, aliases: []string{"enp3s0"}}
	net1   = device{index: 3, name: "net1", up: true, addressed: true}
	down   = device{index: 4, name: "down0", addressed: true}
	bare   = device{index: 5, name: "bare0", up: true}
	bond   = device{index: 6, name: "bond0", up: true, addressed: true}
	slave  = device{index: 7, name: "slave0", up: true, addressed: true, master: 6}
	vlan   = device{index: 8, name: "vlan5", up: true, addressed: true, lower: 6}
	sfn    = device{index: 9, name: "sfn2a", up: true, addressed: true}
	plain1 = []device{lo, eth0, net1, down, bare, slave, sfn}
)

func mustRules(t *testing.T, text string) rules.RuleSet {
	t.Helper()
	rs, err := rules.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// set is rules that can be told apart by their ingress port; interfaces are
// separated by spaces.
func set(t *testing.T, interfaces, port string) Set {
	return Set{Interfaces: strings.Fields(interfaces), Ingress: mustRules(t, "tcp dport "+port+" drop")}
}

func TestPlanMergesRulesPerInterface(t *testing.T) {
	for name, c := range map[string]struct {
		devices []device
		sets    []Set
		want    string // per target its name and the ports of its rules, or the error
	}{
		"default interfaces":             {plain1, []Set{set(t, "", "1")}, "eth0:1 net1:1"},
		"one named":                      {plain1, []Set{set(t, "net1", "1")}, "net1:1"},
		"named by another name":          {plain1, []Set{set(t, "enp3s0", "1")}, "eth0:1"},
		"named and default, in order":    {plain1, []Set{set(t, "net1", "1"), set(t, "", "2"), set(t, "eth0 net1", "3")}, "eth0:2,3 net1:1,2,3"},
		"named though not default":       {plain1, []Set{set(t, "lo down0 bare0 slave0", "1")}, "lo:1 down0:1 bare0:1 slave0:1"},
		"no default set on a named one":  {plain1, []Set{set(t, "lo", "1"), set(t, "", "2")}, "lo:1 eth0:2 net1:2"},
		"missing":                        {plain1, []Set{set(t, "eth1 eth0 eth1", "1")}, "no interface eth1 (there are: lo, eth0, net1, down0, bare0, slave0, sfn2a)"},
		"none by default":                {[]device{lo, bare}, []Set{set(t, "", "1")}, "no interface to attach to: none but loopback is up, has an address, is not enslaved and has packets that begin with an Ethernet or IP header (there are: lo, bare0)"},
		"ours":                           {plain1, []Set{set(t, "sfn2a", "1")}, "interface sfn2a is a segmenting device of ours and takes no rules"},
		"enslaved with its master":       {[]device{bond, slave}, []Set{set(t, "bond0 slave0", "1")}, "interface slave0 lies below bond0: packets would meet the rules twice; name one of them"},
		"below the lower device":         {[]device{bond, slave, vlan}, []Set{set(t, "slave0 vlan5", "1")}, "interface slave0 lies below vlan5: packets would meet the rules twice; name one of them"},
		"lower and upper both default":   {[]device{bond, vlan}, []Set{set(t, "", "1")}, "interface bond0 lies below vlan5: packets would meet the rules twice; name one of them"},
		"upper only":                     {[]device{bond, slave, vlan}, []Set{set(t, "vlan5", "1")}, "vlan5:1"},
		"nothing to attach, nothing bad": {plain1, nil, ""},
	} {
		targets, err := plan(c.devices, c.sets)
		if got := show(targets, err); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

func TestTheLargestRoomForFlowsWins(t *testing.T) {
	on := func(name string, flows int) Set { return Set{Flows: flows, Interfaces: []string{name}} }
	for name, c := range map[string]struct {
		flows int
		sets  []Set
		want  int // of eth0
	}{
		"the largest":                      {0, []Set{{Flows: 10}, on("eth0", 30), {Flows: 20}}, 30},
		"of another interface":             {0, []Set{{Flows: 10}, on("net1", 30)}, 10},
		"one without a say":                {0, []Set{on("eth0", 0), on("eth0", 64)}, datapath.DefaultFlows},
		"one without, others have more":    {0, []Set{on("eth0", 10000), on("eth0", 0)}, 10000},
		"one without on another interface": {0, []Set{on("net1", 0), on("eth0", 64)}, 64},
		"none has a say":                   {0, []Set{on("eth0", 0)}, datapath.DefaultFlows},
		"options for those without":        {100, []Set{on("eth0", 0), on("eth0", 64)}, 100},
		"options only for those":           {100, []Set{on("eth0", 64)}, 64},
	} {
		targets, err := plan(plain1, Options{Flows: c.flows, Sets: c.sets}.sized())
		if err != nil || targets[0].name != "eth0" || targets[0].flows != c.want {
			t.Errorf("%s: got %+v, %v", name, targets, err)
		}
	}
}

func show(targets []target, err error) string {
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, t := range targets {
		var ports []string
		for _, r := range t.ingress {
			ports = append(ports, r.DestinationPorts.Ranges[0].String())
		}
		out = append(out, t.name+":"+strings.Join(ports, ","))
	}
	return strings.Join(out, " ")
}

func TestOnlyMissingInterfacesAreWorthWaitingFor(t *testing.T) {
	var absent *MissingError
	if _, err := plan(plain1, []Set{set(t, "eth9", "1")}); !errors.As(err, &absent) {
		t.Errorf("a missing interface: %v", err)
	}
	bridged := []device{{name: "lo", index: 1, loopback: true}, {name: "port", index: 2, up: true}}
	if _, err := plan(bridged, []Set{set(t, "port", "1"), {}}); !errors.As(err, &absent) || len(absent.Names) > 0 {
		t.Errorf("no interface for one of two: %v", err)
	}
	if _, err := plan(plain1, []Set{set(t, "sfn2a", "1")}); err == nil || errors.As(err, &absent) {
		t.Errorf("one of ours: %v", err)
	}
}

func TestLowerDevicesInThisNamespaceOnly(t *testing.T) {
	attrs := func(parent, ns int) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.ParentIndex, a.NetNsID = parent, ns
		return a
	}
	for name, c := range map[string]struct {
		link netlink.Link
		want int
	}{
		"macvlan":                 {&netlink.Macvlan{LinkAttrs: attrs(4, -1)}, 4},
		"vlan":                    {&netlink.Vlan{LinkAttrs: attrs(4, -1)}, 4},
		"ipvlan of the host":      {&netlink.IPVlan{LinkAttrs: attrs(4, 0)}, 0},
		"veth and its peer":       {&netlink.Veth{LinkAttrs: attrs(4, -1)}, 0},
		"tunnel over a device":    {&netlink.Vxlan{LinkAttrs: attrs(4, -1)}, 0},
		"nothing below a wire":    {&netlink.Device{LinkAttrs: attrs(0, -1)}, 0},
		"wireguard, no hardware":  {&netlink.Wireguard{LinkAttrs: attrs(0, -1)}, 0},
		"bridge, ports enslaved":  {&netlink.Bridge{LinkAttrs: attrs(0, -1)}, 0},
		"bond, members enslaved":  {netlink.NewLinkBond(attrs(0, -1)), 0},
		"macvtap like a macvlan":  {&netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs(4, -1)}}, 4},
		"dummy has nothing below": {&netlink.Dummy{LinkAttrs: attrs(0, -1)}, 0},
	} {
		if got := lowerOf(c.link); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestPacketsMustBeginWithAHeaderThatIsKnown: IP over InfiniBand, among others, has one of its own.
func TestPacketsMustBeginWithAHeaderThatIsKnown(t *testing.T) {
	type link = netlink.Link
	of := func(kind string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: "net2", EncapType: kind} }
	remote := func(kind, address string) link {
		return &netlink.Gretun{LinkAttrs: of(kind), Remote: net.ParseIP(address)}
	}
	refused := func(kind string) string {
		return "interface net2 can't take rules: its packets begin with a header of type " + kind + "; an Ethernet or IP header is expected"
	}
	const taken = "net2:1"
	for name, c := range map[string]struct {
		link  link
		named string // what becomes of rules that name it
	}{
		"Ethernet":                  {&netlink.Device{LinkAttrs: of("ether")}, taken},
		"WireGuard, tun":            {&netlink.Wireguard{LinkAttrs: of("none")}, taken},
		"PPP":                       {&netlink.GenericLink{LinkAttrs: of("ppp")}, taken},
		"IP in IP":                  {&netlink.Iptun{LinkAttrs: of("ipip")}, taken},
		"IP in IPv6":                {&netlink.Ip6tnl{LinkAttrs: of("tunnel6")}, taken},
		"IPv6 in IP":                {&netlink.Sittun{LinkAttrs: of("sit")}, taken},
		"raw IP of a modem":         {&netlink.GenericLink{LinkAttrs: of("unknown519")}, taken},
		"GRE":                       {remote("gre", "192.0.2.1"), taken},
		"GRE, IPv6":                 {remote("unknown823", "2001:db8::1"), taken},
		"GRE, flows say the remote": {&netlink.Gretun{LinkAttrs: of("gre"), Remote: net.IPv4zero, FlowBased: true}, taken},
		"GRE to many":               {remote("gre", "0.0.0.0"), refused("GRE")},
		"GRE to many, IPv6":         {remote("unknown823", "::"), refused("GRE")},
		"GRE to a group":            {remote("gre", "239.0.0.1"), refused("GRE")},
		"IP over InfiniBand":        {&netlink.IPoIB{LinkAttrs: of("infiniband")}, refused("infiniband")},
		"FireWire":                  {&netlink.GenericLink{LinkAttrs: of("ieee1394")}, refused("ieee1394")},
	} {
		d := describe(c.link)
		d.index, d.up, d.addressed = 4, true, true
		if got := show(plan([]device{lo, eth0, d}, []Set{set(t, "net2", "1")})); got != c.named {
			t.Errorf("%s, named:\ngot  %s\nwant %s", name, got, c.named)
		}
		unnamed := "eth0:1"
		if c.named == taken {
			unnamed += " " + taken
		}
		if got := show(plan([]device{lo, eth0, d}, []Set{set(t, "", "1")})); got != unnamed {
			t.Errorf("%s, not named: got %s, want %s", name, got, unnamed)
		}
	}
}

// TestWhatArrivesMustPassTheIngressHook: it does not where an ipvlan is in mode l3s.
func TestWhatArrivesMustPassTheIngressHook(t *testing.T) {
	of := func(l netlink.Link) device {
		d := describe(l)
		d.index, d.name, d.up, d.addressed = 2, "eth0", true, true
		return d
	}
	const refused = "interface eth0 is an ipvlan in mode l3s: what arrives does not pass its ingress hook, as the rules need; use mode l3, or name other interfaces"
	l3s := of(&netlink.IPVlan{Mode: netlink.IPVLAN_MODE_L3S})
	egress := func(text string) Set { return Set{Egress: mustRules(t, text)} }
	for name, c := range map[string]struct {
		device device
		set    Set
		want   string
	}{
		"an ingress rule":        {l3s, set(t, "", "1"), refused},
		"an ingress rule, named": {l3s, set(t, "eth0", "1"), refused},
		"ipvtap":                 {of(&netlink.IPVtap{IPVlan: netlink.IPVlan{Mode: netlink.IPVLAN_MODE_L3S}}), set(t, "", "1"), refused},
		"inline, answers arrive": {l3s, egress("tcp dport 443 funnel tcp dport 80 inline"), refused},
		"answers in kind arrive": {l3s, egress("udp dport 443 funnel tcp dport 80 sport 540 reply"), refused},
		"only out":               {l3s, egress("udp dport 443 funnel tcp dport 80 sport 540"), "eth0:"},
		"mode l3":                {of(&netlink.IPVlan{Mode: netlink.IPVLAN_MODE_L3}), set(t, "", "1"), "eth0:1"},
		"mode l2":                {of(&netlink.IPVlan{Mode: netlink.IPVLAN_MODE_L2}), set(t, "", "1"), "eth0:1"},
		"macvlan":                {of(&netlink.Macvlan{}), set(t, "", "1"), "eth0:1"},
	} {
		targets, err := plan([]device{lo, c.device}, []Set{c.set})
		if got := show(targets, err); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

func TestAddressesThatAnInterfaceGivesItselfDoNotCount(t *testing.T) {
	for address, want := range map[string]bool{
		"10.0.0.1": true, "169.254.1.1": true, "2001:db8::1": true, "fd00::1": true, "fe80::1": false,
	} {
		if got := assigned(net.ParseIP(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestSegmentNamesRoundTrip(t *testing.T) {
	for _, index := range []int{1, 2, 17, 1<<31 - 1} {
		for _, end := range []byte{'a', 'b'} {
			name := segmentName(index, end)
			gotIndex, gotEnd, ok := parseSegmentName(name)
			if !ok || gotIndex != index || gotEnd != end || len(name) > 15 {
				t.Errorf("%s: %d %c %v", name, gotIndex, gotEnd, ok)
			}
		}
	}
	for _, name := range []string{"", "sfn", "sfna", "sfn0a", "sfn-1a", "sfn01a", "sfn1", "sfn1c", "eth0", "sfn1aa"} {
		if _, _, ok := parseSegmentName(name); ok {
			t.Errorf("%q is taken for ours", name)
		}
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for _, want := range []Name{
		{Hook: Ingress, Version: "v0.1.0", Digest: "0f343b0931126a20"}, {Hook: Egress}, {Hook: Segment, Version: "devel", Digest: "x"},
		{Hook: Ingress, Digest: "d", Flows: unfunnelsFlows}, {Hook: Egress, Digest: "d", Flows: keepsFlows, Generation: 1<<20 - 2, Reserved: 20},
		{Hook: Egress, Digest: "d", Reserved: 8},
	} {
		if got, ok := parseName(want.String()); !ok || got != want {
			t.Errorf("%s: %+v %v", want, got, ok)
		}
	}
	long := Name{Ingress, strings.Repeat("v/ ", 400), strings.Repeat("d", 900), unfunnelsFlows, 1<<20 - 2, 20}
	if s := long.String(); len(s) > 255 {
		t.Errorf("%d bytes", len(s))
	} else if got, ok := parseName(s); !ok || got.Hook != Ingress {
		t.Errorf("%s: %+v %v", s, got, ok)
	}
	for _, s := range []string{"", "sfunnel", "sfunnel/ingress/v1", "sfunnel/other/v1/d", "xsfunnel/ingress/v1/d", "sfunnel/ingress/v1/d/e", "sfunnel/ingress/v1/d/flows", "sfunnel/ingress/v1/d/flows-1/x", "sfunnel/egress/v1/d/reserved-8/flows-1", "sfunnel/egress/v1/d/flows-1/flows-1", "tc_sfunnel.o:[funnel]"} {
		if n, ok := parseName(s); ok {
			t.Errorf("%q is taken for ours: %+v", s, n)
		}
	}
}

func TestDigestIsThatOfTheMeaning(t *testing.T) {
	a := Digest(mustRules(t, "ip udp dport 53 actions drop # comment"))
	if b := Digest(mustRules(t, "ip udp dport 53-53 drop;")); a != b || len(a) != 16 {
		t.Errorf("%s and %s", a, b)
	}
	if c := Digest(mustRules(t, "ip udp dport 54 drop")); a == c {
		t.Errorf("another rule set has the same digest %s", c)
	}
}

func TestUndoRunsBackwardsAndGoesOn(t *testing.T) {
	var order []string
	step := func(name string, err error) func() error {
		return func() error { order = append(order, name); return err }
	}
	var u undo
	u.add(step("qdisc", nil))
	u.add(nil)
	u.add(step("device", fmt.Errorf("device stays")))
	u.add(step("filter", fmt.Errorf("filter stays")))
	err := u.run()
	if got := strings.Join(order, " "); got != "filter device qdisc" {
		t.Errorf("order: %s", got)
	}
	if err == nil || err.Error() != "filter stays\ndevice stays" {
		t.Errorf("error: %v", err)
	}
	if err := u.run(); err != nil || len(order) != 3 {
		t.Errorf("a second time: %v, %v", order, err)
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("sfunnel/ingress/v0.1.0/0f343b0931126a20")
	f.Add("sfunnel/segment//")
	f.Add("sfunnel/egress/v1/d/flows-7")
	f.Add("tc_sfunnel.o:[funnel]")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseName(s)
		if !ok {
			return
		}
		printed := n.String()
		again, ok := parseName(printed)
		if !ok || again.Hook != n.Hook || again.String() != printed || len(printed) > 255 {
			t.Errorf("%q is %+v, printed %q, read %+v %v", s, n, printed, again, ok)
		}
	})
}
