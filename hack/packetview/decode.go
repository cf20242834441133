// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The IP protocols that are told apart.
const (
	tcp = 6
	udp = 17
)

// The magic of a pushed TCP header: its sequence and acknowledgement numbers.
const (
	pushedSequence        = 0xcafebabe
	pushedAcknowledgement = 0xbabecafe
)

// header is one layer of a packet.
type header struct {
	text  string // what its fields say
	bytes []byte
}

// carries reports whether an IPv4 packet is a UDP datagram to the port, pushed
// behind a TCP header or not.
func carries(packet []byte, port uint16) bool {
	layers := dissect(packet)
	return len(layers) > 1 && strings.HasSuffix(layers[len(layers)-2].text, fmt.Sprintf("> %d", port)) &&
		strings.HasPrefix(layers[len(layers)-2].text, "UDP")
}

// describe returns a packet as lines of text: its headers, then their bytes.
func describe(packet []byte) []string {
	var texts, bytes []string
	for _, h := range dissect(packet) {
		texts = append(texts, h.text)
		bytes = append(bytes, shortHex(h.bytes))
	}
	return []string{strings.Join(texts, " | "), strings.Join(bytes, " | ")}
}

// dissect splits an IPv4 packet into its headers and, at the end, its payload.
func dissect(packet []byte) []header {
	if len(packet) < 20 || packet[0] < 0x45 || packet[0] > 0x4f || int(packet[0]&15)*4 > len(packet) {
		return []header{{"not IPv4", packet}}
	}
	length, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if total >= length && total < len(packet) {
		packet = packet[:total] // the rest pads a short frame
	}
	from, _ := netip.AddrFromSlice(packet[12:16])
	to, _ := netip.AddrFromSlice(packet[16:20])
	ip := header{fmt.Sprintf("IP %s > %s, %d bytes", from, to, total), packet[:length]}
	return append([]header{ip}, transport(packet[9], packet[length:])...)
}

func transport(protocol byte, b []byte) []header {
	switch {
	case protocol == udp && len(b) >= 8:
		return []header{{"UDP " + ports(b), b[:8]}, {quote(b[8:]), b[8:]}}
	case protocol == tcp && len(b) >= 20:
		return tcpHeader(b)
	}
	return []header{{"protocol " + strconv.Itoa(int(protocol)), b}}
}

// tcpHeader takes what follows a pushed header for a UDP datagram.
func tcpHeader(b []byte) []header {
	sequence, acknowledgement := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if sequence == pushedSequence && acknowledgement == pushedAcknowledgement {
		text := fmt.Sprintf("TCP %s SYN, seq %#x, ack %#x", ports(b), sequence, acknowledgement)
		return append([]header{{text, b[:20]}}, transport(udp, b[20:])...)
	}
	return []header{{"TCP " + ports(b), b[:20]}, {quote(b[20:]), b[20:]}}
}

// ports prints the first four bytes of a TCP or UDP header.
func ports(b []byte) string {
	return fmt.Sprintf("%d > %d", binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]))
}

// quote prints bytes as text in quotes.
func quote(b []byte) string {
	return strconv.QuoteToASCII(string(b))
}

// shortHex prints bytes in hexadecimal, the middle of long ones left out.
func shortHex(b []byte) string {
	if len(b) > 24 {
		return hex.EncodeToString(b[:12]) + "…" + hex.EncodeToString(b[len(b)-4:])
	}
	return hex.EncodeToString(b)
}
