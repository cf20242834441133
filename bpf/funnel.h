/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Push: insert an outer TCP or UDP header between the IP header and the
 * packet's own TCP or UDP header.
 *
 * The inner checksum is carried as if both addresses were 0, so that the
 * other side can complete it with the addresses that it finds, NAT or not.
 */
#ifndef FUNNEL_FUNNEL_H
#define FUNNEL_FUNNEL_H

#include "complete.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "ip.h"
#include "mss.h"
#include "outer.h"
#include "parse.h"
#include "small.h"

/*
 * fill_udp_check gives a datagram without checksum the one that it would have
 * if both addresses were 0. The whole datagram is summed.
 */
static __noinline int fill_udp_check(struct __sk_buff *skb, __u32 l4, __u32 l4_len)
{
	__s64 sum = csum_packet(skb, l4, l4_len);
	__sum16 check;

	if (sum < 0)
		return -1;
	check = csum_field_udp(sum + bpf_htons(l4_len) + bpf_htons(IPPROTO_UDP));
	return bpf_skb_store_bytes(skb, check_offset(l4, IPPROTO_UDP), &check, sizeof(check),
				   BPF_F_RECOMPUTE_CSUM);
}

/*
 * forget_addresses takes both addresses out of the inner checksum.
 * BPF_F_PSEUDO_HDR: they are part of the pseudo header, so that the field
 * changes also while it holds nothing but its sum (CHECKSUM_PARTIAL), and so
 * that the kernel's sum of the packet (CHECKSUM_COMPLETE) stays true.
 */
static __always_inline int forget_addresses(struct __sk_buff *skb, const struct packet *p)
{
	__u32 flags = BPF_F_PSEUDO_HDR;

	if (p->tuple.protocol == IPPROTO_UDP) {
		if (!p->check)
			return fill_udp_check(skb, p->l4, p->l4_len);
		flags |= BPF_F_MARK_MANGLED_0;
	}
	return bpf_l4_csum_replace(skb, check_offset(p->l4, p->tuple.protocol), 0,
				   csum_negative(csum_addresses(&p->tuple)), flags);
}

/* store_outer writes the outer header into the room that was made for it. */
static __always_inline int store_outer(struct __sk_buff *skb, const struct packet *p,
				       const struct action *a)
{
	union outer_header h = {};

	fill_outer(&h, p, a);
	return bpf_skb_store_bytes(skb, p->l4, &h, l4_header_len(a->protocol), BPF_F_RECOMPUTE_CSUM);
}

/* is_completable reports whether insert_header can complete the checksum of a packet first. */
static __always_inline bool is_completable(struct __sk_buff *skb, const struct packet *p)
{
	return can_complete(skb, p) && (is_small(skb, p) || is_cuttable(p));
}

/*
 * insert_header makes room at l4 and writes IP and outer header. at_end: a small
 * packet may grow there, which loses the kernel's sum of it (CHECKSUM_COMPLETE).
 */
__noinline int insert_header(struct __sk_buff *skb, struct packet *p, const struct action *a,
			     bool at_end)
{
	__u32 len;
	int done;

	if (!p || !a)
		return REASON_FAILED;
	len = l4_header_len(a->protocol);
	if (clamp_syn(skb, p, len))
		return REASON_FAILED;
	if (at_end && is_small(skb, p)) {
		done = push_small(skb, p, a);
		if (done <= 0)
			return done ? REASON_FAILED : REASON_NONE;
	}
	if ((p->partial && complete_checksum(skb, p)) || forget_addresses(skb, p) ||
	    bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_NET, 0) ||
	    move_options(skb, p, p->l3 + ip_base(p) + len, p->l3 + ip_base(p)) ||
	    rewrite_ip(skb, p, a->protocol, p->l3_len + len) || store_outer(skb, p, a))
		return REASON_FAILED;
	return REASON_NONE;
}

/*
 * push_header pushes a header into a packet whose checksum is whole or can be
 * completed. The caller has seen to it that the result fits. (The verifier lets no
 * function of its own have what the program may not write: hence the copy.)
 */
static __always_inline enum reason push_header(struct __sk_buff *skb, struct packet *p,
					       const struct action *a, bool at_end)
{
	struct action copy = *a;

	return insert_header(skb, p, &copy, at_end);
}

#endif
