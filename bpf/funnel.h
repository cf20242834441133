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

#include "config.h"
#include "count.h"
#include "csum.h"
#include "ip.h"
#include "mss.h"
#include "parse.h"

/*
 * source_port walks through the range with time, so that a flow is seen as a
 * new one by what tracks connections on the way, and follows when its backend
 * is replaced.
 */
static __always_inline __be16 source_port(const struct action *a)
{
	__u64 slot = 0;

	if (a->source_ports > 1 && source_port_ns)
		slot = bpf_ktime_get_ns() / source_port_ns % a->source_ports;
	return bpf_htons(a->first_source_port + slot);
}

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

/*
 * outer_sum is the sum of the outer pseudo header and of all that follows the
 * outer header. A segment whose checksum is right sums to the complement of
 * its pseudo header, so that what is left are the addresses and how protocol
 * and length differ between the two pseudo headers.
 */
static __always_inline __u64 outer_sum(const struct packet *p, __u8 outer)
{
	return (__u64)csum_addresses(&p->tuple) + bpf_htons(outer) + bpf_htons(l4_header_len(outer)) +
	       csum_negative(bpf_htons(p->tuple.protocol));
}

static __always_inline int store_outer_tcp(struct __sk_buff *skb, const struct packet *p,
					   const struct action *a)
{
	__be32 header[5] = {
		0, bpf_htonl(PUSHED_SEQ), bpf_htonl(PUSHED_ACK), bpf_htonl(PUSHED_FLAGS), 0,
	};
	struct tcphdr *tcp = (struct tcphdr *)header;

	tcp->source = source_port(a);
	tcp->dest = a->port;
	tcp->check = csum_field(csum_words(header, sizeof(header)) + outer_sum(p, IPPROTO_TCP));
	return bpf_skb_store_bytes(skb, p->l4, header, sizeof(header), BPF_F_RECOMPUTE_CSUM);
}

/*
 * Over IPv4 an outer UDP header has no checksum: routers that merge UDP
 * datagrams (UDP GRO forwarding) leave such ones alone. IPv6 demands one.
 */
static __always_inline int store_outer_udp(struct __sk_buff *skb, const struct packet *p,
					   const struct action *a)
{
	struct udphdr udp = {
		.source = source_port(a),
		.dest = a->port,
		.len = bpf_htons(p->l4_len + sizeof(udp)),
	};

	if (p->tuple.family == 6)
		udp.check = csum_field_udp(csum_words(&udp, sizeof(udp)) + outer_sum(p, IPPROTO_UDP));
	return bpf_skb_store_bytes(skb, p->l4, &udp, sizeof(udp), BPF_F_RECOMPUTE_CSUM);
}

/*
 * push_header makes room at l4 and writes IP and outer header. The caller has
 * seen to it that the result fits.
 */
__noinline int insert_header(struct __sk_buff *skb, const struct packet *p, const struct action *a)
{
	int failed;
	__u32 len;

	if (!p || !a)
		return REASON_FAILED;
	len = l4_header_len(a->protocol);
	if (clamp_syn(skb, p, len) || forget_addresses(skb, p) ||
	    bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_NET, 0) ||
	    move_options(skb, p, p->l3 + ip_base(p) + len, p->l3 + ip_base(p)) ||
	    rewrite_ip(skb, p, a->protocol, p->l3_len + len))
		return REASON_FAILED;
	if (a->protocol == IPPROTO_TCP)
		failed = store_outer_tcp(skb, p, a);
	else
		failed = store_outer_udp(skb, p, a);
	return failed ? REASON_FAILED : REASON_NONE;
}

/* The verifier lets no function of its own have what the program may not write. */
static __always_inline enum reason push_header(struct __sk_buff *skb, const struct packet *p,
					       const struct action *a)
{
	struct action copy = *a;

	return insert_header(skb, p, &copy);
}

#endif
