/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ICMP errors about packets that we rewrote. An error quotes the beginning of the
 * packet that it is about, as that one was on the way. Where the packet was
 * rewritten, the quote is rewritten back, so that the error reaches the socket
 * that sent the packet: path MTU discovery and refusals work as if there were
 * no funnel.
 *
 * What nobody rewrote stays as it is, and so does a quote that ends too early to
 * tell (RFC 792 asks for 8 octets behind the IP header, and many routers quote
 * no more).
 *
 * All sums are kept by difference: a wrong one stays wrong. ICMP is never left
 * to be summed later (CHECKSUM_PARTIAL); the kernel does it itself.
 */
#ifndef FUNNEL_ICMP_H
#define FUNNEL_ICMP_H

#include "classify.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "flow.h"
#include "inline.h"
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
		__u8 octets[sizeof(struct iphdr) + IPV4_MAX_OPTIONS];
	};
};
_Static_assert(sizeof(struct quote_head) == 68, "the verifier is told where it ends");

/* What is at hand of an error. Not on the stack: there is not enough of it. */
struct error {
	struct packet quote; /* as if it were a packet, but lengths are of what is quoted */
	struct quote_head head;
	__be32 outer[5];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct error);
} errors SEC(".maps");

static __always_inline bool is_icmp(const struct packet *p)
{
	return p->tuple.protocol == (p->tuple.family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static __always_inline bool is_error(struct __sk_buff *skb, const struct packet *p)
{
	__u8 type;

	if (p->l4_len < sizeof(struct icmp_error) ||
	    bpf_skb_load_bytes(skb, p->l4, &type, sizeof(type)))
		return false;
	if (p->tuple.family == 6)
		return type >= ICMPV6_FIRST_ERROR && type <= ICMPV6_LAST_ERROR;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM;
}

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

	if (!ip || ip->version != 6)
		return -REASON_OTHER_PROTOCOL;
	q->tuple.family = 6;
	__builtin_memcpy(q->tuple.saddr, &ip->saddr, sizeof(q->tuple.saddr));
	__builtin_memcpy(q->tuple.daddr, &ip->daddr, sizeof(q->tuple.daddr));
	return skip_extensions(c, q, ip->nexthdr);
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

/* rewrite_quote gives the quoted segment ports and, if it is quoted, a marker. */
static __always_inline enum reason rewrite_quote(struct __sk_buff *skb, const struct packet *p,
						 const struct packet *q, const struct rewrite *r)
{
	struct {
		__sum16 check;
		__be16 urg;
	} end = { 0, r->urg };
	__u32 sum = r->sport + r->dport;

	sum += (__u16)~q->tuple.sport + (__u16)~q->tuple.dport;
	if (bpf_skb_store_bytes(skb, q->l4, &r->sport, 2 * sizeof(r->sport), 0))
		return REASON_FAILED;
	if (q->l4_len >= sizeof(struct tcphdr)) {
		sum += r->urg + (__u16)~q->urg;
		end.check = csum_field(sum + (__u16)~q->check);
		sum += end.check + (__u16)~q->check;
		if (bpf_skb_store_bytes(skb, q->l4 + offsetof(struct tcphdr, check), &end,
					sizeof(end), 0))
			return REASON_FAILED;
	}
	if (bpf_l4_csum_replace(skb, p->l4 + offsetof(struct icmp_error, checksum), 0, sum, 0))
		return REASON_FAILED;
	return REASON_ERROR_TRANSLATED;
}

static __always_inline struct flow *find_flow(const struct flow_key *key)
{
	return bpf_map_lookup_elem(&flows, key) ?: bpf_map_lookup_elem(&half_open, key);
}

/*
 * The quoted segment, once it has passed the other hook, is answered by the flow
 * of this key: FORWARD, REVERSE or BACKEND say what it was there or became.
 */
static __always_inline struct flow *flow_of_quote(const struct packet *q, enum hook hook,
						  struct flow_key *key)
{
	key_back(q, other_hook(hook), q->tuple.dport, q->tuple.sport, key);
	return find_flow(key);
}

/* The flow of a quoted segment that was marked at the other hook as an answer. */
static __always_inline bool marked_answer(const struct packet *q, enum hook hook,
					  struct flow_key *key)
{
	const struct flow *f;

	if (!is_marked(q))
		return false;
	key_of(q, other_hook(hook), key);
	key->sport = q->urg;
	f = find_flow(key);
	return f && f->kind == FLOW_BACKEND && f->sport == q->tuple.sport;
}

/* Whether a rule of this hook would unfunnel what the quoted segment answers. */
static __always_inline bool answers_a_rule(const struct packet *q)
{
	struct tuple t = q->tuple;
	struct action *a;

	__builtin_memcpy(t.saddr, q->tuple.daddr, sizeof(t.saddr));
	__builtin_memcpy(t.daddr, q->tuple.saddr, sizeof(t.daddr));
	t.sport = q->tuple.dport;
	t.dport = q->tuple.sport;
	a = action_of(classify(&t));
	return a && a->verb == VERB_UNFUNNEL_INLINE;
}

/* translate_inline returns REASON_NONE when the flow table knows nothing of the quote. */
static __noinline enum reason translate_inline(struct __sk_buff *skb, const struct packet *p,
					       const struct packet *q, enum hook hook)
{
	struct rewrite r = { q->tuple.sport, q->tuple.dport, q->urg, 0 };
	struct flow_key key;
	struct flow *f = flow_of_quote(q, hook, &key);

	if (f) {
		r.sport = f->dport;
		r.dport = f->sport;
		if (f->urg || f->marker)
			r.urg = f->urg;
		return rewrite_quote(skb, p, q, &r);
	}
	if (!unfunnels_inline)
		return REASON_NONE;
	if (q->l4_len < sizeof(struct tcphdr))
		return answers_a_rule(q) ? REASON_ERROR_SHORT : REASON_NONE;
	if (!marked_answer(q, hook, &key))
		return REASON_NONE;
	r.sport = q->urg;
	r.urg = 0;
	return rewrite_quote(skb, p, q, &r);
}

/* Where in struct pushed_header the quoted header is found. */
struct search {
	const struct packet *quote;
	__u8 inner;	/* 0: no rule of the other hook pushes such a header */
};

static long match_pushed(__u32 i, void *context)
{
	struct search *s = context;
	const struct pushed_header *h = bpf_map_lookup_elem(&pushed_headers, &i);

	if (!h || h->outer != s->quote->tuple.protocol || h->port != s->quote->tuple.dport)
		return 0;
	if ((__u16)(bpf_ntohs(s->quote->tuple.sport) - h->first_source_port) >= h->source_ports)
		return 0;
	s->inner = h->inner;
	return 1;
}

/* The inner protocol of a quoted packet if a rule of the other hook pushed it, or 0. */
static __always_inline __u8 pushed_protocol(struct __sk_buff *skb, const struct packet *q)
{
	struct search s = { .quote = q };
	__be32 seq;

	if (q->tuple.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, q->l4 + offsetof(struct tcphdr, seq), &seq, sizeof(seq)))
			return 0;
		if (seq != bpf_htonl(PUSHED_SEQ))
			return 0;
		if (q->l4_len >= sizeof(struct tcphdr) && !q->tuple.pushed)
			return 0;
	}
	bpf_loop(pushed_headers_count, match_pushed, &s, 0);
	return s.inner;
}

