/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Counters, and the one list of what can become of a packet. Every packet that
 * enters a program is counted under exactly one reason.
 */
#ifndef FUNNEL_COUNT_H
#define FUNNEL_COUNT_H

#include "kernel.h"

/*
 * The Go side takes the numbers from here (bpf2go) and has the words in
 * internal/datapath/reason.go. New reasons go before the last two.
 */
enum reason {
	REASON_NONE = 0,

	/* left untouched: the next program on the hook sees the packet */
	REASON_NO_MATCH,	/* no rule matches */
	REASON_ACCEPTED,	/* a rule says accept */
	REASON_FROM_SEGMENT,	/* comes back from the segmenting device */
	REASON_NOT_IP,
	REASON_VLAN,
	REASON_OTHER_PROTOCOL,	/* neither TCP nor UDP */
	REASON_IPSEC,		/* AH or ESP */
	REASON_FRAGMENT,
	REASON_SHORT,		/* ends before its headers do */
	REASON_BAD_VERSION,	/* IP version other than the Ethertype says */
	REASON_BAD_IHL,		/* IPv4 header length below 5 words */
	REASON_BAD_LENGTH,	/* a length field contradicts the packet */
	REASON_EXTENSION,	/* IPv6 extension headers, rule can't be applied */
	REASON_NOT_CLAIMED,	/* inline: of a connection older than the rule */
	REASON_UNMARKED,	/* inline: ordinary segment for the through port */
	REASON_DIRECT,		/* direct connection to a through port, kept apart */
	REASON_ERROR_SHORT,	/* ICMP error that quotes too little to be translated */

	/* rewritten, or on the way to be */
	REASON_TO_SEGMENT,	/* handed to the segmenting device */
	REASON_PASSED_SEGMENT,	/* segmented, then no rule funnels it any more */
	REASON_URGENT,		/* inline: funneled, its URG flag was cleared */
	REASON_NOT_KEPT,	/* unfunneled, but found no place in the flow table */
	REASON_MARKER_MISSING,	/* inline: answer without marker, became a reset */
	REASON_ERROR_TRANSLATED, /* ICMP error about what we rewrote, its quote rewritten back */

	/* dropped */
	REASON_DROPPED,		/* a rule says drop */
	REASON_TOO_BIG,		/* does not fit the MTU with the pushed header */
	REASON_TOO_BIG_ANSWERED, /* the same, and the sender was told so */
	REASON_NO_SEGMENT,	/* needs the segmenting device; there is none here */
	REASON_NOT_PUSHED,	/* outer header can't be a pushed one */
	REASON_INNER_SHORT,	/* ends before the inner header does */
	REASON_INNER_LENGTH,	/* an inner length field contradicts the packet */
	REASON_INNER_PORT,	/* inner port that the rule does not accept */
	REASON_MERGED,		/* pushed packets merged by a router on the way */
	REASON_STRAY,		/* on the segmenting device, not sent there by us */
	REASON_TUPLE_CLASH,	/* a funneled and another flow look the same here */
	REASON_FLOWS_FULL,	/* inline: new flow, but the flow table is full */
	REASON_NO_PORT,		/* inline: new flow, but found no free source port */
	REASON_FAILED,		/* the kernel refused a change to the packet */

	/*
	 * Rewritten as a rule or a flow says. They are last because the counters of the
	 * first rules follow, so that most packets are counted in one cache line.
	 */
	REASON_FUNNELED,
	REASON_UNFUNNELED,

	REASON_COUNT,
};

/*
 * The counters of all processors, one block for each: the packets of every reason, the
 * packets and octets of every rule, and a cache line that keeps the next one's away. The
 * loader sets the size, in 64-bit words.
 *
 * A per-CPU array would need another cache line to find each counter, which is cold when
 * bulk data passes.
 */
#define COUNTERS_APART 8

volatile const __u32 counters_block;
volatile const __u32 counters_words = 1; /* as the map is until then */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
	__uint(max_entries, 1);
} counters SEC(".maps");

/* A counter of this processor, and the next one. */
static __always_inline __u64 *counter(__u64 i)
{
	__u32 zero = 0;
	__u64 *words = bpf_map_lookup_elem(&counters, &zero);

	i += (__u64)bpf_get_smp_processor_id() * counters_block;
	opaque(i);
	return words && i < counters_words - 1ULL ? words + i : NULL;
}

/*
 * A GSO packet counts as one; octets are those of the IP packet. The rule is one of this
 * program's, or ~0, which counts nowhere.
 */
static __always_inline void count_rule(__u32 rule, __u32 octets)
{
	__u64 *packets = counter(REASON_COUNT + rule * 2ULL);

	if (!packets)
		return;
	packets[0]++;
	packets[1] += octets;
}

/*
 * An outcome is what becomes of a packet and why: a TC_ACT_ value below the reason. The
 * program counts the reason when it ends, in one place.
 */
#define OUTCOME_ACTION_BITS 8

static __always_inline int outcome_of(int action, enum reason reason)
{
	return reason << OUTCOME_ACTION_BITS | (action & 0xff);
}

/* What does not know a packet says this, and leaves it to what is asked next. */
#define NOT_OURS 0

static __always_inline int untouched(enum reason reason)
{
	return outcome_of(TC_ACT_UNSPEC, reason);
}

static __always_inline int dropped(enum reason reason)
{
	return outcome_of(TC_ACT_SHOT, reason);
}

static __always_inline int redirected(__u32 to, __u64 flags, enum reason reason)
{
	return outcome_of(bpf_redirect(to, flags), reason);
}

static __always_inline int action_in(int outcome)
{
	return (__s8)outcome;
}

static __always_inline enum reason reason_in(int outcome)
{
	return outcome >> OUTCOME_ACTION_BITS;
}

/*
 * Set by the loader while programs take the place of older ones that still sit
 * behind them on their hooks: no packet may meet both.
 */
volatile bool ends_chain SEC(".data.chain");

/*
 * leave counts what becomes of a packet and returns what the hook's program does:
 * whatever sits behind it comes next.
 */
static __always_inline int leave(int outcome)
{
	__u64 *packets = counter(reason_in(outcome));
	int action = action_in(outcome);

	if (packets)
		(*packets)++;
	return action == TC_ACT_UNSPEC && ends_chain ? TC_ACT_OK : action;
}

#endif
