/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Push into a packet that fits an Ethernet frame. It is put together beside the packet,
 * which grows at its end and is written at once. In front local senders leave no room for
 * a header, and a packet that grows there is copied by the kernel, with all that belongs to
 * it: that costs more than this does.
 */
#ifndef FUNNEL_SMALL_H
#define FUNNEL_SMALL_H

#include "complete.h"
#include "config.h"
#include "csum.h"
#include "ip.h"
#include "outer.h"
#include "parse.h"

#ifndef SMALL_PACKET
#define SMALL_PACKET 1536 /* octets from the IP header on */
#endif

/*
 * The first octets of a packet are copied, summed and written in such blocks: if there are
 * no others, that costs less than a helper does, to call and to return from.
 */
union small_block {
	__u64 longs[4];
	__u32 words[8];
};

#define SMALL_BLOCKS 8
#define IN_BLOCKS (SMALL_BLOCKS * sizeof(union small_block))

/* A packet with room for an outer header in front, and behind for the end of a sum. */
struct small_packet {
	__u8 room[sizeof(struct tcphdr)];
	__u8 octets[SMALL_PACKET];
	__u8 end[sizeof(struct ipv6hdr)];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct small_packet);
} small_packets SEC(".maps");

/*
 * is_small reports whether push_small is the way for a packet. What is longer than some
 * blocks is copied only if there is no room in front (TCP leaves some, and so do drivers for
 * what is forwarded), or if it is to be summed anyway.
 */
static __always_inline bool is_small(struct __sk_buff *skb, const struct packet *p)
{
	if (options_len(p))
		return false;
	if (p->l3_len <= IN_BLOCKS)
		return true;
	return p->tuple.protocol == IPPROTO_UDP && p->l3_len <= SMALL_PACKET &&
	       (p->partial || !p->check || !has_room(skb, sizeof(struct tcphdr)));
}

static __always_inline void move_block(union small_block *packet, union small_block *octets,
				       bool write)
{
	if (write)
		*packet = *octets;
	else
		*octets = *packet;
}

/*
 * move_blocks reads, or writes, a packet of total octets that is linear and no longer than
 * some blocks, of which the last begins before the one in front of it ends; false for another.
 */
static __always_inline bool move_blocks(struct __sk_buff *skb, const struct packet *p,
					void *octets, __u64 total, bool write)
{
	union small_block *packet = packet_start(skb), *block = octets;
	__u64 l3 = p->l3, rest = total - sizeof(*packet);
	void *end = packet_end(skb);

	opaque(l3);
	opaque(rest);
	if (l3 > ETH_HLEN || rest > IN_BLOCKS - sizeof(*packet))
		return false;
	packet = (void *)packet + l3;
	for (__u32 i = 0; i < SMALL_BLOCKS - 1 && i * sizeof(*packet) < rest; i++) {
		if ((void *)(packet + i + 1) > end)
			return false;
		move_block(packet + i, block + i, write);
	}
	packet = (void *)packet + rest;
	opaque(packet);
	if ((void *)(packet + 1) > end)
		return false;
	move_block(packet, octets + rest, write);
	return true;
}

/* read_small copies the packet. */
static __always_inline int read_small(struct __sk_buff *skb, const struct packet *p,
				      struct small_packet *s)
{
	__u32 last = p->l3_len - 1;

	opaque(last);
	if (last >= SMALL_PACKET)
		return -1;
	return move_blocks(skb, p, s->octets, (__u64)last + 1, false) ? 0 :
	       bpf_skb_load_bytes(skb, p->l3, s->octets, last + 1);
}

/* sum_blocks sums what fits in blocks, of which the last is filled up with zeros. */
static __always_inline __u64 sum_blocks(const union small_block *block, __u32 len)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < SMALL_BLOCKS && i * sizeof(*block) < len; i++)
		sum += csum_words(block + i, sizeof(*block));
	return sum;
}

#define SUMMED_AT_ONCE 512 /* by bpf_csum_diff before Linux 6.13 */

/* sum_pieces sums what is longer; zeros follow. */
static __always_inline __u64 sum_pieces(__u8 *from, __u32 len)
{
	__u32 sum = 0, piece;

	for (__u32 at = 0; at < SMALL_PACKET && at < len; at += SUMMED_AT_ONCE) {
		piece = (len - at + 3) / 4 * 4;
		if (piece > SUMMED_AT_ONCE)
			piece = SUMMED_AT_ONCE;
		opaque(piece);
		if (piece > SUMMED_AT_ONCE)
			return 0;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)(from + at), piece, sum);
	}
	return sum;
}

/* sum_small sums what is behind the IP header. */
static __always_inline __u64 sum_small(struct small_packet *s, const struct packet *p)
{
	__u32 len = p->l3_len, from = p->l4 - p->l3;

	opaque(len);
	opaque(from);
	if (len > SMALL_PACKET || from > sizeof(struct ipv6hdr))
		return 0;
	*(union small_block *)(s->octets + len) = (union small_block){};
	if (SMALL_PACKET <= IN_BLOCKS || p->l4_len <= IN_BLOCKS)
		return sum_blocks((void *)(s->octets + from), p->l4_len);
	return sum_pieces(s->octets + from, p->l4_len);
}

