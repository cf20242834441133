/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The first rule that a packet matches, at a cost that hardly grows with the
 * number of rules.
 *
 * The tables are made by internal/classifier (its package comment explains the
 * encoding) and put here by internal/datapath/classify.go, which sizes,
 * fills and freezes:
 *
 *   classify_memory  pages, class records and blocks, one value
 *   classify_saddr   prefixes of IPv6 source addresses -> class
 *   classify_daddr   prefixes of IPv6 destination addresses -> class
 *   classify_layout  where things stand in classify_memory (read-only data)
 *
 * Every program that includes this file has its own copies.
 */
#ifndef FUNNEL_CLASSIFY_H
#define FUNNEL_CLASSIFY_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* A dimension that no rule restricts. */
#define CLASSIFY_UNUSED 0xffffffffU
#define CLASSIFY_PAGE_SIZE 256
#define CLASSIFY_BLOCK_WORDS 8
#define CLASSIFY_MAX_WORDS 64

/*
 * What rules can match. An IPv4 address stands in the first word, the rest of
 * the array is zero. All bytes are set, pad included.
 */
struct tuple {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u8 family;	/* 4 or 6; this and the next three are read as a word */
	__u8 protocol;	/* IPPROTO_TCP or IPPROTO_UDP; no rule matches others */
	__u8 pushed;	/* 1: TCP, and the header carries the magic */
	__u8 pad;
};

_Static_assert(sizeof(struct tuple) == 40, "tuple has holes");

/* Mirrors classifier.Layout; offsets and lengths in 64-bit words, but for entry_mask. */
struct classify_layout {
	__u32 words;
	__u32 entry_mask;
	__u32 records;
	__u32 record_mask;
	__u32 blocks;
	__u32 block_mask;
	__u32 stride;
	__u32 source_ports;
	__u32 destination_ports;
	__u32 inner_ports;
	__u32 sources4;
	__u32 destinations4;
	__u32 sources6;
	__u32 destinations6;
};

_Static_assert(sizeof(struct classify_layout) == 56, "mirrored in Go");

const volatile struct classify_layout classify_layout;

/* Key of the prefix tries. */
struct classify_prefix {
	__u32 length; /* in bits */
	__be32 addr[4];
};

_Static_assert(sizeof(struct classify_prefix) == 20, "mirrored in Go");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64)); /* sized to the rules */
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} classify_memory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(key_size, sizeof(struct classify_prefix));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 1); /* sized to the rules */
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
} classify_saddr SEC(".maps"), classify_daddr SEC(".maps");

/* The class records that a packet meets, as word offsets from the first one. */
struct classify_found {
	__u64 kind;
	__u64 dport;
	__u64 sport;
	__u64 daddr;
	__u64 saddr;
};

/* Keeps the compiler from moving arithmetic in front of a bounds check. */
#define classify_opaque(x) asm volatile("" : "+r"(x))

/*
 * The number of the lowest bit set, below 64; x is not 0. Without branches, which
 * would double the verifier's paths at each use. clang-14 crashes on
 * __builtin_ctzll for BPF, and on what it recognises as one.
 */
static __always_inline __u64 classify_lowest(__u64 x)
{
	__u64 below = ~x & (x - 1);

	classify_opaque(below);
	return __builtin_popcountll(below) & 63;
}

static __always_inline const __u64 *classify_tables(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&classify_memory, &zero);
}

/* The entry of a page for a byte. The mask changes nothing, and tells the verifier the bounds. */
static __always_inline __u64 classify_entry(const __u64 *memory, __u64 page, __u64 byte)
{
	__u64 i = page * CLASSIFY_PAGE_SIZE + byte;

	return ((const __u16 *)memory)[i & classify_layout.entry_mask];
}

static __always_inline __u64 classify_record(__u64 class)
{
	return class * classify_layout.stride;
}

/* A record begins here. The mask is as in classify_entry. */
static __always_inline const __u64 *classify_at(const __u64 *memory, __u64 record)
{
	return memory + classify_layout.records + (record & classify_layout.record_mask);
}

/* The first word of a record: a summary, or the rules themselves. */
static __always_inline __u64 classify_summary(const __u64 *memory, __u64 record)
{
	return *classify_at(memory, record);
}

/* The record of a port. */
static __always_inline __u64 classify_port(const __u64 *memory, __u64 root, const __be16 *port)
{
	const __u8 *byte = (const __u8 *)port;
	__u64 page = classify_entry(memory, root, byte[0]);

	return classify_record(classify_entry(memory, page, byte[1]));
}

