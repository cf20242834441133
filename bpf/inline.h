/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Inline: nothing is inserted into a TCP segment. Its destination port becomes
 * the through port, its source port one that nobody else here uses, and the
 * destination port that it had rides in the urgent pointer, which means
 * nothing while the URG flag is clear. Answers carry it too.
 *
 * All changes are made by difference, the checksum's too. Neither ports nor
 * urgent pointer are part of the pseudo header, so that a checksum that is
 * still to be completed (CHECKSUM_PARTIAL) does not change, and the kernel's
 * sum of a packet (CHECKSUM_COMPLETE) stays true without being touched.
 */
#ifndef FUNNEL_INLINE_H
#define FUNNEL_INLINE_H

#include "classify.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "flow.h"
#include "parse.h"

/* What a segment gets. */
struct rewrite {
	__be16 sport;
	__be16 dport;
	__be16 urg;
	__u8 flags;
};

/* How the sum of the segment changes, in what the checksum field covers. */
static __always_inline __u32 rewrite_sum(const struct packet *p, const struct rewrite *r)
{
	__u32 sum = r->sport + r->dport + r->urg + bpf_htons(r->flags);

	sum += (__u16)~p->tuple.sport + (__u16)~p->tuple.dport + (__u16)~p->urg;
	return sum + (__u16)~bpf_htons(p->flags);
}

/*
 * store_header writes the header at once; whole says that the checksum field holds
 * a whole checksum. Each helper that writes costs about as much as finding the flow.
 */
static __always_inline int store_header(struct __sk_buff *skb, const struct packet *p,
					const struct rewrite *r, bool whole)
{
	struct cursor c = { .skb = skb, .off = p->l4 };
	struct tcphdr *at = take(&c, sizeof(*at)), tcp;

	if (!at)
		return -1;
	tcp = *at;
	tcp.source = r->sport;
	tcp.dest = r->dport;
	tcp.urg_ptr = r->urg;
	((__u8 *)&tcp)[13] = r->flags;
	if (whole)
		tcp.check = csum_field((__u16)~tcp.check + rewrite_sum(p, r));
	return bpf_skb_store_bytes(skb, p->l4, &tcp, sizeof(tcp), 0);
}

/* store_fields leaves the checksum to the kernel, which knows what it holds. */
static __always_inline int store_fields(struct __sk_buff *skb, const struct packet *p,
					const struct rewrite *r)
{
	if (bpf_l4_csum_replace(skb, p->l4 + offsetof(struct tcphdr, check), 0, rewrite_sum(p, r), 0) ||
	    bpf_skb_store_bytes(skb, p->l4, &r->sport, 2 * sizeof(r->sport), 0))
		return -1;
	if (r->urg != p->urg && bpf_skb_store_bytes(skb, p->l4 + offsetof(struct tcphdr, urg_ptr),
						    &r->urg, sizeof(r->urg), 0))
		return -1;
	return r->flags == p->flags ? 0 :
	       bpf_skb_store_bytes(skb, p->l4 + offsetof(struct tcphdr, ack_seq) + 5, &r->flags,
				   sizeof(r->flags), 0);
}

/* rewrite_segment returns 0, or -1 when the kernel refuses. */
__noinline int rewrite_segment(struct __sk_buff *skb, const struct packet *p,
			       const struct rewrite *r)
{
	bool whole;

	if (!p || !r)
		return -1;
	if (!checksum_is_known())
		return store_fields(skb, p, r);
	whole = checksum_is_whole(skb);
	if (whole && r->urg && unchain(skb))
		return -1;
	return store_header(skb, p, r, whole);
}

static __always_inline int rewritten(struct __sk_buff *skb, const struct packet *p,
				     const struct rewrite *r, enum reason reason)
{
	return rewrite_segment(skb, p, r) ? dropped(REASON_FAILED) : untouched(reason);
}

/* Whether a segment carries a port; ordinary ones carry 0 there. */
static __always_inline bool is_marked(const struct packet *p)
{
	return p->urg && !(p->flags & TCP_URG);
}

/*
 * mark makes of a segment what travels. A segment can't carry both a marker and
 * urgent data: the flag is cleared, and the data stays in its place.
 */
static __always_inline int mark(struct __sk_buff *skb, const struct packet *p,
				const struct flow *f)
{
	struct rewrite r = { f->sport, f->dport, f->urg, p->flags & ~TCP_URG };

	return rewritten(skb, p, &r, p->flags & TCP_URG ? REASON_URGENT : REASON_FUNNELED);
}

/* A connection to the through port itself: its source port is exchanged at most. */
static __always_inline int keep_apart(struct __sk_buff *skb, const struct packet *p,
				      const struct flow *f)
{
	struct rewrite r = { f->sport, f->dport, p->urg, p->flags };

	if (r.sport == p->tuple.sport && r.dport == p->tuple.dport)
		return untouched(REASON_DIRECT);
	return rewritten(skb, p, &r, REASON_DIRECT);
}

