// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"net"
	"testing"
	"time"
)

func TestTheBinaryIsStatic(t *testing.T) {
	file, err := elf.Open(binary(t))
	must(t, err)
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("needs %v, %v", libraries, err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("needs a dynamic linker")
		}
	}
}

func TestAUDPFlowTravelsAsTCPAndArrivesAsItWas(t *testing.T) {
	client, server := pair(t)
	for h, files := range map[host]map[string]string{
		client: {"exporter/settings": settingsOf("exporter", ""), "exporter/egress.rules": clientRules},
		server: {"ruleset": serverRules},
	} {
		if got := h.attacher(t, "", "--rules", tree(t, files)); got.code != exitDone {
			t.Fatalf("%s: %v", h.name, got)
		}
	}
	var sender, receiver *net.UDPConn
	server.inside(t, func() (err error) {
		receiver, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(server.address), Port: 2055})
		return err
	})
	defer receiver.Close()
	client.inside(t, func() (err error) {
		sender, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(server.address), Port: 2055})
		return err
	})
	defer sender.Close()
	buffer := make([]byte, 2000)
	sizes := []int{0, 1, 2, 3, 11, 64, 511, 512, 1400, 1451, 1452}
	for _, size := range sizes {
		want := bytes.Repeat([]byte{byte(size), 0xff, 0x00}, size/3+1)[:size]
		_, err := sender.Write(want)
		must(t, err)
		must(t, receiver.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, from, err := receiver.ReadFromUDP(buffer)
		if err != nil || !bytes.Equal(buffer[:n], want) || from.String() != sender.LocalAddr().String() {
			t.Fatalf("%d bytes: received %d from %v, %v", size, n, from, err)
		}
	}
	for h, want := range map[host]string{client: "funneled", server: "unfunneled"} {
		if got := h.counted(t, want); got != uint64(len(sizes)) {
			t.Errorf("%s: %d packets %s, want %d", h.name, got, want, len(sizes))
		}
	}
}

// counted returns how many packets show counts under a reason.
func (h host) counted(t *testing.T, reason string) uint64 {
	t.Helper()
	out := h.attacher(t, "", "show", "-o", "json")
	var programs []shown
	if err := json.Unmarshal([]byte(out.stdout), &programs); err != nil {
		t.Fatalf("%v: %v", err, out)
	}
	n := uint64(0)
	for _, p := range programs {
		for _, r := range p.Reasons {
			if r.Reason == reason {
				n += r.Packets
			}
		}
	}
	return n
}
