// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

const (
	inlineClient = "tcp dport 8080 funnel tcp dport 179 inline\n"
	inlineServer = "tcp dport 179 unfunnel tcp inline dport 8080\n"
	otherRule    = "udp dport 53 drop\n"
)

// inlineHosts are two hosts, the server with an echo on port 8080. What arrives
// at its port 179 is an error.
func inlineHosts(t *testing.T) (client, server host) {
	t.Helper()
	client, server = pair(t)
	serveInline(t, server)
	return client, server
}

func serveInline(t *testing.T, server host) {
	t.Helper()
	for port, serve := range map[string]func(net.Conn){
		"8080": func(c net.Conn) { _, _ = io.Copy(c, c); c.Close() },
		"179":  func(c net.Conn) { t.Errorf("a connection to the wrong port from %v", c.RemoteAddr()); c.Close() },
	} {
		var l net.Listener
		server.inside(t, func() (err error) {
			l, err = net.Listen("tcp", net.JoinHostPort(server.address, port))
			return err
		})
		t.Cleanup(func() { l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go serve(c)
			}
		}()
	}
}

// bothFamilies runs a test with two hosts over IPv4 and with two over IPv6.
func bothFamilies(t *testing.T, test func(t *testing.T, client, server host)) {
	t.Run("IPv4", func(t *testing.T) {
		client, server := pair(t)
		test(t, client, server)
	})
	t.Run("IPv6", func(t *testing.T) {
		client, server := pair(t)
		client.address, server.address = "fd00::1", "fd00::2"
		for _, h := range []host{client, server} {
			sh(t, "ip -n %s addr add %s/64 dev eth0 nodad", h.name, h.address)
		}
		test(t, client, server)
	})
}

// dial connects to the funneled port and makes sure that it answers.
func (h host) dial(t *testing.T, to host) net.Conn {
	t.Helper()
	var c net.Conn
	h.inside(t, func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(to.address, "8080"), 10*time.Second)
		return err
	})
	t.Cleanup(func() { c.Close() })
	must(t, ask(c, "hello"))
	return c
}

// ask sends a text and waits for its echo.
func ask(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("got %q back, sent %q", got, text)
	}
	return nil
}

// put attaches rules from within this process.
func (h host) put(t *testing.T, ingress, egress string, change func(*attach.Options)) []attach.Attached {
	t.Helper()
	set := attach.Set{Interfaces: []string{"eth0"}}
	for text, rs := range map[string]*rules.RuleSet{"i" + ingress: &set.Ingress, "e" + egress: &set.Egress} {
		parsed, err := rules.Parse(text[1:])
		must(t, err)
		*rs = parsed
	}
	o := attach.Options{Netns: h.name, Sets: []attach.Set{set}, Attempts: 1}
	if change != nil {
		change(&o)
	}
	attached, err := attach.Attach(context.Background(), o)
	must(t, err)
	return attached
}

// ruleCounts returns the packets that each rule of a direction counted.
func (h host) ruleCounts(t *testing.T, hook attach.Hook) []uint64 {
	t.Helper()
	counts := []uint64{}
	for _, r := range h.counters(t, hook).Rules {
		counts = append(counts, r.Packets)
	}
	return counts
}

// counters are those of the program on a hook.
func (h host) counters(t *testing.T, hook attach.Hook) datapath.Counters {
	t.Helper()
	list, err := attach.List(attach.Where{Netns: h.name})
	must(t, err)
	for _, a := range list {
		if a.Name.Hook == hook {
			c, err := datapath.AttachedCounters(ebpf.ProgramID(a.Program))
			must(t, err)
			return c
		}
	}
	t.Fatalf("%s has no %s program", h.name, hook)
	return datapath.Counters{}
}

// TestConnectionsOutliveUpdates talks all the time while the rules of both sides
// are replaced, also by such that funnel nothing any more.
func TestConnectionsOutliveUpdates(t *testing.T) {
	bothFamilies(t, connectionsOutliveUpdates)
}

func connectionsOutliveUpdates(t *testing.T, client, server host) {
	serveInline(t, server)
	variants := []struct{ client, server string }{
		{inlineClient, inlineServer}, {otherRule + inlineClient, otherRule + inlineServer},
		{inlineClient, inlineServer}, {otherRule, otherRule}, {"", ""},
	}
	client.put(t, "", inlineClient, nil)
	server.put(t, inlineServer, "", nil)
	var talking sync.WaitGroup
	var stop atomic.Bool
	var words atomic.Uint64
	for range 10 {
		c := client.dial(t, server)
		talking.Go(func() {
			for n := 0; !stop.Load() || n < 3; n++ {
				if err := ask(c, fmt.Sprintf("%d", n)); err != nil {
					t.Errorf("%v: %v", c.LocalAddr(), err)
					return
				}
				words.Add(1)
			}
		})
	}
	for i := range 25 {
		v := variants[i%len(variants)]
		got := client.put(t, "", v.client, nil)
		server.put(t, v.server, "", nil)
		if !got[0].KeptFlows {
			t.Errorf("update %d kept no flows: %+v", i, got)
		}
	}
	stop.Store(true)
	talking.Wait()
	t.Logf("%d requests during 50 updates", words.Load())
	client.put(t, "", inlineClient, nil)
	server.put(t, inlineServer, "", nil)
	client.dial(t, server)
}

