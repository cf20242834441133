// SPDX-License-Identifier: Apache-2.0

// Package wire builds and checks packets for tests. It knows the formats and
// checksums on its own, octet by octet, and shares nothing with the programs
// under test.
package wire

import (
	"encoding/binary"
	"net/netip"
)

// IANA protocol numbers.
const (
	ICMP = 1
	TCP  = 6
	UDP  = 17
	ESP  = 50
	AH   = 51

	ICMPv6 = 58
)

// EtherTypes.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeIPv6 = 0x86dd
	EtherTypeVLAN = 0x8100
)

// IPv4 is an IPv4 header without what follows from the payload.
type IPv4 struct {
	TOS      byte
	ID       uint16
	Fragment uint16 // flags and offset, as in the header
	TTL      byte   // 0: 64
	Protocol byte
	Source   netip.Addr
	Dest     netip.Addr
	Options  []byte // a multiple of 4
}

// DF is the don't-fragment flag of IPv4.Fragment, MF more-fragments.
const (
	DF = 0x4000
	MF = 0x2000
)

// Packet returns the IP packet with the payload.
func (h IPv4) Packet(payload []byte) []byte {
	length := 20 + len(h.Options)
	p := make([]byte, length, length+len(payload))
	p[0] = 0x40 | byte(length/4)
	p[1] = h.TOS
	binary.BigEndian.PutUint16(p[2:], uint16(length+len(payload)))
	binary.BigEndian.PutUint16(p[4:], h.ID)
	binary.BigEndian.PutUint16(p[6:], h.Fragment)
	p[8] = h.TTL
	if h.TTL == 0 {
		p[8] = 64
	}
	p[9] = h.Protocol
	copy(p[12:], h.Source.AsSlice())
	copy(p[16:], h.Dest.AsSlice())
	copy(p[20:], h.Options)
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p)))
	return append(p, payload...)
}

// IPv6 is an IPv6 header without what follows from the payload.
type IPv6 struct {
	FlowLabel uint32
	NextHdr   byte
	HopLimit  byte // 0: 64
	Source    netip.Addr
	Dest      netip.Addr
}

// Packet returns the IP packet with the payload, extension headers included.
func (h IPv6) Packet(payload []byte) []byte {
	p := make([]byte, 40, 40+len(payload))
	binary.BigEndian.PutUint32(p, 6<<28|h.FlowLabel)
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	p[6] = h.NextHdr
	p[7] = h.HopLimit
	if h.HopLimit == 0 {
		p[7] = 64
	}
	copy(p[8:], h.Source.AsSlice())
	copy(p[24:], h.Dest.AsSlice())
	return append(p, payload...)
}

// Header is an IP header of either version.
type Header interface {
	Packet(payload []byte) []byte
}

// Ethernet puts an Ethernet header with fixed addresses in front.
func Ethernet(etherType uint16, packet []byte) []byte {
	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	return append(frame, packet...)
}

// Segment is a TCP segment or a UDP datagram.
type Segment struct {
	Protocol     byte
	Source, Dest uint16
	Payload      []byte
	// TCP only.
	Seq, Ack uint32
	Flags    byte
	Window   uint16
	Urgent   uint16
	Options  []byte // a multiple of 4
	// UDP only: send without checksum.
	NoChecksum bool
}

// The flags of TCP that tests use.
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	PSH = 0x08
	ACK = 0x10
	URG = 0x20
)

// Bytes returns the segment with its checksum for these addresses.
func (s Segment) Bytes(source, dest netip.Addr) []byte {
	if s.Protocol == UDP {
		return s.datagram(source, dest)
	}
	length := 20 + len(s.Options)
	b := make([]byte, length, length+len(s.Payload))
	binary.BigEndian.PutUint16(b, s.Source)
	binary.BigEndian.PutUint16(b[2:], s.Dest)
	binary.BigEndian.PutUint32(b[4:], s.Seq)
	binary.BigEndian.PutUint32(b[8:], s.Ack)
	b[12] = byte(length/4) << 4
	b[13] = s.Flags
	binary.BigEndian.PutUint16(b[14:], s.Window)
	binary.BigEndian.PutUint16(b[18:], s.Urgent)
	copy(b[20:], s.Options)
	b = append(b, s.Payload...)
	binary.BigEndian.PutUint16(b[16:], ^Sum(source, dest, TCP, b))
	return b
}

func (s Segment) datagram(source, dest netip.Addr) []byte {
	b := make([]byte, 8, 8+len(s.Payload))
	binary.BigEndian.PutUint16(b, s.Source)
	binary.BigEndian.PutUint16(b[2:], s.Dest)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(s.Payload)))
	b = append(b, s.Payload...)
	if s.NoChecksum {
		return b
	}
	check := ^Sum(source, dest, UDP, b)
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], check)
	return b
}

// Pushed returns what a pushed header makes of a segment: the outer header and
// behind it the segment with its checksum for addresses of 0.
func Pushed(outer byte, outerSource, outerDest uint16, inner Segment, source, dest netip.Addr) []byte {
	zero := netip.IPv4Unspecified()
	if source.Is6() {
		zero = netip.IPv6Unspecified()
	}
	inner.NoChecksum = false
	header := Segment{
		Protocol: outer, Source: outerSource, Dest: outerDest, Payload: inner.Bytes(zero, zero),
		Seq: 0xcafebabe, Ack: 0xbabecafe, Flags: SYN, Window: 1024,
		NoChecksum: source.Is4(),
	}
	return header.Bytes(source, dest)
}

// PacketTooBig is the ICMPv6 message (RFC 4443) about a quoted packet.
func PacketTooBig(source, dest netip.Addr, mtu uint32, quoted []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, mtu)
	m = append(m, quoted...)
	binary.BigEndian.PutUint16(m[2:], ^Sum(source, dest, ICMPv6, m))
	return m
}

// Sum is the folded sum of a segment and its pseudo header: 0xffff when its
// checksum is right.
func Sum(source, dest netip.Addr, protocol byte, segment []byte) uint16 {
	return fold(pseudoSum(source, dest, protocol, len(segment)) + sum(segment))
}

func pseudoSum(source, dest netip.Addr, protocol byte, length int) uint64 {
	pseudo := append(source.AsSlice(), dest.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(length))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	return sum(pseudo)
}

// sum adds the 16-bit words of b, an odd last octet padded with 0.
func sum(b []byte) uint64 {
	var s uint64
	for i, octet := range b {
		if i%2 == 0 {
			s += uint64(octet) << 8
		} else {
			s += uint64(octet)
		}
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// FragmentationNeeded is the ICMP message (RFC 1191) about a quoted packet.
func FragmentationNeeded(mtu uint16, quoted []byte) []byte {
	m := []byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	m = append(m, quoted...)
	binary.BigEndian.PutUint16(m[2:], ^fold(sum(m)))
	return m
}

// ICMPError is an ICMP or ICMPv6 error about a quoted packet; rest is the second
// half of its header. The addresses are those of the error itself.
func ICMPError(source, dest netip.Addr, kind, code byte, rest uint32, quoted []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, rest)
	m = append(m, quoted...)
	if source.Is6() {
		binary.BigEndian.PutUint16(m[2:], ^Sum(source, dest, ICMPv6, m))
	} else {
		binary.BigEndian.PutUint16(m[2:], ^fold(sum(m)))
	}
	return m
}
