/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the loader tells the programs: constants of the interface, and one
 * action per rule.
 */
#ifndef FUNNEL_CONFIG_H
#define FUNNEL_CONFIG_H

#include "kernel.h"

/* Octets before the IP header: ETH_HLEN, or 0 on a layer 3 device. */
volatile const __u32 l2_len = ETH_HLEN;
/* The interface the rules are for. */
volatile const __u32 ifindex;
/* The ends of the segmenting device, 0 without one. */
volatile const __u32 segment_a;
volatile const __u32 segment_b;
/* Whether rules of this hook push a header, and whether some take one off. */
volatile const bool pushes;
volatile const bool unfunnels;
/* How long a source port of a range is used before the next one, in units of 2^10 ns. */
#define SOURCE_PORT_SHIFT 10
volatile const __u32 source_port_slot = 30000000000ULL >> SOURCE_PORT_SHIFT;

/*
 * Rules that remember no flow have programs that are compiled without all that.
 * The verifier would find out as well, and take twice as long.
 */
#ifdef WITHOUT_FLOWS
#define FLOW_CONSTANT static const
#else
#define FLOW_CONSTANT volatile const
#endif

/*
 * Whether the programs of the interface remember flows; whether some flow's
 * entry may be for packets of this hook; whether rules of this hook funnel, or
 * unfunnel, inline; whether those of the other hook unfunnel inline, so that
 * answers come here.
 */
FLOW_CONSTANT bool knows_flows;
FLOW_CONSTANT bool follows_flows;
FLOW_CONSTANT bool funnels_inline;
FLOW_CONSTANT bool unfunnels_inline;
FLOW_CONSTANT bool answers_inline;
/*
 * Push with replies in kind: whether rules of this hook unfunnel with reply;
 * whether those of the other hook do, or funnel with reply, so that answers come
 * here to be funneled, or to be unfunneled; whether there is any such rule.
 */
FLOW_CONSTANT bool notes_replies;
FLOW_CONSTANT bool funnels_replies;
FLOW_CONSTANT bool unfunnels_replies;
FLOW_CONSTANT bool knows_replies;
/* The source ports of funneled flows: two ranges, the sum of their counts. */
volatile const __u16 exchange_low;
volatile const __u16 exchange_high;
volatile const __u32 exchange_low_count;
volatile const __u32 exchange_high_count;
volatile const __u32 exchange_count = 1;

/*
 * Which rules these are, in what outlives them: below 2^20 - 1, and another
 * number than that of the rules before, whose flows the table still holds.
 */
volatile const __u32 rules_generation;

enum verb {
	VERB_ACCEPT,
	VERB_DROP,
	VERB_FUNNEL,
	VERB_UNFUNNEL,
	VERB_FUNNEL_INLINE,
	VERB_UNFUNNEL_INLINE,
};

struct action {
	__u8 verb;
	__u8 protocol;		/* outer of a funnel, inner of an unfunnel */
	__be16 port;		/* funnel: outer destination port, the through port */
	__u16 first_source_port; /* funnel: outer source ports, host order */
	__u16 source_ports;	/* how many, at least 1 */
	__u8 reply;		/* push: whether answers are in kind */
	__u8 pad[3];
};
_Static_assert(sizeof(struct action) == 12, "struct action is shared with Go");

/* One entry per rule; the loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct action);
} actions SEC(".maps");

/* A bit for each port that rules of this hook funnel through inline. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} through_ports SEC(".maps");

/* A header that rules of the other hook push. ICMP errors that come here may quote it. */
struct pushed_header {
	__u8 outer;		/* protocol */
	__u8 inner;
	__be16 port;		/* the through port */
	__u16 first_source_port; /* host order */
	__u16 source_ports;	/* how many */
};
_Static_assert(sizeof(struct pushed_header) == 8, "struct pushed_header is shared with Go");

volatile const __u32 pushed_headers_count;

/* The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct pushed_header);
} pushed_headers SEC(".maps");

/* The action of a rule that classify found; NULL if it found none. */
static __always_inline struct action *action_of(int rule)
{
	__u32 key = rule;

	return rule < 0 ? NULL : bpf_map_lookup_elem(&actions, &key);
}

#endif