/* The quoted IPv4 packet without len octets; false when it is shorter than that. */
static __always_inline bool shrink_ipv4(struct quote_head *h, __u8 protocol, __u32 len)
{
	__u32 total = bpf_ntohs(h->v4.tot_len);
	__u64 sum = (__u16)~h->v4.check;

	if (total < h->v4.ihl * 4 + len + QUOTED_L4)
		return false;
	sum += csum_negative(h->v4.tot_len) + csum_negative(bpf_htons(h->v4.protocol));
	h->v4.tot_len = bpf_htons(total - len);
	h->v4.protocol = protocol;
	h->v4.check = csum_field(sum + h->v4.tot_len + bpf_htons(protocol));
	h->icmp.v4.length = 0;
	if (h->icmp.type == ICMP_DEST_UNREACH && h->icmp.code == ICMP_FRAG_NEEDED &&
	    bpf_ntohs(h->icmp.v4.mtu) > len)
		h->icmp.v4.mtu = bpf_htons(bpf_ntohs(h->icmp.v4.mtu) - len);
	return true;
}

static __always_inline bool shrink_ipv6(struct quote_head *h, __u8 protocol, __u32 len)
{
	__u32 payload = bpf_ntohs(h->v6.payload_len);

	if (payload < len + QUOTED_L4)
		return false;
	h->v6.payload_len = bpf_htons(payload - len);
	h->v6.nexthdr = protocol;
	if (h->icmp.type != ICMPV6_PACKET_TOO_BIG)
		h->icmp.v6.length = 0;
	else if (bpf_ntohl(h->icmp.mtu6) > len)
		h->icmp.mtu6 = bpf_htonl(bpf_ntohl(h->icmp.mtu6) - len);
	return true;
}

/*
 * recall_in_quote gives the quoted inner checksum the addresses that the quoted
 * packet has, if it is quoted, and returns by how much that changed the sum.
 */
