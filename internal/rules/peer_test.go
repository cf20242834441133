// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"
	"testing"
)

// peers prints what becomes of each flow: "rule: by rules" and, indented,
// mismatches and notes.
func peers(t *testing.T, client, backend Side, m PortMap) string {
	t.Helper()
	var b strings.Builder
	for _, f := range Peers(client, backend, m) {
		sender := map[bool]string{false: "client", true: "backend"}[f.FromBackend]
		fmt.Fprintf(&b, "%s %d by", sender, f.Rule+1)
		for _, j := range f.By {
			fmt.Fprintf(&b, " %d", j+1)
		}
		b.WriteString("\n")
		for _, m := range f.Mismatches {
			fmt.Fprintf(&b, "- %v\n", m)
		}
		for _, n := range f.Notes {
			fmt.Fprintf(&b, "+ %s\n", n)
		}
	}
	return b.String()
}

const push = "udp dport 4739 funnel tcp dport 179 sport 548"

func TestPeersNamesWhatIsNotUndone(t *testing.T) {
	for _, c := range []struct{ name, client, backend, want string }{
		{"by source port", push, "tcp dport 179 sport 548 unfunnel udp dport 4739", "client 1 by 1\n"},
		{"by the mark", push, "tcp dport 179 pushed unfunnel udp dport 4739", "client 1 by 1\n"},
		{"inline", "tcp dport 443 funnel tcp dport 80 inline", "tcp dport 80 unfunnel tcp inline dport 443", "client 1 by 1\n"},
		{"both encapsulations on one port", "tcp dport 443 funnel tcp dport 80 inline",
			"tcp dport 80 pushed unfunnel tcp dport 443; tcp dport 80 unfunnel tcp inline dport 443", "client 1 by 2\n"},
		{"a range of source ports by two rules", "udp dport 53 funnel tcp dport 80 sport 540-547",
			"tcp dport 80 sport 540-543 unfunnel udp; tcp dport 80 sport 544-560 unfunnel udp", "client 1 by 1 2\n"},
		{"nothing there", push, "tcp dport 22 accept", "client 1 by\n- nothing: the other side has no unfunnel rule\n"},
		{"outer protocol", push, "udp dport 179 sport 548 unfunnel udp", "client 1 by 1\n- outer protocol: sent tcp, expected udp\n"},
		{"through port", push, "tcp dport 180 pushed unfunnel udp", "client 1 by 1\n- through port: sent to 179, expected 180\n"},
		{"source port", push, "tcp dport 179 sport 549 unfunnel udp", "client 1 by 1\n- source port: sent from 548, expected 549\n"},
		{"some source ports", "udp dport 53 funnel tcp dport 80 sport 540-547", "tcp dport 80 sport 540-543 unfunnel udp",
			"client 1 by 1\n- source port: sent from 544-547, expected 540-543\n"},
		{"inner protocol", push, "tcp dport 179 pushed unfunnel tcp", "client 1 by 1\n- inner protocol: sent udp, expected tcp\n"},
		{"inner port", push, "tcp dport 179 pushed unfunnel udp dport { 2055, 6343 }", "client 1 by 1\n- inner port: sent 4739, expected { 2055, 6343 }\n"},
		{"every inner port", "ip udp funnel tcp dport 179 sport 548", "tcp dport 179 pushed unfunnel udp dport 53",
			"client 1 by 1\n- inner port: sent { 1-52, 54-65535 }, expected 53\n"},
		{"an earlier rule leaves only what is accepted", "udp dport != 53 accept; udp funnel tcp dport 179 sport 548",
			"tcp dport 179 pushed unfunnel udp dport 53", "client 2 by 1\n"},
		{"never reached", "udp accept; " + push, "", ""},
		{"inline to push", "tcp dport 443 funnel tcp dport 80 inline", "tcp dport 80 pushed unfunnel tcp", "client 1 by 1\n- encapsulation: sent inline, expected push\n"},
		{"push to inline", "tcp dport 443 funnel tcp dport 80 sport 540", "tcp dport 80 unfunnel tcp inline dport 443",
			"client 1 by 1\n- encapsulation: sent push, expected inline\n"},
		{"inline asked for a source port", "tcp dport 443 funnel tcp dport 80 inline", "tcp dport 80 sport 540 unfunnel tcp inline",
			"client 1 by 1\n- source port: sent from 1024-65535, expected 540\n"},
		{"an earlier rule takes it", push, "tcp dport 179 drop; tcp dport 179 pushed unfunnel udp", "client 1 by 1\n- action: sent funneled, the rule says drop\n"},
		{"family", "ip6 daddr fd00::1 udp funnel tcp dport 179 sport 548", "ip tcp dport 179 pushed unfunnel udp", "client 1 by 1\n- address: sent ip6, expected ip\n"},
		{"other sources", "saddr 10.1.0.0/16 " + push, "saddr 10.2.0.0/16 tcp dport 179 pushed unfunnel udp",
			"client 1 by 1\n- address: sent ip saddr 10.1.0.0/16, expected ip saddr 10.2.0.0/16\n"},
		{"some sources", "saddr 10.0.0.0/8 " + push, "saddr 10.2.0.0/16 tcp dport 179 pushed unfunnel udp",
			"client 1 by 1\n- address: no rule takes the rest of ip saddr 10.0.0.0/8\n+ rule 1 takes only what matches ip saddr 10.2.0.0/16\n"},
		{"sources that the client's rules don't tell", push, "saddr 10.2.0.0/16 tcp dport 179 pushed unfunnel udp",
			"client 1 by 1\n+ rule 1 takes only what matches ip saddr 10.2.0.0/16\n"},
		{"a destination is the Service's here, the pod's there", "daddr 10.96.0.1 " + push, "daddr 10.244.0.7 tcp dport 179 pushed unfunnel udp",
			"client 1 by 1\n+ rule 1 takes only what matches ip daddr 10.244.0.7\n"},
		{"no source at all", push, "saddr != 0.0.0.0/0 tcp dport 179 pushed unfunnel udp",
			"client 1 by 1\n- address: sent any address, expected ip saddr != 0.0.0.0/0\n"},
		{"a part is taken", push, "saddr 10.2.0.0/16 tcp dport 179 drop; tcp dport 179 pushed unfunnel udp",
			"client 1 by 2\n+ what matches ip saddr 10.2.0.0/16 goes to rule 1 instead: sent funneled, the rule says drop\n"},
		{"replies on both sides", push + " reply", "tcp dport 179 pushed unfunnel udp reply", "client 1 by 1\n"},
		{"replies not expected", push, "tcp dport 179 pushed unfunnel udp reply",
			"client 1 by 1\n- reply: answers come funneled by rule 1, and nothing undoes them: add reply to the funnel rule\n"},
		{"replies not funneled", push + " reply", "tcp dport 179 pushed unfunnel udp",
			"client 1 by 1\n- reply: answers are expected funneled, and rule 1 lets them go plain: add reply to it\n"},
		{"TCP without replies", "tcp dport 443 funnel tcp dport 80 sport 540", "tcp dport 80 sport 540 unfunnel tcp",
			"client 1 by 1\n+ no side funnels the answers, and a Service translates none that come plain: add reply to both rules\n"},
	} {
		got := peers(t, Side{Egress: mustParse(t, c.client)}, Side{Ingress: mustParse(t, c.backend)}, nil)
		if got != c.want {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestPeersFindsTheFaultOfTheOriginalRuleSets(t *testing.T) {
	got := peers(t, Side{Egress: mustParse(t, podA)}, Side{Ingress: mustParse(t, podB)}, nil)
	if !strings.HasSuffix(got, "client 3 by 2\n- outer protocol: sent udp, expected tcp\n") || strings.Count(got, "- ") != 1 {
		t.Errorf("got\n%s", got)
	}
}

func TestPeersFollowsAServiceBothWays(t *testing.T) {
	client := Side{Egress: mustParse(t, "ip daddr 10.96.0.1 udp dport 443 funnel tcp dport 80 sport 541"),
		Ingress: mustParse(t, "ip saddr 10.96.0.1 tcp sport 80 dport 541 unfunnel udp")}
	backend := Side{Ingress: mustParse(t, "tcp dport 8080 sport 541 unfunnel udp dport 443"),
		Egress: mustParse(t, "udp sport 443 funnel tcp dport 541 sport 8080")}
	note := "+ rule 1 takes only what matches ip saddr 10.96.0.1\n"
	if got, want := peers(t, client, backend, PortMap{{TCP, 80}: 8080}), "client 1 by 1\nbackend 1 by 1\n"+note; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	want := "client 1 by 1\n- through port: sent to 80, expected 8080\nbackend 1 by 1\n- source port: sent from 8080, expected 80\n"
	if got := peers(t, client, backend, nil); got != want {
		t.Errorf("without the map: got\n%swant\n%s", got, want)
	}
	backend.Egress = nil
	if got := peers(t, client, backend, PortMap{{TCP, 80}: 8080}); !strings.Contains(got, "- reply: answers are expected funneled") {
		t.Errorf("without the backend's egress: got\n%s", got)
	}
}
