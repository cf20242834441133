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
#include "parse.h"
#include "quote.h"
#include "requote.h"

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
	if (!unfunnels_inline || !marked_answer(q, hook, &key))
		return REASON_NONE;
	r.sport = q->urg;
	r.urg = 0;
	return rewrite_quote(skb, p, q, &r);
}

/*
 * Whether the quoted segment, too short to tell its marker, answers what a rule of
 * this hook would unfunnel. (Asked from the top: classify takes much of the stack.)
 */
static __always_inline bool lacks_marker(const struct packet *q)
{
	const struct action *a;

	if (!unfunnels_inline || q->l4_len >= sizeof(struct tcphdr))
		return false;
	a = action_of(rule_of_answered(q, q->tuple.pushed));
	return a && a->verb == VERB_UNFUNNEL_INLINE;
}

__noinline int translate(struct __sk_buff *skb, const struct packet *p, enum hook hook)
{
	__u32 zero = 0;
	struct error *e = bpf_map_lookup_elem(&errors, &zero);
	enum reason reason;

	opaque(hook); /* used by all builds: what is not, callers need not pass, and the verifier wants it */
	if (!e || !p || !is_error(skb, p))
		return REASON_OTHER_PROTOCOL;
	__builtin_memset(e, 0, sizeof(*e));
	reason = parse_quote(skb, p, &e->quote);
	if (reason)
		return reason;
	reason = requote(skb, p, e, hook);
	if (reason || !knows_flows || e->quote.tuple.protocol != IPPROTO_TCP)
		return reason ?: REASON_OTHER_PROTOCOL;
	reason = translate_inline(skb, p, &e->quote, hook);
	if (!reason && lacks_marker(&e->quote))
		return REASON_ERROR_SHORT;
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
	    !(knows_flows || knows_replies || pushed_headers_count))
		return untouched(reason);
	reason = translate(skb, p, hook);
	return reason == REASON_FAILED ? dropped(reason) : untouched(reason);
}

#endif
