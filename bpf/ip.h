/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The IP header when the transport header behind it changes.
 */
#ifndef FUNNEL_IP_H
#define FUNNEL_IP_H

#include "csum.h"
#include "parse.h"

#define IPV4_MAX_OPTIONS 40

/*
 * How many octets of options (IPv4) or extension headers (IPv6) a packet may
 * have for its transport header to be changed.
 */
#define MAX_OPTIONS 64

/* The fixed part of the IP header. bpf_skb_adjust_room works behind it. */
static __always_inline __u32 ip_base(const struct packet *p)
{
	return p->tuple.family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

static __always_inline __u32 options_len(const struct packet *p)
{
	return p->l4 - p->l3 - ip_base(p);
}

/* copy_options is move_options where there are any. (Not inline: the stack is small.) */
__noinline int copy_options(struct __sk_buff *skb, const struct packet *p, __u32 from, __u32 to)
{
	__u8 options[MAX_OPTIONS] __attribute__((aligned(8))) = {};
	__u32 last;

	if (!p)
		return -1;
	last = options_len(p) - 1; /* octet; ~0 when there is none */
	opaque(last);
	/* Before Linux 6.8 the verifier learns nothing of "not 0", but a range from 0 plus 1. */
	if (last >= sizeof(options) || bpf_skb_load_bytes(skb, from, options, last + 1))
		return -1;
	return bpf_skb_store_bytes(skb, to, options, last + 1, BPF_F_RECOMPUTE_CSUM);
}

/*
 * move_options moves the options or extension headers of the packet, if there
 * are any: down to where they belong when a gap of len octets was opened in
 * front of them, or up over the outer header that is to be cut off there.
 */
static __always_inline int move_options(struct __sk_buff *skb, const struct packet *p, __u32 from,
					__u32 to)
{
	return options_len(p) ? copy_options(skb, p, from, to) : 0;
}

/*
 * The header checksum is kept by difference (RFC 1624), so that the header
 * sums to what it summed to before. len is that of the packet, header included.
 */
static __always_inline void set_ipv4(struct iphdr *ip, __u8 protocol, __u16 len)
{
	__u64 sum = (__u16)~ip->check;

	sum += csum_negative(ip->tot_len) + csum_negative(bpf_htons(ip->protocol));
	ip->tot_len = bpf_htons(len);
	ip->protocol = protocol;
	sum += ip->tot_len + bpf_htons(ip->protocol);
	ip->check = csum_field(sum);
}

/* Of a packet without extension headers. */
static __always_inline void set_ipv6(struct ipv6hdr *ip, __u8 protocol, __u16 len)
{
	ip->payload_len = bpf_htons(len - sizeof(*ip));
	ip->nexthdr = protocol;
}

static __always_inline int rewrite_ipv4(struct __sk_buff *skb, __u32 l3, __u8 protocol, __u16 len)
{
	struct cursor c = { .skb = skb, .off = l3 };
	struct iphdr *at = take(&c, sizeof(*at)), ip;

	if (!at)
		return -1;
	ip = *at;
	set_ipv4(&ip, protocol, len);
	return bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0);
}

/* What names the protocol is the last extension header, if there is one. */
static __always_inline int rewrite_ipv6(struct __sk_buff *skb, const struct packet *p,
					__u8 protocol, __u16 len)
{
	__be16 payload_len = bpf_htons(len - sizeof(struct ipv6hdr));

	return bpf_skb_store_bytes(skb, p->l3 + offsetof(struct ipv6hdr, payload_len), &payload_len,
				   sizeof(payload_len), BPF_F_RECOMPUTE_CSUM) ?:
	       bpf_skb_store_bytes(skb, p->nexthdr, &protocol, sizeof(protocol),
				   BPF_F_RECOMPUTE_CSUM);
}

/* rewrite_ip sets the protocol and the length of the IP packet, header included. */
static __always_inline int rewrite_ip(struct __sk_buff *skb, const struct packet *p, __u8 protocol,
				      __u16 len)
{
	if (p->tuple.family == 6)
		return rewrite_ipv6(skb, p, protocol, len);
	return rewrite_ipv4(skb, p->l3, protocol, len);
}

#endif