func TestFlowsCountForTheirOwnRuleOnly(t *testing.T) {
	bothFamilies(t, flowsCountForTheirOwnRuleOnly)
}

func flowsCountForTheirOwnRuleOnly(t *testing.T, client, server host) {
	serveInline(t, server)
	client.put(t, "", inlineClient, nil)
	server.put(t, inlineServer, "", nil)
	c := client.dial(t, server)
	for _, x := range []struct {
		before string
		own    bool
	}{{"", true}, {otherRule, false}, {otherRule, false}} {
		client.put(t, "", x.before+inlineClient, nil)
		server.put(t, x.before+inlineServer, "", nil)
		must(t, ask(c, "again"))
		for h, hook := range map[host]attach.Hook{client: attach.Egress, server: attach.Ingress} {
			counts := h.ruleCounts(t, hook)
			if own := counts[0] > 0; own != x.own || len(counts) > 1 && counts[1] > 0 {
				t.Errorf("%q in front: %s counts %v", x.before, h.name, counts)
			}
		}
	}
	client.dial(t, server)
	if counts := client.ruleCounts(t, attach.Egress); counts[0] != 0 || counts[1] == 0 {
		t.Errorf("a new flow counts %v", counts)
	}
}

// dialFrom connects from a port that was used before.
func (h host) dialFrom(ctx context.Context, t *testing.T, port int, to host) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	var dialErr error
	h.inside(t, func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(h.address), Port: port}}
		c, dialErr = d.DialContext(ctx, "tcp", net.JoinHostPort(to.address, "8080"))
		return nil
	})
	return c, dialErr
}

// talkFrom has a connection from a port, that a reset ends.
func (h host) talkFrom(t *testing.T, port int, to host) {
	t.Helper()
	c, err := h.dialFrom(t.Context(), t, port, to)
	must(t, err)
	must(t, ask(c, "hello"))
	must(t, c.(*net.TCPConn).SetLinger(0))
	must(t, c.Close())
}

// TestNewConnectionsObeyNewRules has connections that the flow table could take for those
// before the rules were replaced.
func TestNewConnectionsObeyNewRules(t *testing.T) {
	bothFamilies(t, newConnectionsObeyNewRules)
}