static __always_inline int recall_in_quote(struct __sk_buff *skb, const struct packet *q,
					   __u8 protocol, __u32 len, __u64 *sum)
{
	__u32 end = check_offset(0, protocol) + sizeof(__sum16);
	__sum16 was, is;

	if (q->l4_len < len + end)
		return 0;
	if (bpf_skb_load_bytes(skb, q->l4 + len + end - sizeof(was), &was, sizeof(was)))
		return -1;
	is = csum_field((__u64)(__u16)~was + csum_addresses(&q->tuple));
	if (!is && protocol == IPPROTO_UDP)
		is = 0xffff;
	*sum += (__u64)is + (__u16)~was;
	return bpf_skb_store_bytes(skb, q->l4 + len + end - sizeof(is), &is, sizeof(is),
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int load_outer(struct __sk_buff *skb, struct error *e)
{
	if (e->quote.tuple.protocol == IPPROTO_TCP)
		return bpf_skb_load_bytes(skb, e->quote.l4, e->outer, sizeof(struct tcphdr));
	return bpf_skb_load_bytes(skb, e->quote.l4, e->outer, sizeof(struct udphdr));
}

/*
 * pop_in_quote takes the outer header out of the quoted packet. What stands in
 * front of it moves, so that what follows, of whatever length, does not. A
 * structure that follows the quote (RFC 4884) no longer is where it was: the
 * field that tells of it is cleared.
 */
static __noinline enum reason pop_in_quote(struct __sk_buff *skb, const struct packet *p,
					   struct error *e, __u8 protocol)
{
	const struct packet *q = &e->quote;
	__u32 len = l4_header_len(q->tuple.protocol);
	__u32 last = q->l4 - p->l4 - 1; /* octet of the head */
	__u64 sum;

	opaque(last);
	if (last >= sizeof(e->head) || bpf_skb_load_bytes(skb, p->l4, &e->head, last + 1) ||
	    load_outer(skb, e))
		return REASON_FAILED;
	sum = csum_negative(csum_words(&e->head, sizeof(e->head)) +
			    csum_words(e->outer, sizeof(e->outer)));
	if (q->tuple.family == 4 ? !shrink_ipv4(&e->head, protocol, len) :
				   !shrink_ipv6(&e->head, protocol, len))
		return REASON_NONE;
	if (q->tuple.family == 6)
		sum += bpf_htons(p->l4_len - len) + csum_negative(bpf_htons(p->l4_len));
	sum += csum_words(&e->head, sizeof(e->head)) + (__u16)~e->head.icmp.checksum;
	if (recall_in_quote(skb, q, protocol, len, &sum))
		return REASON_FAILED;
	e->head.icmp.checksum = csum_field(sum);
	if (move_options(skb, p, p->l3 + ip_base(p), p->l3 + ip_base(p) + len) ||
	    bpf_skb_adjust_room(skb, -(__s32)len, BPF_ADJ_ROOM_NET, 0) ||
	    rewrite_ip(skb, p, p->tuple.protocol, p->l3_len - len) ||
	    bpf_skb_store_bytes(skb, p->l4, &e->head, last + 1, BPF_F_RECOMPUTE_CSUM))
		return REASON_FAILED;
	return REASON_ERROR_TRANSLATED;
}

/* translate_pushed returns REASON_NONE when no rule of the other hook pushed the quote. */
static __always_inline enum reason translate_pushed(struct __sk_buff *skb, const struct packet *p,
						    struct error *e)
{
	const struct packet *q = &e->quote;
	__u8 protocol;

	if (!pushed_headers_count || (q->tuple.family == 6 && options_len(q)))
		return REASON_NONE;
	protocol = pushed_protocol(skb, q);
	if (!protocol)
		return REASON_NONE;
	if (q->l4_len < l4_header_len(q->tuple.protocol) + QUOTED_L4)
		return REASON_ERROR_SHORT;
	return options_len(p) > MAX_OPTIONS ? REASON_EXTENSION : pop_in_quote(skb, p, e, protocol);
}

__noinline int translate(struct __sk_buff *skb, const struct packet *p, enum hook hook)
{
	__u32 zero = 0;
	struct error *e = bpf_map_lookup_elem(&errors, &zero);
	enum reason reason;

	if (!e || !p || !is_error(skb, p))
		return REASON_OTHER_PROTOCOL;
	__builtin_memset(e, 0, sizeof(*e));
	reason = parse_quote(skb, p, &e->quote);
	if (reason)
		return reason;
	reason = translate_pushed(skb, p, e);
	if (!reason && knows_flows && e->quote.tuple.protocol == IPPROTO_TCP)
		reason = translate_inline(skb, p, &e->quote, hook);
	return reason ?: REASON_OTHER_PROTOCOL;
}

/*
 * not_parsed passes what parse leaves alone, and of that translates the errors
 * about what we rewrote.
 */
static __always_inline int not_parsed(struct __sk_buff *skb, const struct packet *p,
				      enum reason reason, enum hook hook)
{
	if (reason != REASON_OTHER_PROTOCOL || !is_icmp(p) ||
	    !(knows_flows || pushed_headers_count))
		return untouched(reason);
	reason = translate(skb, p, hook);
	return reason == REASON_FAILED ? dropped(reason) : untouched(reason);
}

#endif