/*
 * settle_small writes the checksum that is carried inside; see forget_addresses and
 * fill_udp_check.
 */
static __always_inline int settle_small(struct small_packet *s, const struct packet *p)
{
	bool absent = p->tuple.protocol == IPPROTO_UDP && !p->check && !p->partial;
	__u32 off = check_offset(p->l4 - p->l3, p->tuple.protocol);
	__sum16 *check;
	__u64 sum;

	opaque(off);
	if (off > SMALL_PACKET - sizeof(*check))
		return -1;
	check = (__sum16 *)(s->octets + off);
	sum = absent ? bpf_htons(p->l4_len) + bpf_htons(IPPROTO_UDP) :
		       csum_negative(csum_addresses(&p->tuple));
	sum += p->partial || absent ? sum_small(s, p) : csum_negative(*check);
	*check = whole_checksum(p, sum);
	return 0;
}

/*
 * put_together moves the IP header, base octets long, down by len octets, and fills
 * the gap with the outer header.
 */
static __always_inline void put_together(struct small_packet *s, const struct packet *p,
					 const union outer_header *outer, __u8 protocol, __u32 base,
					 __u32 len)
{
	__be32 *ip = (__be32 *)(s->octets - len), *gap = (__be32 *)(s->octets - len + base);

	for (__u32 i = 0; i < base / 4; i++)
		ip[i] = ((__be32 *)s->octets)[i];
	for (__u32 i = 0; i < len / 4; i++)
		gap[i] = outer->words[i];
	if (base == sizeof(struct iphdr))
		set_ipv4((struct iphdr *)ip, protocol, p->l3_len + len);
	else
		set_ipv6((struct ipv6hdr *)ip, protocol, p->l3_len + len);
}

/* store_small writes a packet with an outer header of len octets. */
static __always_inline int store_small(struct __sk_buff *skb, const struct packet *p,
				       struct small_packet *s, const union outer_header *outer,
				       __u8 family, __u8 protocol, __u32 len)
{
	__u32 last = p->l3_len - 1;

	if (family == 4)
		put_together(s, p, outer, protocol, sizeof(struct iphdr), len);
	else
		put_together(s, p, outer, protocol, sizeof(struct ipv6hdr), len);
	opaque(last);
	if (last >= SMALL_PACKET)
		return -1;
	if (move_blocks(skb, p, s->octets - len, (__u64)last + 1 + len, true))
		return 0;
	return bpf_skb_store_bytes(skb, p->l3, s->octets - len, last + 1 + len, 0);
}

/*
 * grow_small makes a packet len octets longer, without a note that its checksum is
 * left to others. What is too short to be cut is longer for a while. 1: the kernel
 * lets no packet of this kind grow at its end (skb->encapsulation), and nothing changed.
 */
static __always_inline int grow_small(struct __sk_buff *skb, const struct packet *p, __u32 len)
{
	__u32 end = p->l3 + p->l3_len + len, cuttable = p->l3 + ip_base(p) + cut_len(p);

	if (!p->partial)
		return bpf_skb_change_tail(skb, end, 0) ? 1 : 0;
	if (bpf_skb_change_tail(skb, end < cuttable ? cuttable : end, 0))
		return 1;
	if (drop_note(skb, p))
		return -1;
	return end < cuttable ? bpf_skb_change_tail(skb, end, 0) : 0;
}

/*
 * push_at_end pushes a header into a small packet of that family. It returns 0, 1 when the
 * packet can't grow at its end, unchanged, or less when it fails.
 */
static __always_inline int push_at_end(struct __sk_buff *skb, const struct packet *p,
				       const struct action *a, __u8 family)
{
	union outer_header outer = {};
	struct small_packet *s;
	__u32 zero = 0;
	int failed;

	s = bpf_map_lookup_elem(&small_packets, &zero);
	if (!s || read_small(skb, p, s))
		return -1;
	failed = grow_small(skb, p, l4_header_len(a->protocol));
	if (failed)
		return failed;
	if (settle_small(s, p))
		return -1;
	fill_outer(&outer, p, a);
	if (a->protocol == IPPROTO_TCP)
		return store_small(skb, p, s, &outer, family, IPPROTO_TCP, sizeof(outer.tcp));
	return store_small(skb, p, s, &outer, family, IPPROTO_UDP, sizeof(outer.udp));
}

/* push_small is push_at_end. (Not inline: the stack is small.) */
__noinline int push_small(struct __sk_buff *skb, const struct packet *p, const struct action *a)
{
	return p && a ? push_at_end(skb, p, a, p->tuple.family) : -1;
}

#endif
