// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Packets from 10.0.0.1 to 10.0.0.2 with the payload "hi".
const (
	ipUDP     = "4500001e00004000401126cd0a0000010a000002"
	ipTCP     = "450000320000400040060000" + "0a0000010a000002"
	udp2055   = "9c40" + "0807" + "000a" + "0000"
	pushed    = "021c" + "00b3" + "cafebabe" + "babecafe" + "5002" + "0400" + "0000" + "0000"
	otherTCP  = "021c" + "00b3" + "00000001" + "00000002" + "5010" + "0400" + "0000" + "0000"
	payloadHi = "6869"
)

func packet(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPacketsReadAsTheirHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		packet  []byte
		want    string
		carries bool
	}{
		"UDP":            {packet(t, ipUDP, udp2055, payloadHi), `IP 10.0.0.1 > 10.0.0.2, 30 bytes | UDP 40000 > 2055 | "hi"`, true},
		"padded":         {packet(t, ipUDP, udp2055, payloadHi, "00000000"), `IP 10.0.0.1 > 10.0.0.2, 30 bytes | UDP 40000 > 2055 | "hi"`, true},
		"pushed":         {packet(t, ipTCP, pushed, udp2055, payloadHi), `IP 10.0.0.1 > 10.0.0.2, 50 bytes | TCP 540 > 179 SYN, seq 0xcafebabe, ack 0xbabecafe | UDP 40000 > 2055 | "hi"`, true},
		"TCP, no magic":  {packet(t, ipTCP, otherTCP, udp2055, payloadHi), `IP 10.0.0.1 > 10.0.0.2, 50 bytes | TCP 540 > 179 | "\x9c@\b\a\x00\n\x00\x00hi"`, false},
		"other protocol": {packet(t, "4500001e00004000400126cd0a0000010a000002", payloadHi), `IP 10.0.0.1 > 10.0.0.2, 30 bytes | protocol 1`, false},
		"short":          {packet(t, "45"), `not IPv4`, false},
	} {
		if got := describe(c.packet)[0]; got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
		if got := carries(c.packet, 2055); got != c.carries {
			t.Errorf("%s carries the flow: %v", name, got)
		}
		if carries(c.packet, 55) {
			t.Errorf("%s carries another flow", name)
		}
	}
}

func FuzzDissect(f *testing.F) {
	for _, p := range []string{ipUDP + udp2055 + payloadHi, ipTCP + pushed + udp2055, "45", "40" + ipUDP[2:]} {
		b, _ := hex.DecodeString(p)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all := 0
		for _, h := range dissect(b) {
			all += len(h.bytes)
		}
		if all > len(b) {
			t.Fatalf("%d bytes out of %d", all, len(b))
		}
	})
}
