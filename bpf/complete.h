/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A local sender leaves its packet's checksum to the card or to the kernel: the
 * field holds the sum of the pseudo header, and a note in the packet says where
 * the sum is to begin (CHECKSUM_PARTIAL). A header can't be pushed in front as
 * long as that note is there: who translates addresses on the way would take
 * the outer checksum for a partial one.
 */
#ifndef FUNNEL_COMPLETE_H
#define FUNNEL_COMPLETE_H

#include "csum.h"
#include "ip.h"
#include "kernel.h"
#include "parse.h"

/*
 * How much must be cut off behind the fixed IP header for the packet to begin
 * behind the place where its sum would.
 */
static __always_inline __u32 cut_len(const struct packet *p)
{
	return p->l4 + 1;
}

static __always_inline bool is_cuttable(const struct packet *p)
{
	return p->l3_len >= ip_base(p) + cut_len(p);
}

/*
 * can_complete: the checksum is left to others, and it is that of one packet and
 * of its own transport header, not of one inside.
 */
static __always_inline bool can_complete(struct __sk_buff *skb, const struct packet *p)
{
	return !skb->gso_size && skb->len == p->l3 + p->l3_len &&
	       checksum_begins(skb, p->l4, check_offset(p->l4, p->tuple.protocol));
}

/*
 * drop_note cuts octets off behind the fixed IP header and makes room for as many
 * again; the caller puts them back. No helper takes the note away, but the kernel
 * drops it when the packet begins behind the place where the sum would
 * (skb_postpull_rcsum), and that place does not come back.
 */
static __always_inline int drop_note(struct __sk_buff *skb, const struct packet *p)
{
	__s32 len = cut_len(p);

	if (bpf_skb_adjust_room(skb, -len, BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_NET, 0))
		return -1;
	return checksum_is_whole(skb) ? 0 : -1;
}

/* whole_checksum is the checksum field for a sum with that of the pseudo header. */
static __always_inline __sum16 whole_checksum(const struct packet *p, __u64 sum)
{
	return p->tuple.protocol == IPPROTO_UDP ? csum_field_udp(sum) : csum_field(sum);
}

/* cut_and_restore does drop_note and writes the packet's checksum. */
static __always_inline int cut_and_restore(struct __sk_buff *skb, const struct packet *p)
{
	__u32 zero = 0, from = p->l3 + ip_base(p), last = cut_len(p) - 1;
	__u32 check = check_offset(p->l4, p->tuple.protocol) - from;
	struct csum_chunk *saved = bpf_map_lookup_elem(&csum_chunks, &zero);

	opaque(last);
	opaque(check);
	if (!saved || last >= CSUM_CHUNK || check > CSUM_CHUNK - sizeof(p->check) ||
	    bpf_skb_load_bytes(skb, from, saved, last + 1) || drop_note(skb, p))
		return -1;
	*(__sum16 *)((void *)saved + check) = p->check;
	return bpf_skb_store_bytes(skb, from, saved, last + 1, 0);
}

/*
 * complete_checksum makes the checksum of a packet whole that can_complete and
 * is_cuttable allow; 0, or -1, and the packet is broken then.
 */
__noinline int complete_checksum(struct __sk_buff *skb, struct packet *p)
{
	__s64 sum;

	if (!p)
		return -1;
	sum = csum_packet(skb, p->l4, p->l4_len);
	if (sum < 0)
		return -1;
	p->partial = false;
	p->check = whole_checksum(p, sum);
	return cut_and_restore(skb, p);
}

#endif