func newConnectionsObeyNewRules(t *testing.T, client, server host) {
	const port = 45000
	serveInline(t, server)
	client.put(t, "", inlineClient, nil)
	server.put(t, inlineServer, "", nil)
	client.talkFrom(t, port, server)

	client.put(t, "", otherRule+inlineClient, nil)
	server.put(t, otherRule+inlineServer, "", nil)
	client.talkFrom(t, port, server)
	for h, hook := range map[host]attach.Hook{client: attach.Egress, server: attach.Ingress} {
		if counts := h.ruleCounts(t, hook); counts[0] != 0 || counts[1] == 0 {
			t.Errorf("%s counts %v for the rule behind another one", h.name, counts)
		}
	}

	client.put(t, "", otherRule, nil)
	client.talkFrom(t, port, server)
	if c := client.counters(t, attach.Egress); c.Reasons[datapath.Funneled] > 0 {
		t.Errorf("%d segments were funneled without a rule", c.Reasons[datapath.Funneled])
	}
	client.put(t, "", inlineClient, nil)
	client.talkFrom(t, port, server)

	server.put(t, strings.ReplaceAll(inlineServer, "8080", "9090"), "", nil)
	ctx, stop := context.WithCancel(t.Context())
	dialed := make(chan error)
	go func() {
		_, err := client.dialFrom(ctx, t, port, server)
		dialed <- err
	}()
	for server.counters(t, attach.Ingress).Reasons[datapath.InnerPort] == 0 {
		select {
		case err := <-dialed:
			t.Fatalf("a port inside that the rules no longer list: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	if err := <-dialed; !errors.Is(err, context.Canceled) && !strings.Contains(fmt.Sprint(err), "canceled") {
		t.Errorf("got %v", err)
	}
}

// TestNewDirectConnectionsObeyNewRules has one to a through port, from a port that a
// funneled flow could have.
func TestNewDirectConnectionsObeyNewRules(t *testing.T) {
	bothFamilies(t, newDirectConnectionsObeyNewRules)
}

func newDirectConnectionsObeyNewRules(t *testing.T, client, server host) {
	const port, direct = 1500, "tcp dport 9090 funnel tcp dport 8080 inline\n"
	serveInline(t, server)
	client.put(t, "", direct, nil)
	for _, rest := range []string{direct, otherRule + direct} {
		client.talkFrom(t, port, server)
		if n := client.counters(t, attach.Egress).Reasons[datapath.Direct]; n == 0 {
			t.Errorf("it has no entry: %v", n)
		}
		client.put(t, "", rest, nil)
	}
	client.talkFrom(t, port, server)
	client.put(t, "", "tcp dport 8080 drop\n"+direct, nil)
	ctx, stop := context.WithCancel(t.Context())
	dialed := make(chan error)
	go func() {
		_, err := client.dialFrom(ctx, t, port, server)
		dialed <- err
	}()
	for client.ruleCounts(t, attach.Egress)[0] == 0 {
		select {
		case err := <-dialed:
			t.Fatalf("not dropped: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	<-dialed
}

func TestWithoutPrivilegeFlowsAreNotBroken(t *testing.T) {
	client, server := inlineHosts(t)
	three := capabilities("bpf net_admin perfmon")
	server.put(t, inlineServer, "", nil)
	root := tree(t, map[string]string{"egress.rules": inlineClient})
	if got := client.attacherWith(t, three, "", "--rules", root); got.code != exitDone {
		t.Fatalf("attach: %v", got)
	}
	c := client.dial(t, server)
	got := client.attacherWith(t, three, "", "--rules", root)
	if got.code != exitFailed || !strings.HasPrefix(got.stderr, "attacher: attach eth0: the ingress program remembers flows") || !strings.Contains(got.stderr, "--drop-flows") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("attach again: %v", got)
	}
	if got := client.programs(t); got != "ingress egress" {
		t.Errorf("attached: %s", got)
	}
	if err := ask(c, "still there"); err != nil {
		t.Errorf("after a refused update: %v", err)
	}
	for _, drop := range []struct{ env, flag string }{{"", "--drop-flows"}, {"SFUNNEL_DROP_FLOWS=1", "--drop-flows=true"}, {"SFUNNEL_DROP_FLOWS=1", "--attempts=1"}} {
		if got := client.attacherWith(t, three, drop.env, "--rules", root, drop.flag); got.code != exitDone {
			t.Errorf("attach with %v: %v", drop, got)
		}
	}
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := c.Write([]byte("anybody there?"))
	if n, readErr := c.Read(make([]byte, 100)); n > 0 {
		t.Errorf("a flow that was given up was answered")
	} else if err = errors.Join(err, readErr); err == nil {
		t.Error("a flow that was given up goes on")
	}
	client.dial(t, server)
}

func TestRulesThatKeepNoFlowsAreReplacedWithoutPrivilege(t *testing.T) {
	client, _ := inlineHosts(t)
	three := capabilities("bpf net_admin perfmon")
	root := tree(t, map[string]string{"egress.rules": clientRules})
	for range 2 {
		if got := client.attacherWith(t, three, "", "--rules", root); got.code != exitDone {
			t.Fatalf("attach: %v", got)
		}
	}
}

func TestATableWithoutFlowsIsMadeAnew(t *testing.T) {
	client, _ := inlineHosts(t)
	sized := func(o *attach.Options) { o.Flows = 100 }
	client.put(t, "", inlineClient, nil)
	if got := client.put(t, "", inlineClient, sized); got[0].KeptFlows || got[0].FlowEntries != 201 {
		t.Errorf("got %+v", got[0])
	}
}

// TestATableWhoseFlowsAreOverIsMadeAnew: entries stay until their places are wanted.
func TestATableWhoseFlowsAreOverIsMadeAnew(t *testing.T) {
	client, server := inlineHosts(t)
	client.put(t, "", inlineClient, nil)
	server.put(t, inlineServer, "", nil)
	client.talkFrom(t, 45000, server)
	for range 500 { // a flow that was reset is over a quarter of a second later
		if got := client.put(t, "", inlineClient, func(o *attach.Options) { o.Flows = 100 }); !got[0].KeptFlows {
			return
		}
	}
	t.Error("the table is kept")
}

func TestATableWithFlowsKeepsItsSize(t *testing.T) {
	client, server := inlineHosts(t)
	sized := func(o *attach.Options) { o.Flows = 100 }
	client.put(t, "", inlineClient, sized)
	server.put(t, inlineServer, "", nil)
	client.dial(t, server)
	if got := client.put(t, "", inlineClient, nil); !got[0].KeptFlows || got[0].FlowEntries != 201 {
		t.Errorf("got %+v", got[0])
	}
	if got := client.put(t, "", inlineClient, func(o *attach.Options) { o.DropFlows = true }); got[0].KeptFlows || got[0].FlowEntries != 2*datapath.DefaultFlows+1 {
		t.Errorf("got %+v", got[0])
	}
}

func TestShowListsFlows(t *testing.T) {
	bothFamilies(t, showListsFlows)
}

func showListsFlows(t *testing.T, client, server host) {
	serveInline(t, server)
	client.put(t, "", inlineClient, nil)
	server.put(t, inlineServer, "", nil)
	c := client.dial(t, server)
	for h, want := range map[host]string{client: "funneled", server: "unfunneled"} {
		out := h.attacher(t, "", "show", "--flows", "-o", "json")
		var programs []shown
		must(t, json.Unmarshal([]byte(out.stdout), &programs))
		if len(programs) != 2 || programs[0].Flows == nil || len(programs[0].Flows.List) != 1 {
			t.Fatalf("%s: %v", h.name, out)
		}
		f := programs[0].Flows.List[0]
		if f.Role != want || f.Client != c.LocalAddr().String() && want == "funneled" || f.Server != c.RemoteAddr().String() ||
			f.Through != 179 || f.State != "open" || f.Idle > 60 {
			t.Errorf("%s: %+v", h.name, f)
		}
		if want == "unfunneled" && f.Client != net.JoinHostPort(client.address, fmt.Sprint(f.SourcePort)) {
			t.Errorf("%s: %+v", h.name, f)
		}
		text := h.attacher(t, "", "show")
		if !strings.Contains(text.stdout, " 1 "+want+",") {
			t.Errorf("%s: %v", h.name, text)
		}
	}
	three := capabilities("bpf net_admin perfmon")
	got := client.attacherWith(t, three, "", "show", "--flows")
	if got.code != exitDone || strings.Contains(got.stdout, "flows:") || !strings.Contains(got.stderr, "needs SYS_ADMIN") {
		t.Errorf("without privilege: %v", got)
	}
}

// TestRepliesInKindOutliveAnUpdate: the side that answers speaks first after the rules
// of both sides were replaced.
func TestRepliesInKindOutliveAnUpdate(t *testing.T) {
	bothFamilies(t, repliesInKindOutliveAnUpdate)
}

func repliesInKindOutliveAnUpdate(t *testing.T, client, server host) {
	variants := []struct{ client, server string }{
		{"udp dport 2055 funnel tcp dport 179 sport 540 reply\n", "tcp dport 179 pushed unfunnel udp dport 2055 reply\n"},
		{otherRule + "udp dport 2055 funnel tcp dport 179 sport 540 reply\n", otherRule + "tcp dport 179 pushed unfunnel udp dport 2055 reply\n"},
	}
	client.put(t, "", variants[0].client, nil)
	server.put(t, variants[0].server, "", nil)
	var here, there net.PacketConn
	server.inside(t, func() (err error) {
		there, err = net.ListenPacket("udp", net.JoinHostPort(server.address, "2055"))
		return err
	})
	defer there.Close()
	client.inside(t, func() (err error) {
		here, err = net.ListenPacket("udp", net.JoinHostPort(client.address, "4000"))
		return err
	})
	defer here.Close()
	_, err := here.WriteTo([]byte("question"), there.LocalAddr())
	must(t, err)
	buffer := make([]byte, 100)
	must(t, there.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, from, err := there.ReadFrom(buffer)
	must(t, err)

	for i := range 3 {
		v := variants[(i+1)%2]
		if got := server.put(t, v.server, "", nil); !got[0].KeptFlows || !got[0].RemembersFlows {
			t.Errorf("server: %+v", got[0])
		}
		if got := client.put(t, "", v.client, nil); !got[0].KeptFlows {
			t.Errorf("client: %+v", got[0])
		}
		_, err = there.WriteTo([]byte("answer"), from)
		must(t, err)
		must(t, here.SetReadDeadline(time.Now().Add(10*time.Second)))
		if n, _, err := here.ReadFrom(buffer); err != nil || string(buffer[:n]) != "answer" {
			t.Fatalf("update %d: %q, %v", i, buffer[:n], err)
		}
		if n := client.counters(t, attach.Ingress).Reasons[datapath.Unfunneled]; n != 1 {
			t.Errorf("update %d: %d answers came in kind, want 1", i, n)
		}
	}
	if got := server.put(t, otherRule, "", nil); got[0].KeptFlows || got[0].RemembersFlows {
		t.Errorf("rules without reply: %+v", got[0])
	}
}