static __always_inline __u64 classify_addr4(const __u64 *memory, __u64 root, const __be32 *addr)
{
	const __u8 *byte = (const __u8 *)addr;
	__u64 page = classify_entry(memory, root, byte[0]);

	page = classify_entry(memory, page, byte[1]);
	page = classify_entry(memory, page, byte[2]);
	return classify_record(classify_entry(memory, page, byte[3]));
}

/* Every address has a class: the tries begin with what holds all of them. */
static __always_inline __u64 classify_addr6(void *trie, const __be32 *addr)
{
	struct classify_prefix key = {
		.length = 128,
		.addr = { addr[0], addr[1], addr[2], addr[3] },
	};
	__u32 *class = bpf_map_lookup_elem(trie, &key);

	return class ? classify_record(*class) : 0;
}

/*
 * Word w, below CLASSIFY_MAX_WORDS, of the rules of a record. It has no branch: five of
 * them for each word were too many paths for the verifier.
 */
static __always_inline __u64 classify_word(const __u64 *memory, __u64 record, __u64 w)
{
	const __u16 *blocks = (const __u16 *)(classify_at(memory, record) + 1);
	__u64 i = blocks[w / CLASSIFY_BLOCK_WORDS];

	i = i * CLASSIFY_BLOCK_WORDS + w % CLASSIFY_BLOCK_WORDS;
	return memory[classify_layout.blocks + (i & classify_layout.block_mask)];
}

/*
 * Looks up the dimensions that kind and destination port leave, one after the other,
 * those that cost least first, until none is left or no rule can match. Returns what is
 * left of the summaries. A dimension that no rule restricts is found in the kind's
 * record again.
 */
static __always_inline __u64 classify_dimensions(const __u64 *memory, const struct tuple *t,
						 struct classify_found *found, __u64 hits)
{
	bool ipv4 = t->family != 6;

	found->sport = found->daddr = found->saddr = found->kind;
	if (classify_layout.source_ports != CLASSIFY_UNUSED) {
		found->sport = classify_port(memory, classify_layout.source_ports, &t->sport);
		hits &= classify_summary(memory, found->sport);
		if (!hits)
			return 0;
	}
	if (ipv4 && classify_layout.destinations4 != CLASSIFY_UNUSED)
		found->daddr = classify_addr4(memory, classify_layout.destinations4, t->daddr);
	if (!ipv4 && classify_layout.destinations6)
		found->daddr = classify_addr6(&classify_daddr, t->daddr);
	hits &= classify_summary(memory, found->daddr);
	if (!hits)
		return 0;
	if (ipv4 && classify_layout.sources4 != CLASSIFY_UNUSED)
		found->saddr = classify_addr4(memory, classify_layout.sources4, t->saddr);
	if (!ipv4 && classify_layout.sources6)
		found->saddr = classify_addr6(&classify_saddr, t->saddr);
	return hits & classify_summary(memory, found->saddr);
}

/* The rules of word w that all dimensions satisfy. */
static __always_inline __u64 classify_and(const __u64 *memory, const struct classify_found *found,
					  __u64 w)
{
	__u64 rules = classify_word(memory, found->kind, w);

	if (classify_layout.destination_ports != CLASSIFY_UNUSED)
		rules &= classify_word(memory, found->dport, w);
	if (classify_layout.source_ports != CLASSIFY_UNUSED)
		rules &= classify_word(memory, found->sport, w);
	if (classify_layout.destinations4 != CLASSIFY_UNUSED || classify_layout.destinations6)
		rules &= classify_word(memory, found->daddr, w);
	if (classify_layout.sources4 != CLASSIFY_UNUSED || classify_layout.sources6)
		rules &= classify_word(memory, found->saddr, w);
	return rules;
}

/* The first rule in the lowest word that hits names, or -1. */
static __always_inline int classify_lowest_word(const __u64 *memory,
						const struct classify_found *found, __u64 hits)
{
	__u64 w = classify_lowest(hits), rules = classify_and(memory, found, w);

	return rules ? w * 64 + classify_lowest(rules) : -1;
}

/* On the way through the words that summaries have in common. */
struct classify_walk {
	const __u64 *memory;
	const struct classify_found *found;
	__u64 hits;
	__s64 rule;
};

static long classify_next(__u32 i, void *context)
{
	struct classify_walk *walk = context;

	walk->hits &= walk->hits - 1;
	if (!walk->hits)
		return 1;
	walk->rule = classify_lowest_word(walk->memory, walk->found, walk->hits);
	return walk->rule >= 0;
}

