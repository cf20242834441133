// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Parsed is what Parse finds in a packet: slices into it.
type Parsed struct {
	Source, Dest         netip.Addr
	Protocol             byte
	SourcePort, DestPort uint16
	Header               []byte // IP header with options
	Segment              []byte // TCP or UDP header and payload
	Payload              []byte // behind the TCP or UDP header
	// Magic tells that the header is the TCP header of a push.
	Magic bool
}

// Parse takes an IP packet with TCP or UDP apart and fails when a length or a
// checksum is wrong. Octets behind the packet are ignored. It knows no IPv6
// extension headers.
func Parse(packet []byte) (Parsed, error) { return parse(packet, Parsed.whole) }

// ParsePartial is Parse for a packet whose checksum is left to a device or a
// later kernel: the field holds the sum of the pseudo header.
func ParsePartial(packet []byte) (Parsed, error) { return parse(packet, Parsed.partial) }

// check judges the checksum of a packet that is otherwise taken apart.
type check func(Parsed) error

func parse(packet []byte, c check) (Parsed, error) {
	if len(packet) >= 40 && packet[0]>>4 == 6 {
		return parseIPv6(packet, c)
	}
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return Parsed{}, errors.New("not IP")
	}
	length := int(packet[0]&15) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if length < 20 || total < length || total > len(packet) {
		return Parsed{}, fmt.Errorf("IP header of %d octets, packet of %d, have %d", length, total, len(packet))
	}
	if got := fold(sum(packet[:length])); got != 0xffff {
		return Parsed{}, fmt.Errorf("IP header sums to %#04x", got)
	}
	p := Parsed{
		Source: netip.AddrFrom4([4]byte(packet[12:16])), Dest: netip.AddrFrom4([4]byte(packet[16:20])),
		Protocol: packet[9], Header: packet[:length],
	}
	err := p.parseSegment(packet[length:total], c)
	return p, err
}

func parseIPv6(packet []byte, c check) (Parsed, error) {
	total := 40 + int(binary.BigEndian.Uint16(packet[4:]))
	if total > len(packet) {
		return Parsed{}, fmt.Errorf("packet of %d, have %d", total, len(packet))
	}
	p := Parsed{
		Source: netip.AddrFrom16([16]byte(packet[8:24])), Dest: netip.AddrFrom16([16]byte(packet[24:40])),
		Protocol: packet[6], Header: packet[:40],
	}
	err := p.parseSegment(packet[40:total], c)
	if err == nil && p.Protocol == UDP && p.Segment[6]|p.Segment[7] == 0 {
		err = errors.New("UDP over IPv6 without checksum")
	}
	return p, err
}

// Inner takes the pushed segment apart, whose checksum is for addresses of 0.
func (p Parsed) Inner(protocol byte) (Parsed, error) {
	inner := Parsed{Source: netip.IPv6Unspecified(), Dest: netip.IPv6Unspecified(), Protocol: protocol}
	err := inner.parseSegment(p.Payload, Parsed.whole)
	return inner, err
}

func (p *Parsed) parseSegment(b []byte, c check) error {
	header, err := segmentHeader(p.Protocol, b)
	if err != nil {
		return err
	}
	p.Segment, p.Payload = b, b[header:]
	p.SourcePort, p.DestPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if p.Protocol == TCP {
		p.Magic = string(b[4:16]) == "\xca\xfe\xba\xbe\xba\xbe\xca\xfe\x50\x02\x04\x00" && b[18] == 0 && b[19] == 0
	}
	return c(*p)
}

func (p Parsed) whole() error {
	if p.Protocol == UDP && p.Segment[6]|p.Segment[7] == 0 {
		return nil
	}
	if got := Sum(p.Source, p.Dest, p.Protocol, p.Segment); got != 0xffff {
		return fmt.Errorf("segment of protocol %d sums to %#04x", p.Protocol, got)
	}
	return nil
}

func (p Parsed) partial() error {
	offset := 16
	if p.Protocol == UDP {
		offset = 6
	}
	got, want := binary.BigEndian.Uint16(p.Segment[offset:]), pseudoSum(p.Source, p.Dest, p.Protocol, len(p.Segment))
	if got != fold(want) {
		return fmt.Errorf("checksum field of protocol %d holds %#04x, the pseudo header sums to %#04x", p.Protocol, got, fold(want))
	}
	return nil
}

// segmentHeader returns the length of the transport header.
func segmentHeader(protocol byte, b []byte) (int, error) {
	switch {
	case protocol == TCP && len(b) >= 20:
		if length := int(b[12]>>4) * 4; length >= 20 && length <= len(b) {
			return length, nil
		}
	case protocol == UDP && len(b) >= 8:
		if int(binary.BigEndian.Uint16(b[4:])) == len(b) {
			return 8, nil
		}
	}
	return 0, fmt.Errorf("protocol %d with %d octets", protocol, len(b))
}
