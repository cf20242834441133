/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The short way of a datagram over IPv4 that a header is pushed into while it is small, or
 * that one is taken off: what parse, the rules and the rewriting do, in one piece. As the
 * fast path of segments does (fast.h) it knows no case of its own, and says NOT_OURS, before
 * anything has changed, where it is not sure. The whole way follows.
 */
#ifndef FUNNEL_DATAGRAM_H
#define FUNNEL_DATAGRAM_H

#include "backend.h"
#include "classify.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "kernel.h"
#include "parse.h"
#include "reply.h"
#include "unfunnel.h"

static __always_inline bool is_pushed_tcp(struct __sk_buff *skb, const struct iphdr *ip)
{
	const struct tcphdr *tcp = (void *)(ip + 1);

	return ip->protocol == IPPROTO_TCP && (void *)(tcp + 1) <= packet_end(skb) &&
	       tcp_is_pushed(tcp);
}

/*
 * plain_ipv4 does parse for a datagram over IPv4 that is one and has no options, and with
 * outer for what is under a pushed TCP header as well, of which it tells no more than the
 * ports; false for any other packet.
 */
static __always_inline bool plain_ipv4(struct __sk_buff *skb, struct packet *p, bool outer)
{
	const __u32 l2 = l2_len;
	const struct ipv4_udp *h = packet_start(skb) + l2;

	if (unlikely(is_of_vlan(skb) || skb->protocol != bpf_htons(ETH_P_IP) || skb->gso_size ||
		     (void *)(h + 1) > packet_end(skb)))
		return false;
	if (h->ip.protocol != IPPROTO_UDP && !(outer && is_pushed_tcp(skb, &h->ip)))
		return false;
	if (unlikely(*(__u8 *)h != 0x45 || h->ip.frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		return false;
	__builtin_memset(p, 0, sizeof(*p));
	p->tuple.family = 4;
	p->tuple.protocol = h->ip.protocol;
	p->tuple.pushed = h->ip.protocol != IPPROTO_UDP;
	p->tuple.saddr[0] = h->ip.saddr;
	p->tuple.daddr[0] = h->ip.daddr;
	p->tuple.sport = h->udp.source;
	p->tuple.dport = h->udp.dest;
	p->l3 = l2;
	p->l3_len = bpf_ntohs(h->ip.tot_len);
	p->l4 = l2 + sizeof(h->ip);
	p->l4_len = p->l3_len - sizeof(h->ip);
	p->check = h->udp.check;
	if (unlikely(p->l3_len < sizeof(*h) || p->l3_len > skb->len - l2))
		return false;
	return p->tuple.pushed || likely(bpf_ntohs(h->udp.len) == p->l4_len);
}

/* pass_datagram does what a rule says, or none, that lets a datagram be; NOT_OURS for others. */
static __always_inline int pass_datagram(const struct packet *p, __u32 rule, const struct action *a)
{
	if (!a)
		return untouched(REASON_NO_MATCH);
	if (a->verb != VERB_ACCEPT)
		return NOT_OURS;
	count_rule(rule, p->l3_len);
	return untouched(REASON_ACCEPTED);
}

/* load_inner reads the IP header, and that of the datagram under an outer one of len octets. */
static __always_inline bool load_inner(struct __sk_buff *skb, const struct packet *p, __u32 len,
				       struct ipv4_udp *head)
{
	const struct ipv4_udp *h = packet_start(skb) + l2_len;
	const struct udphdr *inner = (void *)(h + 1);

	if (len == sizeof(struct tcphdr))
		inner = (void *)&h->udp + sizeof(struct tcphdr);
	if (p->l4_len < len + sizeof(*inner) || (void *)(inner + 1) > packet_end(skb))
		return false;
	head->ip = h->ip;
	head->udp = *inner;
	return bpf_ntohs(inner->len) == p->l4_len - len;
}

/* write_head writes both headers; the IP header sums to what it summed to before. */
static __always_inline int write_head(struct __sk_buff *skb, const struct ipv4_udp *head)
{
	struct ipv4_udp *at = packet_start(skb) + l2_len;
	__u32 change;

	if ((void *)(at + 1) > packet_end(skb))
		return -1;
	change = head->udp.check + (__u16)~at->udp.check;
	*at = *head;
	if (unlikely(sum_is_known(skb)))
		bpf_csum_update(skb, change);
	return 0;
}

/* note_datagram makes or renews the flow of a datagram; of p it leaves what tells that flow. */
static __always_inline enum reason note_datagram(struct packet *p, const struct udphdr *inner,
						 enum hook hook)
{
	struct pushed_flow flow = came_in(p);

	p->tuple.sport = inner->source;
	p->tuple.dport = inner->dest;
	p->tuple.protocol = IPPROTO_UDP;
	p->tuple.pushed = false;
	return note_pushed(p, hook, &flow);
}

/*
 * unfunnel_datagram takes the outer header off. A checksum that comes out as 0 is for the
 * whole way (settle_udp_check). a is NULL for an answer.
 */
static __always_inline int unfunnel_datagram(struct __sk_buff *skb, struct packet *p, __u32 rule,
					     const struct action *a, enum hook hook)
{
	__u32 len = l4_header_len(p->tuple.protocol);
	enum reason noted = REASON_NONE;
	struct ipv4_udp head;

	if (unlikely(!load_inner(skb, p, len, &head) || (a && !port_allowed(rule, head.udp.dest))))
		return NOT_OURS;
	head.udp.check = recalled(head.udp.check, &p->tuple);
	if (unlikely(!head.udp.check))
		return NOT_OURS;
	count_rule(rule, p->l3_len);
	if (notes_replies && a && a->reply)
		noted = note_datagram(p, &head.udp, hook);
	if (unlikely(noted == REASON_TUPLE_CLASH))
		return dropped(noted);
	set_ipv4(&head.ip, IPPROTO_UDP, p->l3_len - len);
	if (unlikely(bpf_skb_adjust_room(skb, -(__s32)len, BPF_ADJ_ROOM_NET, 0) ||
		     write_head(skb, &head)))
		return dropped(REASON_FAILED);
	if (skb->hash)
		bpf_set_hash_invalid(skb);
	return untouched(noted ?: REASON_UNFUNNELED);
}

#endif
