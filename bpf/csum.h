/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Internet checksums (RFC 1071). Sums are of 16-bit words as they lie in memory,
 * not folded: any value that is congruent modulo 0xffff will do. A checksum
 * field holds the complement of a folded sum.
 *
 * 0 in a UDP header says that there is no checksum; a sum that comes out as 0
 * is written as 0xffff, which is the same number.
 */
#ifndef FUNNEL_CSUM_H
#define FUNNEL_CSUM_H

#include "kernel.h"
#include "parse.h"

static __always_inline __u16 csum_fold_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* csum_field turns a complete sum into what a checksum field holds. */
static __always_inline __sum16 csum_field(__u64 sum)
{
	return ~csum_fold_sum(sum);
}

static __always_inline __sum16 csum_field_udp(__u64 sum)
{
	return csum_field(sum) ?: 0xffff;
}

/* csum_negative returns what cancels a sum. */
static __always_inline __u16 csum_negative(__u64 sum)
{
	return ~csum_fold_sum(sum);
}

/* csum_addresses is the complete sum of both addresses of the packet. */
static __always_inline __u16 csum_addresses(const struct tuple *t)
{
	__u64 sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (__u64)t->saddr[i] + t->daddr[i];
	return csum_fold_sum(sum);
}

/*
 * csum_is_pseudo reports whether the checksum field may hold nothing but the sum
 * of the pseudo header. One in 65,535 whole checksums looks the same.
 */
static __always_inline bool csum_is_pseudo(const struct packet *p)
{
	__u64 sum = csum_addresses(&p->tuple);

	sum += bpf_htons(p->tuple.protocol) + bpf_htons(p->l4_len);
	return csum_fold_sum(sum + csum_negative(p->check)) == 0xffff;
}

/* csum_words is the complete sum of len octets on the stack, len a multiple of 4. */
static __always_inline __u64 csum_words(const void *from, __u32 len)
{
	const __u32 *word = from;
	__u64 sum = 0;

	for (__u32 i = 0; i < len / 4; i++)
		sum += word[i];
	return sum;
}

/* Where the checksum field of a TCP or UDP header at l4 is. */
static __always_inline __u32 check_offset(__u32 l4, __u8 protocol)
{
	return l4 + (protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
					       offsetof(struct udphdr, check));
}

#define CSUM_CHUNK 256

/* Not on the stack: there is not enough of it. */
struct csum_chunk {
	__be32 words[CSUM_CHUNK / 4];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct csum_chunk);
} csum_chunks SEC(".maps");

struct csum_walk {
	struct __sk_buff *skb;
	struct csum_chunk *chunk;
	__u32 off;
	__u32 len;	/* octets still to be summed */
	__u32 sum;
	bool failed;
};

static long csum_next(__u32 index, void *context)
{
	struct csum_walk *w = context;
	__u32 last = w->len - 1; /* octet of the chunk */
	__u32 word;

	if (!w->len)
		return 1;
	if (last >= CSUM_CHUNK)
		last = CSUM_CHUNK - 1;
	opaque(last);
	word = last / 4;
	opaque(word);
	if (last >= CSUM_CHUNK || word >= CSUM_CHUNK / 4) {
		w->failed = true;
		return 1;
	}
	w->chunk->words[word] = 0;
	if (bpf_skb_load_bytes(w->skb, w->off, w->chunk, last + 1)) {
		w->failed = true;
		return 1;
	}
	w->sum = bpf_csum_diff(NULL, 0, w->chunk->words, word * 4 + 4, w->sum);
	w->off += last + 1;
	w->len -= last + 1;
	return 0;
}

/*
 * csum_packet is the complete sum of len octets of the packet from off on, an
 * odd last one padded with 0; -1 when they can't be read.
 */
__noinline __s64 csum_packet(struct __sk_buff *skb, __u32 off, __u32 len)
{
	struct csum_walk w = { .skb = skb, .off = off, .len = len };
	__u32 zero = 0;

	w.chunk = bpf_map_lookup_elem(&csum_chunks, &zero);
	if (!w.chunk)
		return -1;
	bpf_loop(0x10000 / CSUM_CHUNK, csum_next, &w, 0);
	return w.failed || w.len ? -1 : w.sum;
}

#endif