/*
 * Whether a segment is of the port that the application wants, and not of the one
 * that answers for it. Only resets need no marker; who sends them on the way can't
 * know it.
 */
static __always_inline bool has_marker(const struct packet *p, const struct flow *f)
{
	return (p->urg == f->marker && is_marked(p)) || p->flags & TCP_RST;
}

/* What must not reach the application becomes a reset. */
static __always_inline int unmark(struct __sk_buff *skb, const struct packet *p,
				  const struct flow *f)
{
	struct rewrite r = { f->sport, f->dport, 0, p->flags };

	if (has_marker(p, f))
		return rewritten(skb, p, &r, REASON_UNFUNNELED);
	r.flags = TCP_RST | (p->flags & TCP_ACK);
	return rewritten(skb, p, &r, REASON_MARKER_MISSING);
}

/* Sequence and acknowledgement number, in host order. */
struct numbers {
	__u32 seq;
	__u32 ack;
};

static __always_inline struct numbers numbers_of(struct __sk_buff *skb, const struct packet *p)
{
	struct numbers n = {};

	bpf_skb_load_bytes(skb, p->l4 + offsetof(struct tcphdr, seq), &n, sizeof(n));
	n.seq = bpf_ntohl(n.seq);
	n.ack = bpf_ntohl(n.ack);
	return n;
}

/*
 * follow rewrites a segment of a flow that has an entry. Its state is by what the
 * application gets: a connection that is refused sends nothing more.
 */
static __noinline int follow(struct __sk_buff *skb, const struct packet *p,
			     const struct flow_key *key, struct flow *f)
{
	bool refused = f->marker && !has_marker(p, f);

	note_segment(key, f, refused ? TCP_RST : p->flags, f->kind == FLOW_FORWARD);
	if (f->kind == FLOW_FORWARD && is_syn(p))
		f->isn = numbers_of(skb, p).seq;
	if (f->urg) {
		if (f->kind == FLOW_FORWARD)
			count_flow(f, p->l3_len);
		return mark(skb, p, f);
	}
	return f->marker ? unmark(skb, p, f) : keep_apart(skb, p, f);
}

/*
 * Source ports that the kernel does not give to connections by itself lie in
 * two ranges, below and above those that it does.
 */
static __always_inline __be16 exchange_port(__u32 i)
{
	if (i < exchange_low_count)
		return bpf_htons(exchange_low + i);
	return bpf_htons(exchange_high + i - exchange_low_count);
}

static __always_inline bool is_exchange_port(__be16 port)
{
	__u32 number = bpf_ntohs(port);

	return number - exchange_low < exchange_low_count ||
	       number - exchange_high < exchange_high_count;
}

/*
 * Where to look for a source port first: the same place for the same ports, so
 * that a connection in the place of an earlier one is that for the server as well.
 * A port drawn at random would meet what the server has in TIME_WAIT of another
 * connection, whose timestamps and sequence numbers tell nothing about this one.
 */
static __always_inline __u32 exchange_start(const struct packet *p)
{
	return bpf_ntohs(p->tuple.sport) + bpf_ntohs(p->tuple.dport) * 7919U;
}

#define CLAIM_TRIES 128

/*
 * Where the next try is: at first in a row, then far apart, since ports that are taken
 * stand in rows. A prime, so that it comes by every port however many there are.
 */
#define CLAIM_STRIDE 40507

/* One claim. Keys and values stand here, so that no function needs more stack. */
struct claim {
	struct flow_key reverse;
	struct flow back;
	struct flow_key key;	/* of FORWARD */
	struct flow value;	/* of the same */
	__be16 first;		/* source port to try first; 0: any */
	__u16 pad;
	__u32 start;
	__u32 taken;
	__u32 full;	/* the flow table is */
};

/* Takes the place of a flow that is over. */
static __always_inline long take_over(struct claim *c, bool pressed)
{
	struct flow *f = bpf_map_lookup_elem(&flows, &c->reverse);

	if (!f || !flow_expired(f, pressed))
		return -EEXIST;
	forget_flow(&c->reverse, f);
	return insert_flow(&c->reverse, &c->back);
}

/*
 * One try. In the first half of them it passes over ports that the source
 * address uses with any other destination, or has used lately: what translates
 * destinations on the way may bring both to the same one.
 */
