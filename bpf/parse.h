/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a packet to what the rules and the rewriting know of it. Nothing is
 * believed that the packet does not hold: each header is checked against the
 * packet's length, each length field against the others.
 */
#ifndef FUNNEL_PARSE_H
#define FUNNEL_PARSE_H

#include "classify.h"
#include "count.h"
#include "kernel.h"

struct packet {
	struct tuple tuple;
	__u32 l3;	/* offset of the IP header */
	__u32 l3_len;	/* octets of the IP packet, header included */
	__u32 l4;	/* offset of the TCP or UDP header */
	__u32 l4_len;	/* octets from there to the end of the IP packet */
	__sum16 check;	/* the checksum field of that header */
	__u8 doff;	/* TCP: header length in words */
	__u8 flags;	/* TCP: FIN to CWR */
	__be16 urg;	/* TCP: urgent pointer */
	bool dont_fragment;	/* always so for IPv6 */
	bool partial;	/* the checksum is yet to be completed: CHECKSUM_PARTIAL */
	bool on_its_way; /* IPv6: a routing header leads on from this destination */
	__u32 nexthdr;	/* IPv6: offset of the field that names the protocol at l4 */
};

/*
 * What is known of the packet is not on the stack: there is not much of it. And of what a map
 * holds the verifier keeps no values, for each of which it would look at all that follows.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} packets SEC(".maps");

static __always_inline struct packet *packet_memory(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&packets, &zero);
}

/* The fixed part of a TCP or UDP header; a pushed header has no other. */
static __always_inline __u32 l4_header_len(__u8 protocol)
{
	return protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
}

/* A place in a packet. Nothing before it is looked at again. */
struct cursor {
	struct __sk_buff *skb;
	__u32 off;
};

/*
 * Pointers to the linear part of the packet. They are opaque so that the
 * compiler does not join two of them in a 32-bit register, which the verifier
 * would take for a number.
 */
static __always_inline void *packet_start(struct __sk_buff *skb)
{
	void *start = (void *)(long)skb->data;

	opaque(start);
	return start;
}

static __always_inline void *packet_end(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;

	opaque(end);
	return end;
}

/* No header that is looked at begins behind this; the verifier wants a bound. */
#define MAX_HEADER_OFFSET 0x4000

/*
 * take returns a pointer to the next len octets and steps over them; NULL when
 * the packet is shorter. It makes them linear if they are not, after which
 * earlier pointers into the packet are dead.
 */
static __always_inline void *take(struct cursor *c, __u32 len)
{
	__u64 off = c->off;
	void *at;

	opaque(off);
	if (off > MAX_HEADER_OFFSET)
		return NULL;
	at = packet_start(c->skb) + off;
	if (at + len > packet_end(c->skb)) {
		if (bpf_skb_pull_data(c->skb, off + len))
			return NULL;
		at = packet_start(c->skb) + off;
		if (at + len > packet_end(c->skb))
			return NULL;
	}
	c->off = off + len;
	return at;
}

/*
 * The magic of a pushed TCP header: words 1 to 3 (sequence, acknowledgement,
 * data offset with SYN and window) and the urgent pointer. Words are as on the
 * wire, read as big endian numbers.
 */
#define PUSHED_SEQ 0xcafebabe
#define PUSHED_ACK 0xbabecafe
#define PUSHED_FLAGS 0x50020400

static __always_inline bool tcp_is_pushed(const struct tcphdr *tcp)
{
	const __be32 *word = (const __be32 *)tcp;

	return word[1] == bpf_htonl(PUSHED_SEQ) && word[2] == bpf_htonl(PUSHED_ACK) &&
	       word[3] == bpf_htonl(PUSHED_FLAGS) && !tcp->urg_ptr;
}

static __always_inline enum reason parse_tcp(struct cursor *c, struct packet *p)
{
	struct tcphdr *tcp;

	if (p->l4_len < sizeof(*tcp))
		return REASON_SHORT;
	tcp = take(c, sizeof(*tcp));
	if (!tcp)
		return REASON_SHORT;
	if (tcp->doff < sizeof(*tcp) / 4 || tcp->doff * 4 > p->l4_len)
		return REASON_BAD_LENGTH;
	p->tuple.sport = tcp->source;
	p->tuple.dport = tcp->dest;
	p->tuple.pushed = tcp_is_pushed(tcp);
	p->doff = tcp->doff;
	p->check = tcp->check;
	p->flags = ((__u8 *)tcp)[13];
	p->urg = tcp->urg_ptr;
	return REASON_NONE;
}

/* The length field of a GSO packet is the kernel's business. */
static __always_inline enum reason parse_udp(struct cursor *c, struct packet *p)
{
	struct udphdr *udp;

	if (p->l4_len < sizeof(*udp))
		return REASON_SHORT;
	udp = take(c, sizeof(*udp));
	if (!udp)
		return REASON_SHORT;
	if (bpf_ntohs(udp->len) != p->l4_len && !c->skb->gso_size)
		return REASON_BAD_LENGTH;
	p->tuple.sport = udp->source;
	p->tuple.dport = udp->dest;
	p->check = udp->check;
	return REASON_NONE;
}

static __always_inline enum reason parse_l4(struct cursor *c, struct packet *p, __u8 protocol)
{
	p->l4 = c->off;
	p->l4_len = p->l3_len - (p->l4 - p->l3);
	p->tuple.protocol = protocol;
	switch (protocol) {
	case IPPROTO_TCP:
		return parse_tcp(c, p);
	case IPPROTO_UDP:
		return parse_udp(c, p);
	case IPPROTO_AH:
	case IPPROTO_ESP:
		return REASON_IPSEC;
	}
	return REASON_OTHER_PROTOCOL;
}

