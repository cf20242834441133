/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What an ICMP error quotes: the beginning of the packet that it is about, as if
 * it were a packet itself.
 */
#ifndef FUNNEL_QUOTE_H
#define FUNNEL_QUOTE_H

#include "count.h"
#include "ip.h"
#include "parse.h"
#include "toobig.h"

/* RFC 792, RFC 4443 */
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_FIRST_ERROR 1
#define ICMPV6_LAST_ERROR 4

struct icmp_error {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	union {
		struct {
			__u8 unused;
			__u8 length; /* RFC 4884 */
			__be16 mtu;
		} v4;
		struct {
			__u8 length; /* RFC 4884 */
			__u8 unused[3];
		} v6;
		__be32 mtu6;
	};
};
_Static_assert(sizeof(struct icmp_error) == 8, "the header of an ICMP error");

/* From the ICMP header up to where the quoted packet has its transport header. */
struct quote_head {
	struct icmp_error icmp;
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
		__u8 octets[sizeof(struct ipv6hdr) + MAX_OPTIONS];
	};
};
_Static_assert(sizeof(struct quote_head) == 112, "the verifier is told where it ends");

/* What is at hand of an error. Not on the stack: there is not enough of it. */
struct error {
	struct packet quote; /* as if it were a packet, but lengths are of what is quoted */
	struct quote_head head;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct error);
} errors SEC(".maps");

/* The transport protocol of a quoted IPv4 packet, or a negative reason. */
static __always_inline int quoted_ipv4(struct cursor *c, struct packet *q)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 ihl;

	if (!ip || ip->version != 4 || ip->frag_off & bpf_htons(IP_OFFSET))
		return -REASON_OTHER_PROTOCOL;
	ihl = ip->ihl * 4;
	if (ihl < sizeof(*ip))
		return -REASON_OTHER_PROTOCOL;
	q->tuple.family = 4;
	q->tuple.saddr[0] = ip->saddr;
	q->tuple.daddr[0] = ip->daddr;
	c->off += ihl - sizeof(*ip);
	return ip->protocol;
}

static __always_inline int quoted_ipv6(struct cursor *c, struct packet *q)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	int protocol;

	if (!ip || ip->version != 6)
		return -REASON_OTHER_PROTOCOL;
	q->tuple.family = 6;
	q->nexthdr = q->l3 + offsetof(struct ipv6hdr, nexthdr);
	__builtin_memcpy(q->tuple.saddr, &ip->saddr, sizeof(q->tuple.saddr));
	__builtin_memcpy(q->tuple.daddr, &ip->daddr, sizeof(q->tuple.daddr));
	if (!is_extension(ip->nexthdr))
		return ip->nexthdr;
	protocol = skip_extensions(c->skb, q, c->off, ip->nexthdr);
	c->off = q->l4;
	return protocol;
}

/* What of a quoted TCP header is there. */
static __always_inline bool quoted_tcp(struct __sk_buff *skb, struct packet *q)
{
	__be32 header[5];
	const struct tcphdr *tcp = (const struct tcphdr *)header;

	if (q->l4_len < sizeof(header))
		return true;
	if (bpf_skb_load_bytes(skb, q->l4, header, sizeof(header)))
		return false;
	q->tuple.pushed = tcp_is_pushed(tcp);
	q->check = tcp->check;
	q->flags = ((const __u8 *)tcp)[13];
	q->urg = tcp->urg_ptr;
	return true;
}

/* parse_quote returns REASON_NONE, or why the error must be left as it is. */
static __noinline enum reason parse_quote(struct __sk_buff *skb, const struct packet *p,
					  struct packet *q)
{
	struct cursor c = { .skb = skb, .off = p->l4 + sizeof(struct icmp_error) };
	int protocol;

	q->l3 = c.off;
	q->l3_len = p->l4_len - sizeof(struct icmp_error);
	protocol = p->tuple.family == 4 ? quoted_ipv4(&c, q) : quoted_ipv6(&c, q);
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return REASON_OTHER_PROTOCOL;
	q->tuple.protocol = protocol;
	q->l4 = c.off;
	if (q->l4 - q->l3 > q->l3_len)
		return REASON_OTHER_PROTOCOL;
	q->l4_len = q->l3_len - (q->l4 - q->l3);
	if (q->l4_len < QUOTED_L4)
		return REASON_ERROR_SHORT;
	if (bpf_skb_load_bytes(skb, q->l4, &q->tuple.sport, 2 * sizeof(q->tuple.sport)) ||
	    (protocol == IPPROTO_TCP && !quoted_tcp(skb, q)))
		return REASON_OTHER_PROTOCOL;
	return REASON_NONE;
}

#endif
