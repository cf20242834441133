/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The header that push puts in front of a packet's own.
 */
#ifndef FUNNEL_OUTER_H
#define FUNNEL_OUTER_H

#include "config.h"
#include "csum.h"
#include "kernel.h"
#include "parse.h"

/*
 * source_port walks through the range with time, so that a flow is seen as a
 * new one by what tracks connections on the way, and follows when its backend
 * is replaced.
 */
static __always_inline __be16 source_port(const struct action *a)
{
	__u64 slot = 0;

	if (a->source_ports > 1 && source_port_slot)
		slot = (bpf_ktime_get_ns() >> SOURCE_PORT_SHIFT) / source_port_slot % a->source_ports;
	return bpf_htons(a->first_source_port + slot);
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

/* An outer header of either protocol. */
union outer_header {
	struct tcphdr tcp;
	struct udphdr udp;
	__be32 words[5];
};

static __always_inline void fill_outer_tcp(union outer_header *h, const struct packet *p,
					   const struct action *a)
{
	h->words[1] = bpf_htonl(PUSHED_SEQ);
	h->words[2] = bpf_htonl(PUSHED_ACK);
	h->words[3] = bpf_htonl(PUSHED_FLAGS);
	h->words[4] = 0;
	h->tcp.source = source_port(a);
	h->tcp.dest = a->port;
	h->tcp.check = csum_field(csum_words(h, sizeof(h->tcp)) + outer_sum(p, IPPROTO_TCP));
}

/*
 * Over IPv4 an outer UDP header has no checksum: routers that merge UDP
 * datagrams (UDP GRO forwarding) leave such ones alone. IPv6 demands one.
 */
static __always_inline void fill_outer_udp(union outer_header *h, const struct packet *p,
					   const struct action *a)
{
	h->udp.source = source_port(a);
	h->udp.dest = a->port;
	h->udp.len = bpf_htons(p->l4_len + sizeof(h->udp));
	h->udp.check = 0;
	if (p->tuple.family == 6)
		h->udp.check = csum_field_udp(csum_words(h, sizeof(h->udp)) + outer_sum(p, IPPROTO_UDP));
}

static __always_inline void fill_outer(union outer_header *h, const struct packet *p,
				       const struct action *a)
{
	if (a->protocol == IPPROTO_TCP)
		fill_outer_tcp(h, p, a);
	else
		fill_outer_udp(h, p, a);
}

#endif