/*
 * The first rule in the words that hits names, mostly in the first of them. A function
 * of its own, which the verifier checks once, whatever led here. It walks through
 * a loop as often as that can run, but not through bpf_loop.
 */
__noinline int classify_words(const struct classify_found *found, __u64 hits)
{
	struct classify_walk walk;

	walk.memory = classify_tables();
	/* Before Linux 6.8 this is checked also where nothing calls it. */
	if (!walk.memory || !found || classify_layout.stride == 1)
		return -1;
	walk.rule = classify_lowest_word(walk.memory, found, hits);
	if (walk.rule >= 0)
		return walk.rule;
	walk.found = found;
	walk.hits = hits;
	bpf_loop(CLASSIFY_MAX_WORDS - 1, classify_next, &walk, 0);
	return walk.rule;
}

/*
 * The index of the first rule that matches, or -1, for a packet whose kind and
 * destination port have the records given, and hits in common. A function of its own
 * for the same reason as classify_words.
 */
__noinline int classify_rest(const struct tuple *t, __u64 kind, __u64 dport, __u64 hits)
{
	struct classify_found found = { .kind = kind, .dport = dport };
	const __u64 *memory = classify_tables();

	if (!memory || !t)
		return -1;
	hits = classify_dimensions(memory, t, &found, hits);
	if (!hits)
		return -1;
	if (classify_layout.stride == 1)
		return classify_lowest(hits);
	return classify_words(&found, hits);
}

/*
 * The class of what is neither port nor address: UDP, pushed, IPv6, a bit each. These tell
 * 17 from 6 (bit 4 of the protocol), 1 from 0, and 6 from 4 (bit 1 of the family); the
 * multiplication brings them together. No branch: behind each the verifier would look at
 * all that follows once more.
 */
static __always_inline __u64 classify_kind(const struct tuple *t)
{
	__u64 bits = *(const __u32 *)&t->family & (1 << 1 | 1 << (8 + 4) | 1 << 16);

	return bits * (1 << 17 | 1 << 4 | 1 << 1) >> 16 & 7;
}

/*
 * What the rules of a packet's kind and of its destination port have in common; found
 * gets their records.
 */
static __always_inline __u64 classify_begin(const __u64 *memory, const struct tuple *t,
					    struct classify_found *found)
{
	found->kind = classify_record(classify_kind(t));
	found->dport = found->kind;
	if (classify_layout.destination_ports != CLASSIFY_UNUSED)
		found->dport = classify_port(memory, classify_layout.destination_ports, &t->dport);
	return classify_summary(memory, found->kind) & classify_summary(memory, found->dport);
}

/*
 * The index of the first rule that matches, or -1. Most packets of no rule have a
 * destination port of none: they cost no call, whose return alone is as long as all of
 * this where the kernel guards returns (Documentation/admin-guide/hw-vuln/srso.rst).
 */
static __always_inline int classify(const struct tuple *t)
{
	const __u64 *memory = classify_tables();
	struct classify_found found;
	__u64 hits;

	if (!memory || (t->protocol != IPPROTO_TCP && t->protocol != IPPROTO_UDP))
		return -1;
	hits = classify_begin(memory, t, &found);
	return hits ? classify_rest(t, found.kind, found.dport, hits) : -1;
}

/*
 * classify without a call for up to 64 rules, for TCP and UDP over IPv4 only: where all
 * packets come along it would be too much for the verifier.
 */
static __always_inline int classify_ipv4(const struct tuple *t)
{
	const __u64 *memory = classify_tables();
	struct classify_found found;
	__u64 hits;

	if (!memory)
		return -1;
	hits = classify_begin(memory, t, &found);
	if (!hits)
		return -1;
	if (classify_layout.stride != 1)
		return classify_rest(t, found.kind, found.dport, hits);
	hits = classify_dimensions(memory, t, &found, hits);
	return hits ? classify_lowest(hits) : -1;
}

/*
 * Whether the action of a rule accepts an inner destination port; a rule
 * without a set of ports accepts all. The rule is one that classify returned.
 */
static __always_inline bool port_allowed(__u32 rule, __be16 port)
{
	const __u64 *memory;
	__u64 record, rules;

	if (classify_layout.inner_ports == CLASSIFY_UNUSED)
		return true;
	memory = classify_tables();
	if (!memory)
		return false;
	record = classify_port(memory, classify_layout.inner_ports, &port);
	rules = classify_summary(memory, record);
	if (rules && classify_layout.stride != 1)
		rules = classify_word(memory, record, rule / 64 % CLASSIFY_MAX_WORDS);
	return rules >> rule % 64 & 1;
}

#endif
