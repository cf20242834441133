/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The fast path: what parse, known_flow and the rewriting do for a TCP segment that
 * belongs to an entry of the flow table: all that a connection has but its first SYN
 * and its answer. It knows no case of its own. Where it is not sure it says NOT_OURS,
 * before anything has changed, and the whole way follows.
 *
 * While bulk data passes neither code nor tables stay in the caches of a processor, and
 * each line of either that is wanted costs a few nanoseconds. So this is short, in one
 * piece, and remembers nothing for what comes later.
 */
#ifndef FUNNEL_FAST_H
#define FUNNEL_FAST_H

#include "backend.h"
#include "config.h"
#include "csum.h"
#include "flow.h"
#include "inline.h"
#include "parse.h"

/* Both ports of a segment, in one word. */
union ports {
	struct {
		__be16 sport;
		__be16 dport;
	};
	__u32 word;
};

/* A segment that the fast path takes. */
struct fast_segment {
	union {
		struct tcphdr tcp;
		union ports ports;
	};
	__u16 l4;	/* offset of the TCP header */
	__u16 l3_len;	/* octets of the IP packet; beyond 65,535 too few for any header */
};

/* fast_ipv4 takes a header without options; it returns its length, 0 for another. */
static __always_inline __u32 fast_ipv4(const struct iphdr *ip, void *end, struct fast_segment *s,
				       struct flow_key *key)
{
	if (unlikely((void *)(ip + 1) + sizeof(struct tcphdr) > end))
		return 0;
	if (unlikely(*(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP ||
		     ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		return 0;
	s->l3_len = bpf_ntohs(ip->tot_len);
	key->family = 4;
	key->saddr[0] = ip->saddr;
	key->daddr[0] = ip->daddr;
	return sizeof(*ip);
}

/* fast_ipv6 is the same for a header without extensions. */
static __always_inline __u32 fast_ipv6(const struct ipv6hdr *ip, void *end, struct fast_segment *s,
				       struct flow_key *key)
{
	if (unlikely((void *)(ip + 1) + sizeof(struct tcphdr) > end))
		return 0;
	if (unlikely(ip->version != 6 || ip->nexthdr != IPPROTO_TCP))
		return 0;
	s->l3_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	key->family = 6;
	__builtin_memcpy(key->saddr, &ip->saddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, &ip->daddr, sizeof(key->daddr));
	return sizeof(*ip);
}

static __always_inline __u8 fast_flags(const struct fast_segment *s)
{
	return ((const __u8 *)&s->tcp)[13];
}

/* A SYN nearly always begins a flow, and its answer goes to one that is half open. */
static __always_inline bool is_for_fast_path(__u8 flags)
{
	if (flags & TCP_SYN && (answers_inline || !(flags & TCP_ACK)))
		return false;
	return !(flags & TCP_URG);
}

/* fast_parse fills in s and the key of the packet where it is. */
static __always_inline bool fast_parse(struct __sk_buff *skb, struct fast_segment *s,
				       struct flow_key *key)
{
	void *ip = packet_start(skb) + l2_len, *end = packet_end(skb);
	const struct tcphdr *tcp;
	__u32 len = 0;

	if (unlikely(is_of_vlan(skb)))
		return false;
	if (likely(skb->protocol == bpf_htons(ETH_P_IP)))
		len = fast_ipv4(ip, end, s, key);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		len = fast_ipv6(ip, end, s, key);
	if (unlikely(!len || s->l3_len > skb->len - l2_len))
		return false;
	tcp = ip + len;
	s->l4 = l2_len + len;
	s->tcp = *tcp;
	key->sport = tcp->source;
	key->dport = tcp->dest;
	if (unlikely(!is_for_fast_path(((__u8 *)tcp)[13])))
		return false;
	return likely(tcp->doff >= sizeof(*tcp) / 4 && len + tcp->doff * 4 <= s->l3_len);
}

/*
 * fast_store gives the segment other ports and another urgent pointer, which is a marker
 * or none.
 */
static __always_inline int fast_store(struct __sk_buff *skb, struct fast_segment *s,
				      union ports ports, __be16 urg, enum reason reason)
{
	struct tcphdr *tcp;
	__u64 sum;

	if (checksum_is_whole(skb)) {
		if (urg && unlikely(unchain(skb)))
			return dropped(REASON_FAILED);
		sum = (__u16)~s->tcp.check + (__u64)(__u32)~s->ports.word + ports.word;
		s->tcp.check = csum_field(sum + (__u16)~s->tcp.urg_ptr + urg);
	}
	tcp = packet_start(skb) + s->l4;
	if (unlikely((void *)(tcp + 1) > packet_end(skb)))
		return dropped(REASON_FAILED);
	*(union ports *)tcp = ports;
	tcp->check = s->tcp.check;
	tcp->urg_ptr = urg;
	return untouched(reason);
}

/* fast_known is follow. */
static __always_inline int fast_known(struct __sk_buff *skb, struct fast_segment *s,
				      const struct flow_key *key, struct flow *f)
{
	bool out = f->kind == FLOW_FORWARD;
	union ports ports;

	if (unlikely(is_early(f) || !(f->urg || (f->marker && f->marker == s->tcp.urg_ptr))))
		return NOT_OURS;
	note_segment(key, f, fast_flags(s), out);
	if (out)
		count_flow(f, s->l3_len);
	ports = (union ports){ { f->sport, f->dport } };
	return fast_store(skb, s, ports, f->urg, f->urg ? REASON_FUNNELED : REASON_UNFUNNELED);
}

/* fast_unfunnel is unfunnel_known. */
static __always_inline int fast_unfunnel(struct __sk_buff *skb, struct fast_segment *s,
					 const struct flow_key *key, struct flow *f)
{
	__u8 flags = fast_flags(s);
	union ports ports;

	if (unlikely(f->kind != FLOW_BACKEND || f->sport != s->tcp.dest))
		return NOT_OURS;
	if (unlikely(is_early(f))) {
		if (!proves_receipt(f, flags, bpf_ntohl(s->tcp.ack_seq)))
			return NOT_OURS;
		settle(f);
	}
	note_segment(key, f, flags, true);
	count_flow(f, s->l3_len);
	ports = (union ports){ { s->tcp.source, s->tcp.urg_ptr } };
	return fast_store(skb, s, ports, 0, REASON_UNFUNNELED);
}

/* fast_swap makes of a key that of the answers at the other hook, which have the port sport. */
static __always_inline void fast_swap(struct flow_key *key, enum hook hook, __be16 sport)
{
	for (int i = 0; i < 4; i++) {
		__be32 addr = key->saddr[i];

		key->saddr[i] = key->daddr[i];
		key->daddr[i] = addr;
	}
	key->dport = key->sport;
	key->sport = sport;
	key->hook = other_hook(hook);
}

static __always_inline int follow_fast(struct __sk_buff *skb, enum hook hook)
{
	struct flow_key key = { .protocol = IPPROTO_TCP, .hook = hook };
	struct fast_segment s;
	struct flow *f;

	if (!knows_flows || !checksum_is_known())
		return NOT_OURS;
	if (!fast_parse(skb, &s, &key))
		return NOT_OURS;
	if (follows_flows) {
		f = bpf_map_lookup_elem(&flows, &key);
		if (f)
			return fast_known(skb, &s, &key, f);
		if (answers_inline)
			return NOT_OURS;
	}
	if (!unfunnels_inline || !s.tcp.urg_ptr)
		return NOT_OURS;
	fast_swap(&key, hook, s.tcp.urg_ptr);
	f = bpf_map_lookup_elem(&flows, &key);
	return f ? fast_unfunnel(skb, &s, &key, f) : NOT_OURS;
}

#endif