static long claim_port(__u32 i, void *context)
{
	bool choosy = i < CLAIM_TRIES / 2;
	struct claim *c = context;
	long err = -EEXIST;
	__u32 others;

	c->reverse.dport = c->first;
	if (i || !c->first)
		c->reverse.dport = exchange_port((c->start + (choosy ? i : i * CLAIM_STRIDE)) % exchange_count);
	others = use_source(c->reverse.daddr, c->reverse.dport);
	if (!choosy || !others || c->reverse.dport == c->first) {
		err = insert_flow(&c->reverse, &c->back);
		if (err == -EEXIST)
			err = take_over(c, !choosy);
	}
	if (err)
		leave_source(c->reverse.daddr, c->reverse.dport);
	c->taken = !err;
	c->full = err && err != -EEXIST;
	return c->taken || c->full;
}

/* The first entry is made last: only then are answers provided for. */
static __always_inline enum reason make_forward(const struct packet *p, enum hook hook,
						__u32 rule, struct claim *c)
{
	long err;

	c->value.rule = stamp_rule(rule);
	c->value.sport = c->reverse.dport;
	c->value.dport = c->reverse.sport;
	c->value.urg = c->back.marker;
	key_of(p, hook, &c->key);
	err = insert_flow(&c->key, &c->value);
	if (!err)
		return REASON_NONE;
	forget_reverse(&c->reverse);
	return err == -EEXIST ? REASON_NONE : REASON_FLOWS_FULL;
}

static __always_inline void begin_claim(struct claim *c, const struct packet *p, __be16 marker)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->back.tick = c->value.tick = flow_now();
	c->back.stamp = c->value.stamp = flow_stamp();
	c->back.sport = p->tuple.dport;
	c->back.dport = p->tuple.sport;
	c->back.marker = marker;
	c->back.kind = FLOW_REVERSE;
	c->value.kind = FLOW_FORWARD;
	c->first = marker ? 0 : p->tuple.sport;
	c->start = exchange_start(p);
}

__noinline int try_claim(const struct packet *p, enum hook hook, __u32 rule, __be16 through,
			 __be16 marker)
{
	struct claim c;

	if (!p)
		return REASON_FAILED;
	begin_claim(&c, p, marker);
	key_back(p, hook, through, 0, &c.reverse);
	bpf_loop(is_syn(p) || marker ? CLAIM_TRIES : 1, claim_port, &c, 0);
	if (!c.taken)
		return c.full ? REASON_FLOWS_FULL : REASON_NO_PORT;
	return make_forward(p, hook, rule, &c);
}

/*
 * claim makes the entries of a new flow through a port; marker 0: a direct one. A
 * full table is swept.
 */
static __always_inline enum reason claim(const struct packet *p, enum hook hook, __u32 rule,
					 __be16 through, __be16 marker)
{
	enum reason failed = try_claim(p, hook, rule, through, marker);

	if (failed == REASON_FLOWS_FULL && sweep_flows())
		failed = try_claim(p, hook, rule, through, marker);
	return failed;
}

static __always_inline int follow_claimed(struct __sk_buff *skb, const struct packet *p,
					  enum hook hook)
{
	struct flow_key key;
	struct flow *f;

	key_of(p, hook, &key);
	f = bpf_map_lookup_elem(&flows, &key);
	return f ? follow(skb, p, &key, f) : dropped(REASON_FLOWS_FULL);
}

/* Whether some rule of this hook funnels through the port. */
static __always_inline bool is_through(__be16 port)
{
	__u32 number = bpf_ntohs(port);
	__u32 word = number / 64;
	__u64 *bits = bpf_map_lookup_elem(&through_ports, &word);

	return bits && *bits >> number % 64 & 1;
}

/*
 * pass_direct lets a packet pass that no rule funnels. If it could be mistaken
 * for one of a funneled flow once it is on its way, it gets an entry. What is
 * older than that entry keeps its port, or stays as it is.
 */
static __always_inline int pass_direct(struct __sk_buff *skb, const struct packet *p,
				       enum hook hook, enum reason reason)
{
	enum reason failed;

	if (!funnels_inline || p->tuple.protocol != IPPROTO_TCP ||
	    !is_exchange_port(p->tuple.sport) || !is_through(p->tuple.dport))
		return untouched(reason);
	failed = claim(p, hook, 0, p->tuple.dport, 0);
	if (!failed)
		return follow_claimed(skb, p, hook);
	return is_syn(p) ? dropped(failed) : untouched(reason);
}

/* funnel_inline claims what begins. What has begun before the rule stays as it is. */
static __always_inline int funnel_inline(struct __sk_buff *skb, const struct packet *p,
					 __u32 rule, const struct action *a, enum hook hook)
{
	enum reason failed;

	if (p->tuple.protocol != IPPROTO_TCP || p->tuple.dport == a->port)
		return pass_direct(skb, p, hook, REASON_DIRECT);
	if (!is_syn(p))
		return untouched(REASON_NOT_CLAIMED);
	failed = claim(p, hook, rule, a->port, p->tuple.dport);
	return failed ? dropped(failed) : follow_claimed(skb, p, hook);
}

#endif
