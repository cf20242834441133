/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets that don't fit the interface's MTU once a header is pushed. Senders
 * that want to know (IPv4 with don't-fragment, IPv6 always) are told by ICMP
 * how much would fit, as a router would tell them: the packet becomes the
 * answer and arrives on the interface.
 */
#ifndef FUNNEL_TOOBIG_H
#define FUNNEL_TOOBIG_H

#include "complete.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "ip.h"
#include "parse.h"

/* RFC 792: the IP header and 8 octets of what follows. RFC 4443 wants no less. */
#define QUOTED_L4 8
#define IPV4_MAX_QUOTE (sizeof(struct iphdr) + IPV4_MAX_OPTIONS + QUOTED_L4)
#define IPV6_MAX_QUOTE (sizeof(struct ipv6hdr) + MAX_OPTIONS + QUOTED_L4)

struct answer_ipv4 {
	struct iphdr ip;
	struct icmp_frag_needed icmp;
};

struct answer_ipv6 {
	struct ipv6hdr ip;
	struct icmpv6_too_big icmp;
};

/* fits reports whether the IP packet fits; else mtu is the interface's. */
static __always_inline bool fits(struct __sk_buff *skb, const struct packet *p, __u32 more,
				 __u32 *mtu)
{
	*mtu = p->l3_len;
	return p->l3_len + more <= 0xffff && !bpf_check_mtu(skb, ifindex, mtu, more, 0);
}

/* Nobody is told about packets to a group: the answer would come from one. */
static __always_inline bool to_group(const struct packet *p)
{
	__u32 first = bpf_ntohl(p->tuple.daddr[0]);

	return p->tuple.family == 4 ? first >= 0xe0000000 : first >= 0xff000000;
}

static __always_inline void fill_answer_ipv4(struct answer_ipv4 *a, const struct packet *p,
					     __u32 quoted, __u64 quoted_sum, __u32 mtu)
{
	a->ip.version = 4;
	a->ip.ihl = sizeof(a->ip) / 4;
	a->ip.tos = 0xc0;
	a->ip.tot_len = bpf_htons(sizeof(*a) + quoted);
	a->ip.ttl = 64;
	a->ip.protocol = IPPROTO_ICMP;
	a->ip.saddr = p->tuple.daddr[0];
	a->ip.daddr = p->tuple.saddr[0];
	a->ip.check = csum_field(csum_words(&a->ip, sizeof(a->ip)));
	a->icmp.type = ICMP_DEST_UNREACH;
	a->icmp.code = ICMP_FRAG_NEEDED;
	a->icmp.mtu = bpf_htons(mtu);
	a->icmp.checksum = csum_field(csum_words(&a->icmp, sizeof(a->icmp)) + quoted_sum);
}

/*
 * resize makes room for an answer, whose checksum is whole: a note that the packet's
 * own is left to others would spoil the answer on a card that minds it.
 */
static __always_inline int resize(struct __sk_buff *skb, const struct packet *p, __u32 len)
{
	if (p->partial && drop_note(skb, p))
		return -1;
	return bpf_skb_change_tail(skb, len, 0);
}

static __noinline int become_answer_ipv4(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	__u8 quote[IPV4_MAX_QUOTE] __attribute__((aligned(8))) = {};
	__u32 quoted = p->l4 - p->l3 + QUOTED_L4;
	struct answer_ipv4 answer = {};

	opaque(quoted);
	if (quoted < sizeof(struct iphdr) + QUOTED_L4 || quoted > sizeof(quote))
		return -1;
	if (bpf_skb_load_bytes(skb, p->l3, quote, quoted))
		return -1;
	fill_answer_ipv4(&answer, p, quoted, csum_words(quote, sizeof(quote)), mtu);
	if (resize(skb, p, p->l3 + sizeof(answer) + quoted) ||
	    bpf_skb_store_bytes(skb, p->l3, &answer, sizeof(answer), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(skb, p->l3 + sizeof(answer), quote, quoted,
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline void fill_answer_ipv6(struct answer_ipv6 *a, const struct packet *p,
					     __u32 quoted, __u64 quoted_sum, __u32 mtu)
{
	__u16 len = sizeof(a->icmp) + quoted;

	a->ip.version = 6;
	a->ip.payload_len = bpf_htons(len);
	a->ip.nexthdr = IPPROTO_ICMPV6;
	a->ip.hop_limit = 64;
	__builtin_memcpy(&a->ip.saddr, p->tuple.daddr, sizeof(a->ip.saddr));
	__builtin_memcpy(&a->ip.daddr, p->tuple.saddr, sizeof(a->ip.daddr));
	a->icmp.type = ICMPV6_PACKET_TOO_BIG;
	a->icmp.mtu = bpf_htonl(mtu);
	a->icmp.checksum = csum_field(csum_words(&a->icmp, sizeof(a->icmp)) + quoted_sum +
				      csum_addresses(&p->tuple) + bpf_htons(len) +
				      bpf_htons(IPPROTO_ICMPV6));
}

static __noinline int become_answer_ipv6(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	__u8 quote[IPV6_MAX_QUOTE] __attribute__((aligned(8))) = {};
	__u32 sum, quoted = p->l4 - p->l3 + QUOTED_L4;
	struct answer_ipv6 answer = {};

	opaque(quoted);
	if (quoted < sizeof(struct ipv6hdr) + QUOTED_L4 || quoted > sizeof(quote))
		return -1;
	if (bpf_skb_load_bytes(skb, p->l3, quote, quoted))
		return -1;
	/* Not csum_words: the compiler would make a stack of it. */
	sum = bpf_csum_diff(NULL, 0, (__be32 *)quote, sizeof(quote), 0);
	fill_answer_ipv6(&answer, p, quoted, sum, mtu);
	if (resize(skb, p, p->l3 + sizeof(answer) + quoted) ||
	    bpf_skb_store_bytes(skb, p->l3, &answer, sizeof(answer), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(skb, p->l3 + sizeof(answer), quote, quoted,
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int become_answer(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	if (p->tuple.family == 4)
		return become_answer_ipv4(skb, p, mtu);
	return become_answer_ipv6(skb, p, mtu);
}

/* return_to_sender swaps the Ethernet addresses, if there are any. */
static __always_inline int return_to_sender(struct __sk_buff *skb, __u32 l2)
{
	struct {
		__u8 dest[ETH_ALEN], source[ETH_ALEN];
	} ether, back;

	if (!l2)
		return 0;
	if (bpf_skb_load_bytes(skb, 0, &ether, sizeof(ether)))
		return -1;
	__builtin_memcpy(back.dest, ether.source, ETH_ALEN);
	__builtin_memcpy(back.source, ether.dest, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, &back, sizeof(back), 0);
}

/* mtu is the interface's, more what pushing would add. */
static __always_inline int too_big(struct __sk_buff *skb, const struct packet *p, __u32 more,
				   __u32 mtu)
{
	if (!p->dont_fragment || to_group(p))
		return dropped(REASON_TOO_BIG);
	if (become_answer(skb, p, mtu - more) || return_to_sender(skb, p->l3))
		return dropped(REASON_FAILED);
	return redirected(ifindex, BPF_F_INGRESS, REASON_TOO_BIG_ANSWERED);
}

#endif
