// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"strconv"

	"github.com/sfunnel-io/funnel-operator/bpf"
)

// Reason is what became of a packet and why. The programs count every packet
// under exactly one; the numbers are those of enum reason in bpf/count.h.
type Reason uint32

// The reasons for leaving a packet untouched.
const (
	NoMatch       = Reason(bpf.IngressReasonREASON_NO_MATCH)
	Accepted      = Reason(bpf.IngressReasonREASON_ACCEPTED)
	FromSegment   = Reason(bpf.IngressReasonREASON_FROM_SEGMENT)
	NotIP         = Reason(bpf.IngressReasonREASON_NOT_IP)
	VLAN          = Reason(bpf.IngressReasonREASON_VLAN)
	OtherProtocol = Reason(bpf.IngressReasonREASON_OTHER_PROTOCOL)
	IPsec         = Reason(bpf.IngressReasonREASON_IPSEC)
	Fragment      = Reason(bpf.IngressReasonREASON_FRAGMENT)
	Short         = Reason(bpf.IngressReasonREASON_SHORT)
	BadVersion    = Reason(bpf.IngressReasonREASON_BAD_VERSION)
	BadIHL        = Reason(bpf.IngressReasonREASON_BAD_IHL)
	BadLength     = Reason(bpf.IngressReasonREASON_BAD_LENGTH)
	Extension     = Reason(bpf.IngressReasonREASON_EXTENSION)
	NotClaimed    = Reason(bpf.IngressReasonREASON_NOT_CLAIMED)
	Unmarked      = Reason(bpf.IngressReasonREASON_UNMARKED)
	Direct        = Reason(bpf.IngressReasonREASON_DIRECT)
	ErrorShort    = Reason(bpf.IngressReasonREASON_ERROR_SHORT)
)

// What is rewritten, or on the way to be.
const (
	Funneled      = Reason(bpf.IngressReasonREASON_FUNNELED)
	Unfunneled    = Reason(bpf.IngressReasonREASON_UNFUNNELED)
	ToSegment     = Reason(bpf.IngressReasonREASON_TO_SEGMENT)
	PassedSegment = Reason(bpf.IngressReasonREASON_PASSED_SEGMENT)
	Urgent        = Reason(bpf.IngressReasonREASON_URGENT)
	NotKept       = Reason(bpf.IngressReasonREASON_NOT_KEPT)
	MarkerMissing = Reason(bpf.IngressReasonREASON_MARKER_MISSING)

	ErrorTranslated = Reason(bpf.IngressReasonREASON_ERROR_TRANSLATED)
)

// The reasons for dropping a packet.
const (
	Dropped        = Reason(bpf.IngressReasonREASON_DROPPED)
	TooBig         = Reason(bpf.IngressReasonREASON_TOO_BIG)
	TooBigAnswered = Reason(bpf.IngressReasonREASON_TOO_BIG_ANSWERED)
	NoSegment      = Reason(bpf.IngressReasonREASON_NO_SEGMENT)
	NotPushed      = Reason(bpf.IngressReasonREASON_NOT_PUSHED)
	InnerShort     = Reason(bpf.IngressReasonREASON_INNER_SHORT)
	InnerLength    = Reason(bpf.IngressReasonREASON_INNER_LENGTH)
	InnerPort      = Reason(bpf.IngressReasonREASON_INNER_PORT)
	Merged         = Reason(bpf.IngressReasonREASON_MERGED)
	Stray          = Reason(bpf.IngressReasonREASON_STRAY)
	TupleClash     = Reason(bpf.IngressReasonREASON_TUPLE_CLASH)
	FlowsFull      = Reason(bpf.IngressReasonREASON_FLOWS_FULL)
	NoPort         = Reason(bpf.IngressReasonREASON_NO_PORT)
	Failed         = Reason(bpf.IngressReasonREASON_FAILED)
)

const (
	firstReason = NoMatch
	reasonCount = Reason(bpf.IngressReasonREASON_COUNT)
)

var reasonWords = map[Reason]struct{ name, words string }{
	NoMatch:       {"no_match", "no rule matches"},
	Accepted:      {"accepted", "a rule accepts it"},
	FromSegment:   {"from_segment", "comes back from the segmenting device"},
	NotIP:         {"not_ip", "not IP"},
	VLAN:          {"vlan", "VLAN-tagged"},
	OtherProtocol: {"other_protocol", "neither TCP nor UDP"},
	IPsec:         {"ipsec", "AH or ESP"},
	Fragment:      {"fragment", "fragment"},
	Short:         {"short", "ends before its headers do"},
	BadVersion:    {"bad_version", "IP version is not what the Ethertype says"},
	BadIHL:        {"bad_ihl", "IPv4 header length below 5 words"},
	BadLength:     {"bad_length", "a length field contradicts the packet"},
	Extension:     {"extension", "IPv6 extension headers that a rule can't rewrite behind"},
	NotClaimed:    {"not_claimed", "of a connection that is older than the inline rule"},
	Unmarked:      {"unmarked", "ordinary segment for a through port"},
	Direct:        {"direct", "of a direct connection to a through port"},
	ErrorShort:    {"error_short", "ICMP error that quotes too little to tell what it is about"},

	Funneled:      {"funneled", "funneled"},
	Unfunneled:    {"unfunneled", "unfunneled"},
	ToSegment:     {"to_segment", "handed to the segmenting device"},
	PassedSegment: {"passed_segment", "segmented, but no rule funnels it any more"},
	Urgent:        {"urgent", "funneled inline, its URG flag was cleared"},
	NotKept:       {"not_kept", "unfunneled, but the flow table is full"},
	MarkerMissing: {"marker_missing", "answer to a funneled flow without the marker, made a reset"},

	ErrorTranslated: {"error_translated", "ICMP error about what was funneled or unfunneled, its quote put right"},

	Dropped:        {"dropped", "a rule drops it"},
	TooBig:         {"too_big", "does not fit the MTU with the pushed header"},
	TooBigAnswered: {"too_big_answered", "does not fit the MTU with the pushed header, and the sender was told so"},
	NoSegment:      {"no_segment", "needs the segmenting device, which this direction does not have"},
	NotPushed:      {"not_pushed", "the outer header is not a pushed one"},
	InnerShort:     {"inner_short", "ends before the inner header does"},
	InnerLength:    {"inner_length", "an inner length field contradicts the packet"},
	InnerPort:      {"inner_port", "the rule does not accept the inner destination port"},
	Merged:         {"merged", "pushed packets that were merged on the way"},
	Stray:          {"stray", "on the segmenting device without having been sent there"},
	TupleClash:     {"tuple_clash", "a funneled flow and another one look the same to this host"},
	FlowsFull:      {"flows_full", "new flow, but the flow table is full"},
	NoPort:         {"no_port", "new flow, but no source port is free for it"},
	Failed:         {"failed", "the kernel refused a change to the packet"},
}

// Reasons returns all reasons in the order of their numbers.
func Reasons() []Reason {
	var all []Reason
	for r := firstReason; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the reason's name, which does not change: "no_match".
func (r Reason) String() string {
	if w, ok := reasonWords[r]; ok {
		return w.name
	}
	return "reason(" + strconv.Itoa(int(r)) + ")"
}

// Words says the same to a person: "no rule matches".
func (r Reason) Words() string {
	if w, ok := reasonWords[r]; ok {
		return w.words
	}
	return r.String()
}

// Drops reports whether a packet with this reason was dropped.
func (r Reason) Drops() bool {
	return r >= Dropped && r <= Failed
}