/*
 * set_length settles how long the IP packet is. 0 with GSO is BIG TCP: what is
 * there counts. Octets behind the packet (Ethernet padding) are not ours.
 */
static __always_inline enum reason set_length(struct cursor *c, struct packet *p, __u32 len)
{
	__u32 available = c->skb->len - p->l3;

	if (!len && c->skb->gso_size)
		len = available;
	p->l3_len = len;
	return len > available ? REASON_BAD_LENGTH : REASON_NONE;
}

static __always_inline enum reason parse_ipv4(struct cursor *c, struct packet *p)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u8 protocol;
	__u32 ihl;

	if (!ip)
		return REASON_SHORT;
	if (ip->version != 4)
		return REASON_BAD_VERSION;
	ihl = ip->ihl * 4;
	if (ihl < sizeof(*ip))
		return REASON_BAD_IHL;
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return REASON_FRAGMENT;
	p->tuple.family = 4;
	p->tuple.saddr[0] = ip->saddr;
	p->tuple.daddr[0] = ip->daddr;
	p->dont_fragment = ip->frag_off & bpf_htons(IP_DF);
	protocol = ip->protocol;
	if (set_length(c, p, bpf_ntohs(ip->tot_len)) || p->l3_len < ihl)
		return REASON_BAD_LENGTH;
	c->off += ihl - sizeof(*ip);
	return parse_l4(c, p, protocol);
}

/* Packets with more extension headers are left alone. */
#define MAX_EXTENSIONS 5

static __always_inline bool is_extension(int protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS;
}

/* On the way through extension headers. */
struct extension_walk {
	struct cursor c;
	struct packet *p;
	int protocol;	/* what comes next, or a negative reason */
};

static long next_extension(__u32 i, void *context)
{
	struct ipv6_rt_hdr *extension; /* the others begin with the same two fields */
	struct extension_walk *w = context;

	w->p->nexthdr = w->c.off;
	extension = take(&w->c, sizeof(*extension));
	if (!extension) {
		w->protocol = -REASON_SHORT;
		return 1;
	}
	if (w->protocol == IPPROTO_ROUTING && extension->segments_left)
		w->p->on_its_way = true;
	w->protocol = extension->nexthdr;
	w->c.off += extension->hdrlen * 8 + 8 - sizeof(*extension);
	if (w->c.off - w->p->l3 > w->p->l3_len)
		w->protocol = -REASON_BAD_LENGTH;
	return !is_extension(w->protocol);
}

/*
 * Steps over extension headers, sets where the transport header is, and returns the
 * protocol behind them. (Not inline: few packets have any.)
 */
__noinline int skip_extensions(struct __sk_buff *skb, struct packet *p, __u32 off, __u8 protocol)
{
	struct extension_walk w = { .c = { skb, off }, .p = p, .protocol = protocol };

	if (!p)
		return -REASON_FAILED;
	bpf_loop(MAX_EXTENSIONS, next_extension, &w, 0);
	p->l4 = w.c.off;
	return is_extension(w.protocol) ? -REASON_EXTENSION : w.protocol;
}

static __always_inline enum reason parse_ipv6(struct cursor *c, struct packet *p)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	__u32 payload;
	int protocol;

	if (!ip)
		return REASON_SHORT;
	if (ip->version != 6)
		return REASON_BAD_VERSION;
	p->tuple.family = 6;
	p->dont_fragment = true;
	p->nexthdr = p->l3 + offsetof(struct ipv6hdr, nexthdr);
	__builtin_memcpy(p->tuple.saddr, &ip->saddr, sizeof(p->tuple.saddr));
	__builtin_memcpy(p->tuple.daddr, &ip->daddr, sizeof(p->tuple.daddr));
	payload = bpf_ntohs(ip->payload_len);
	protocol = ip->nexthdr;
	if (set_length(c, p, payload || !c->skb->gso_size ? payload + sizeof(*ip) : 0))
		return REASON_BAD_LENGTH;
	if (is_extension(protocol)) {
		protocol = skip_extensions(c->skb, p, c->off, protocol);
		if (protocol < 0)
			return -protocol;
		c->off = p->l4;
	}
	if (protocol == IPPROTO_FRAGMENT)
		return REASON_FRAGMENT;
	return parse_l4(c, p, protocol);
}

#define VLAN_ID 0x0fff

/*
 * is_of_vlan: a tag that names VLAN 0 gives no more than a priority. The kernel drops it behind
 * the hook, and the packet is the interface's own.
 */
static __always_inline bool is_of_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_ID;
}

/*
 * parse fills in p and returns REASON_NONE, or returns why the packet must be
 * left untouched. Of p, REASON_OTHER_PROTOCOL then leaves all but ports and what
 * depends on the protocol, and not_parsed relies on that; any other reason leaves
 * nothing that may be used. l2 is the offset of the IP header.
 */
static __always_inline enum reason parse(struct __sk_buff *skb, __u32 l2, struct packet *p)
{
	struct cursor c = { .skb = skb, .off = l2 };

	__builtin_memset(p, 0, sizeof(*p));
	p->l3 = l2;
	if (is_of_vlan(skb))
		return REASON_VLAN;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(&c, p);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(&c, p);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return REASON_VLAN;
	}
	return REASON_NOT_IP;
}

#endif
