/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Pop: take the outer header off that the other side pushed, and complete the
 * inner checksum with the addresses that are there now.
 */
#ifndef FUNNEL_UNFUNNEL_H
#define FUNNEL_UNFUNNEL_H

#include "config.h"
#include "count.h"
#include "csum.h"
#include "ip.h"
#include "mss.h"
#include "parse.h"
#include "reply.h"

/*
 * outer_is_plain reports whether the outer header has the length of a pushed
 * one; there is nothing else that every sender would agree on.
 */
static __always_inline bool outer_is_plain(const struct packet *p)
{
	return p->tuple.protocol == IPPROTO_UDP || p->doff == sizeof(struct tcphdr) / 4;
}

/* parse_inner checks the inner header and fills in p as if the outer were gone. */
static __always_inline enum reason parse_inner(struct __sk_buff *skb, const struct packet *outer,
					       __u8 protocol, struct packet *p)
{
	__u32 len = l4_header_len(outer->tuple.protocol);
	struct cursor c = { .skb = skb, .off = outer->l4 + len };
	enum reason reason;

	*p = *outer;
	reason = parse_l4(&c, p, protocol);
	if (reason == REASON_SHORT)
		return REASON_INNER_SHORT;
	if (reason)
		return REASON_INNER_LENGTH;
	p->l4 -= len;
	p->l3_len -= len;
	return REASON_NONE;
}

/*
 * settle_udp_check decides what the checksum of 0 means that came out of
 * completing one. Either it is a checksum that happens to be 0 and must be
 * written as 0xffff. Or the datagram never had one and the sender's program
 * took addresses out of nothing; what it took was given back just now. The
 * datagram itself tells.
 */
static __noinline int settle_udp_check(struct __sk_buff *skb, const struct packet *p)
{
	__s64 sum = csum_packet(skb, p->l4, p->l4_len);
	__sum16 check = 0xffff;

	if (sum < 0)
		return -1;
	sum += csum_addresses(&p->tuple);
	sum += bpf_htons(p->l4_len) + bpf_htons(IPPROTO_UDP);
	if (csum_field(sum) && p->tuple.family == 4)
		return 0;
	return bpf_skb_store_bytes(skb, check_offset(p->l4, IPPROTO_UDP), &check, sizeof(check),
				   BPF_F_RECOMPUTE_CSUM);
}

/*
 * recalled is the reverse of forget_addresses: the inner checksum with the addresses.
 * It is whole also where the outer one was left for a device to complete, as a router
 * does that merged datagrams and took them apart again; bpf_l4_csum_replace
 * would take it for a partial one.
 */
static __always_inline __sum16 recalled(__sum16 check, const struct tuple *t)
{
	return csum_field((__u64)csum_negative(check) + csum_addresses(t));
}

/* A plain IPv4 header and that of a datagram. */
struct ipv4_udp {
	struct iphdr ip;
	struct udphdr udp;
};

/* restore_ipv4_udp writes both headers at once. */
static __always_inline int restore_ipv4_udp(struct __sk_buff *skb, const struct packet *p,
					    __sum16 check)
{
	struct cursor c = { .skb = skb, .off = p->l3 };
	struct ipv4_udp *at = take(&c, sizeof(*at)), head;

	if (!at)
		return -1;
	head = *at;
	set_ipv4(&head.ip, IPPROTO_UDP, p->l3_len);
	head.udp.check = check;
	return bpf_skb_store_bytes(skb, p->l3, &head, sizeof(head), BPF_F_RECOMPUTE_CSUM);
}

/* restore writes the IP header and the checksum of what was inside. */
static __always_inline int restore(struct __sk_buff *skb, const struct packet *p, __sum16 check)
{
	__u8 protocol = p->tuple.protocol;

	if (p->tuple.family == 4 && protocol == IPPROTO_UDP && !options_len(p))
		return restore_ipv4_udp(skb, p, check);
	return rewrite_ip(skb, p, protocol, p->l3_len) ?:
	       bpf_skb_store_bytes(skb, check_offset(p->l4, protocol), &check, sizeof(check),
				   BPF_F_RECOMPUTE_CSUM);
}

/* pop_header takes len octets off in front of the inner header, which gets that checksum. */
__noinline int pop_header(struct __sk_buff *skb, const struct packet *p, __u32 len, __u32 check)
{
	if (!p || move_options(skb, p, p->l3 + ip_base(p), p->l3 + ip_base(p) + len) ||
	    bpf_skb_adjust_room(skb, -(__s32)len, BPF_ADJ_ROOM_NET, 0) ||
	    restore(skb, p, check) || clamp_syn(skb, p, len))
		return REASON_FAILED;
	return REASON_NONE;
}

/* look_inside fills in inner; what has no inner packet of that protocol is broken. */
static __always_inline enum reason look_inside(struct __sk_buff *skb, const struct packet *p,
					       __u8 protocol, struct packet *inner)
{
	if (skb->gso_size)
		return REASON_MERGED;
	if (!outer_is_plain(p))
		return REASON_NOT_PUSHED;
	return parse_inner(skb, p, protocol, inner);
}

static __always_inline int take_off(struct __sk_buff *skb, const struct packet *p,
				    const struct packet *inner, enum reason counted)
{
	__sum16 check = recalled(inner->check, &inner->tuple);
	enum reason reason = pop_header(skb, inner, l4_header_len(p->tuple.protocol), check);

	if (reason)
		return dropped(reason);
	if (inner->tuple.protocol == IPPROTO_UDP && !check && settle_udp_check(skb, inner))
		return dropped(REASON_FAILED);
	bpf_set_hash_invalid(skb);
	return untouched(counted);
}

/* unfunnel undoes a push. From here on the packet is ours: broken means dropped. */
static __noinline int unfunnel(struct __sk_buff *skb, const struct packet *p, __u32 rule,
			       const struct action *a, enum hook hook)
{
	enum reason reason, noted = REASON_NONE;
	struct packet inner;

	reason = look_inside(skb, p, a->protocol, &inner);
	if (reason)
		return dropped(reason);
	if (!port_allowed(rule, inner.tuple.dport))
		return dropped(REASON_INNER_PORT);
	if (knows_replies && a->reply)
		noted = note_in(p, &inner, hook);
	if (noted == REASON_TUPLE_CLASH)
		return dropped(noted);
	return take_off(skb, p, &inner, noted ?: REASON_UNFUNNELED);
}

/* unfunnel_reply unfunnels what answers a flow that was funneled here; NOT_OURS: nothing else. */
static __noinline int unfunnel_reply(struct __sk_buff *skb, const struct packet *p, enum hook hook)
{
	__u8 protocol = answered_protocol(skb, p, hook);
	struct packet inner;
	enum reason reason;

	if (!protocol)
		return NOT_OURS;
	reason = look_inside(skb, p, protocol, &inner);
	return reason ? dropped(reason) : take_off(skb, p, &inner, REASON_UNFUNNELED);
}

#endif
