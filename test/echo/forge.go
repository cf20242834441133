// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// A forgery is what somebody sends who knows the disguise and has no rules of his own: in
// which protocol, and what inside. TCP inside is a SYN; UDP is a question.
type forgery struct {
	outer, inner string // tcp or udp
	inline       bool
	source       int // the first of the ports inside that it sends from: no two share flows
}

var forgeries = map[string]forgery{
	"udp-in-tcp": {outer: "tcp", inner: "udp", source: 50000},
	"tcp-in-tcp": {outer: "tcp", inner: "tcp", source: 50100},
	"tcp-in-udp": {outer: "udp", inner: "tcp", source: 50200},
	"udp-in-udp": {outer: "udp", inner: "udp", source: 50300},
	"inline":     {outer: "tcp", inner: "tcp", source: 50400, inline: true},
}

// The outer source ports that tell TCP from UDP inside.
var forgedSources = map[string]int{"tcp": 541, "udp": 549}

// protocolNumbers are those of IP.
var protocolNumbers = map[string]int{"tcp": 6, "udp": 17}

// rounds is how often each packet is sent: servers may answer in another order than they
// were asked, but none waits for several rounds.
const rounds = 5

// forge sends packets to a host's through port, one for each of the inner ports, in some
// rounds, and returns the ports that answered. Each round goes on until the last of them
// does.
func forge(f forgery, host string, through int, ports []int) (answered []int, err error) {
	to, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return nil, err
	}
	family := "ip6:"
	if to.IP.To4() != nil {
		family = "ip4:"
	}
	conn, err := net.DialIP(family+f.outer, nil, to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	seen := map[int]bool{}
	for round := range rounds {
		if err := f.round(conn, through, f.source+round*len(ports), ports, seen); err != nil {
			return nil, fmt.Errorf("port %d inside %s:%d: %w", ports[len(ports)-1], host, through, err)
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// round sends one packet to each port and notes which answer, until the last one does.
// What is lost is sent again.
func (f forgery) round(conn *net.IPConn, through, source int, ports []int, seen map[int]bool) error {
	from, to := conn.LocalAddr().(*net.IPAddr).IP, conn.RemoteAddr().(*net.IPAddr).IP
	last := source + len(ports) - 1
	var err error
	for range tries {
		for i, port := range ports {
			if _, err := conn.Write(f.packet(from, to, through, port, source+i)); err != nil {
				return err
			}
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		for packet := make([]byte, questionLimit); ; {
			var size int
			if size, _, err = conn.ReadFromIP(packet); err != nil {
				break
			}
			port, asked, ok := f.answeredBy(packet[:size], through)
			if !ok || asked < f.source || asked > last {
				continue // of another connection to the through port
			}
			seen[port] = true
			if asked == last {
				return nil
			}
		}
	}
	return err
}

// packet is one from the outer header on.
func (f forgery) packet(from, to net.IP, through, port, source int) []byte {
	if f.inline {
		segment := tcpHeader(source, through, 1, 0, nil)
		binary.BigEndian.PutUint16(segment[18:], uint16(port))
		return withChecksum("tcp", from, to, segment)
	}
	nowhere := make(net.IP, len(bytesOf(from)))
	inner := withChecksum(f.inner, nowhere, nowhere, f.inside(source, port))
	if f.outer == "udp" {
		return withChecksum("udp", from, to, udpHeader(forgedSources[f.inner], through, inner))
	}
	return withChecksum("tcp", from, to, tcpHeader(forgedSources[f.inner], through, 0xcafebabe, 0xbabecafe, inner))
}

func (f forgery) inside(source, port int) []byte {
	if f.inner == "udp" {
		return udpHeader(source, port, []byte("who are you?\n"))
	}
	return tcpHeader(source, port, 1, 0, nil)
}

// tcpHeader is a SYN with the window that a pushed header has, and what follows it.
func tcpHeader(source, destination int, sequence, acknowledgement uint32, behind []byte) []byte {
	header := binary.BigEndian.AppendUint16(nil, uint16(source))
	header = binary.BigEndian.AppendUint16(header, uint16(destination))
	header = binary.BigEndian.AppendUint32(header, sequence)
	header = binary.BigEndian.AppendUint32(header, acknowledgement)
	header = append(header, 5<<4, 1<<1)
	header = binary.BigEndian.AppendUint16(header, 1024)
	return append(append(header, 0, 0, 0, 0), behind...)
}

func udpHeader(source, destination int, behind []byte) []byte {
	header := binary.BigEndian.AppendUint16(nil, uint16(source))
	header = binary.BigEndian.AppendUint16(header, uint16(destination))
	header = binary.BigEndian.AppendUint16(header, uint16(8+len(behind)))
	return append(append(header, 0, 0), behind...)
}

// withChecksum fills a segment's checksum in (RFC 9293, RFC 768).
func withChecksum(protocol string, from, to net.IP, segment []byte) []byte {
	at := map[string]int{"tcp": 16, "udp": 6}[protocol]
	summed := append(slices.Clone(bytesOf(from)), bytesOf(to)...)
	summed = binary.BigEndian.AppendUint32(summed, uint32(len(segment)))
	summed = binary.BigEndian.AppendUint32(summed, uint32(protocolNumbers[protocol]))
	summed = append(summed, segment...)
	if len(summed)%2 == 1 {
		summed = append(summed, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(summed); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(summed[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	if sum = ^sum & 0xffff; sum == 0 && protocol == "udp" {
		sum = 0xffff // 0 means that there is none
	}
	binary.BigEndian.PutUint16(segment[at:], uint16(sum))
	return segment
}

func bytesOf(address net.IP) net.IP {
	if short := address.To4(); short != nil {
		return short
	}
	return address
}

// answeredBy is the inner port that an answer comes from, a SYN-ACK or a datagram, and the
// one that had asked.
func (f forgery) answeredBy(packet []byte, through int) (port, asked int, ok bool) {
	length := map[string]int{"tcp": 20, "udp": 8}
	size := length[f.outer]
	if !f.inline {
		size += length[f.inner]
	}
	if len(packet) < size || number16(packet) != through {
		return 0, 0, false
	}
	if f.inline {
		return number16(packet[18:]), number16(packet[2:]), isSynAck(packet)
	}
	inner := packet[length[f.outer]:]
	ok = number16(packet[2:]) == forgedSources[f.inner] && (f.inner == "udp" || isSynAck(inner))
	return number16(inner), number16(inner[2:]), ok
}

func number16(octets []byte) int { return int(binary.BigEndian.Uint16(octets)) }

func isSynAck(segment []byte) bool { return segment[13]&0x3f == 0x12 }

// serveForgery forges what a query asks for and tells which inner ports answered.
func serveForgery(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f, known := forgeries[query.Get("kind")]
	through, err := strconv.Atoi(query.Get("through"))
	ports, listErr := numbersIn(query, "port")
	if !known || err != nil || listErr != nil || len(ports) == 0 {
		http.Error(w, "want kind, host, through and port", http.StatusBadRequest)
		return
	}
	answered, err := forge(f, query.Get("host"), through, ports)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	reply(w, answered)
}

func numbersIn(query url.Values, key string) (numbers []int, err error) {
	for _, text := range query[key] {
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}
