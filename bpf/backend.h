/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The other end of inline: a marked segment tells its port itself, and its
 * answers are marked by what the flow table remembers of it.
 *
 * A flow is half open until its client has shown that it receives what is sent
 * to it: by acknowledging our SYN-ACK, or, when its entry was lost or is older
 * than this program, by being answered with anything but a reset.
 */
#ifndef FUNNEL_BACKEND_H
#define FUNNEL_BACKEND_H

#include "inline.h"

/* For how long a half-open flow keeps others off. */
#define HALF_OPEN_HOLDS FLOW_SECONDS(5)

static __always_inline bool half_open_holds(const struct flow *f)
{
	return flow_now() - f->tick < HALF_OPEN_HOLDS;
}

static __always_inline int unfunnel_segment(struct __sk_buff *skb, const struct packet *p,
					    enum reason reason)
{
	struct rewrite r = { p->tuple.sport, p->urg, 0, p->flags };

	return rewritten(skb, p, &r, reason);
}

/* unfunnel_known unfunnels what belongs to a flow that has an entry. */
__noinline int unfunnel_known(struct __sk_buff *skb, const struct packet *p, enum hook hook)
{
	struct flow_key key;
	struct flow *f;

	if (!p)
		return NOT_OURS;
	key_back(p, hook, p->urg, p->tuple.sport, &key);
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f || f->kind != FLOW_BACKEND)
		return NOT_OURS;
	if (f->sport != p->tuple.dport) {
		if (!flow_expired(f, true))
			return dropped(REASON_TUPLE_CLASH);
		forget_flow(&key, f);
		return NOT_OURS;
	}
	note_segment(&key, f, p, true);
	count_flow(f, p->l3_len);
	return unfunnel_segment(skb, p, REASON_UNFUNNELED);
}

/*
 * clashes reports whether an unmarked SYN would, for the kernel, belong to a flow
 * that is funneled: same addresses, same client port, and its port is the one
 * inside.
 */
__noinline int clashes(const struct packet *p, enum hook hook)
{
	struct flow_key key;
	struct flow *f;

	if (!p)
		return false;
	key_back(p, hook, p->tuple.dport, p->tuple.sport, &key);
	f = bpf_map_lookup_elem(&flows, &key);
	if (f && f->kind == FLOW_BACKEND) {
		if (!flow_expired(f, true))
			return true;
		forget_flow(&key, f);
	}
	f = bpf_map_lookup_elem(&half_open, &key);
	if (!f)
		return false;
	if (half_open_holds(f))
		return true;
	bpf_map_delete_elem(&half_open, &key);
	return false;
}

/* promote gives a half-open flow its place among the live ones if there is one. */
static __always_inline enum reason promote(const struct flow_key *key, const struct flow *f,
					   enum reason reason)
{
	struct flow live = *f;

	live.state = FLOW_ANSWERED;
	if (insert_flow(key, &live)) {
		swept.wanted = true;
		return REASON_NOT_KEPT;
	}
	bpf_map_delete_elem(&half_open, key);
	return reason;
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

static __always_inline bool acknowledges(struct __sk_buff *skb, const struct packet *p,
					 const struct flow *f)
{
	return f->state & FLOW_ISN && p->flags & TCP_ACK && numbers_of(skb, p).ack == f->isn + 1;
}

/* remember makes or renews the half-open entry that answers will be marked by. */
static __noinline enum reason remember(struct __sk_buff *skb, const struct packet *p, __u32 rule,
				       enum hook hook)
{
	struct flow_key key;
	struct flow *f, new = {
		.tick = flow_now(),
		.rule = stamp_rule(rule),
		.sport = p->tuple.dport,
		.dport = p->tuple.sport,
		.urg = p->urg,
		.kind = FLOW_BACKEND,
		.state = is_syn(p) ? 0 : FLOW_MIDWAY,
	};

	key_back(p, hook, p->urg, p->tuple.sport, &key);
	f = bpf_map_lookup_elem(&half_open, &key);
	if (f && f->sport != p->tuple.dport && half_open_holds(f))
		return REASON_TUPLE_CLASH;
	if (f && f->sport == p->tuple.dport && !is_syn(p)) {
		touch_flow(f);
		return acknowledges(skb, p, f) ? promote(&key, f, REASON_UNFUNNELED) :
						 REASON_UNFUNNELED;
	}
	bpf_map_update_elem(&half_open, &key, &new, BPF_ANY);
	return REASON_UNFUNNELED;
}

/* unfunnel_inline unfunnels what a rule says may be. Resets leave no entry. */
static __always_inline int unfunnel_inline(struct __sk_buff *skb, const struct packet *p,
					   __u32 rule, enum hook hook)
{
	enum reason reason = REASON_UNFUNNELED;

	if (p->tuple.protocol != IPPROTO_TCP || !is_marked(p))
		return untouched(REASON_UNMARKED);
	count_rule(rule, p->l3_len);
	if (!port_allowed(rule, p->urg))
		return dropped(REASON_INNER_PORT);
	sweep_if_wanted();
	if (!(p->flags & TCP_RST))
		reason = remember(skb, p, rule, hook);
	if (reason == REASON_TUPLE_CLASH)
		return dropped(reason);
	return unfunnel_segment(skb, p, reason);
}

/* answer_half_open marks what answers a half-open flow. */
__noinline int answer_half_open(struct __sk_buff *skb, const struct packet *p, enum hook hook)
{
	struct flow_key key;
	struct flow *f, copy;

	if (!p)
		return NOT_OURS;
	key_of(p, hook, &key);
	f = bpf_map_lookup_elem(&half_open, &key);
	if (!f)
		return NOT_OURS;
	if (flow_expired(f, false)) {
		bpf_map_delete_elem(&half_open, &key);
		return NOT_OURS;
	}
	copy = *f;
	touch_flow(f);
	if (p->flags & TCP_SYN) {
		f->isn = numbers_of(skb, p).seq;
		f->state |= FLOW_ISN;
	} else if (!(p->flags & TCP_RST) && f->state & FLOW_MIDWAY) {
		promote(&key, f, REASON_NONE);
	}
	return mark(skb, p, &copy);
}

/*
 * known_flow does what the flow table says about a TCP segment, before any rule
 * is asked; NOT_OURS when it says nothing.
 */
static __always_inline int known_flow(struct __sk_buff *skb, const struct packet *p,
				      enum hook hook)
{
	struct flow_key key;
	struct flow *f;
	int outcome;

	if (!knows_flows || p->tuple.protocol != IPPROTO_TCP)
		return NOT_OURS;
	if (follows_flows) {
		key_of(p, hook, &key);
		f = bpf_map_lookup_elem(&flows, &key);
		if (f)
			return follow(skb, p, &key, f);
	}
	if (answers_inline) {
		sweep_if_wanted();
		outcome = answer_half_open(skb, p, hook);
		if (outcome != NOT_OURS)
			return outcome;
	}
	if (!unfunnels_inline)
		return NOT_OURS;
	if (is_marked(p))
		return unfunnel_known(skb, p, hook);
	return is_syn(p) && clashes(p, hook) ? dropped(REASON_TUPLE_CLASH) : NOT_OURS;
}

#endif
