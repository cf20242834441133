/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The other end of inline: a marked segment tells its port itself, and its
 * answers are marked by what the flow table remembers of it.
 *
 * A flow is half open until its client has shown that it receives what is sent
 * to it: by acknowledging our SYN-ACK, or, when its entry was lost or is older
 * than this program, by being answered with anything but a reset. Some may stand
 * among the live ones until then, EARLY, for which the table has room besides:
 * they become live where they are. All others stand in half_open.
 */
#ifndef FUNNEL_BACKEND_H
#define FUNNEL_BACKEND_H

#include "inline.h"

/* How many flows may be EARLY, and how often the table is swept when there are so many. */
volatile const __u32 early_flows_limit;
#define EARLY_SWEEP FLOW_SECONDS(3)

/* For how long a half-open flow keeps others off. */
#define HALF_OPEN_HOLDS FLOW_SECONDS(5)

static __always_inline bool half_open_holds(const struct flow *f)
{
	return ticks_since(flow_now(), f->tick) < (__s32)HALF_OPEN_HOLDS;
}

static __always_inline bool is_early(const struct flow *f)
{
	return f->state & FLOW_EARLY;
}

/* Whether a flow that stands among the live ones keeps others off. */
static __always_inline bool backend_holds(const struct flow *f)
{
	return is_early(f) ? half_open_holds(f) : !flow_expired(f, true);
}

static __always_inline void forget_half_open(const struct flow_key *key, const struct flow *f)
{
	if (is_early(f))
		forget_flow(key, f);
	else
		bpf_map_delete_elem(&half_open, key);
}

static __always_inline int unfunnel_segment(struct __sk_buff *skb, const struct packet *p,
					    enum reason reason)
{
	struct rewrite r = { p->tuple.sport, p->urg, 0, p->flags };

	return rewritten(skb, p, &r, reason);
}

/* Whether a segment acknowledges our SYN-ACK. */
static __always_inline bool proves_receipt(const struct flow *f, __u8 flags, __u32 ack)
{
	return f->state & FLOW_ISN && flags & TCP_ACK && ack == f->isn + 1;
}

static __always_inline bool acknowledges(struct __sk_buff *skb, const struct packet *p,
					 const struct flow *f)
{
	return proves_receipt(f, p->flags, numbers_of(skb, p).ack);
}

/* What remains of a half-open flow's state when it becomes a live one. */
static __always_inline __u8 live_state(const struct flow *f)
{
	return FLOW_ANSWERED | (f->state & FLOW_CLOSED);
}

/* settle makes an early flow a live one, where it stands. */
static __always_inline void settle(struct flow *f)
{
	f->state = live_state(f);
	end_early();
}

/* note_fin: one that finds no place goes on half open, to its end. */
static __always_inline void note_fin(struct flow *f, const struct packet *p, __u8 fin)
{
	if (p->flags & TCP_FIN)
		f->state |= fin;
}

/*
 * promote gives a half-open flow its place among the live ones if there is one. Where
 * there is none, each answer tries again: that its client receives them is shown once.
 */
static __always_inline enum reason promote(const struct flow_key *key, struct flow *f,
					   enum reason reason)
{
	struct flow live;

	if (is_early(f)) {
		settle(f);
		return reason;
	}
	live = *f;
	live.state = live_state(f);
	if (insert_flow(key, &live)) {
		f->state |= FLOW_ANSWERED | FLOW_MIDWAY;
		want_sweep();
		return REASON_NOT_KEPT;
	}
	bpf_map_delete_elem(&half_open, key);
	return reason;
}

/*
 * unfunnel_known unfunnels what belongs to a flow that has an entry. A new connection
 * in the place of one that other rules let in is asked about (remember).
 */
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
		if (backend_holds(f))
			return dropped(REASON_TUPLE_CLASH);
		forget_flow(&key, f);
		return NOT_OURS;
	}
	if (is_syn(p) && !is_of_these_rules(f))
		return NOT_OURS;
	if (is_early(f)) {
		if (!acknowledges(skb, p, f))
			return NOT_OURS;
		settle(f);
	}
	note_segment(&key, f, p->flags, true);
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
		if (backend_holds(f))
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

/* Whether one more flow may be EARLY. When there are too many, some may be over. */
static __always_inline bool may_be_early(void)
{
	if (early_flows < early_flows_limit)
		return true;
	if (flow_now() - swept.tick >= EARLY_SWEEP)
		want_sweep();
	return false;
}

/* insert_early reports whether the table had a place. */
static __always_inline bool insert_early(const struct flow_key *key, struct flow *new)
{
	new->state |= FLOW_EARLY;
	if (!insert_flow(key, new)) {
		early_flows++;
		return true;
	}
	new->state &= ~FLOW_EARLY;
	want_sweep();
	return false;
}

/* renew_early reports whether the entry was still there. */
static __always_inline bool renew_early(const struct flow_key *key, struct flow *new)
{
	new->state |= FLOW_EARLY;
	if (!bpf_map_update_elem(&flows, key, new, BPF_EXIST))
		return true;
	new->state &= ~FLOW_EARLY;
	return false;
}

/* begin_half_open makes the entry of a half-open flow; in place of another that it had. */
static __always_inline void begin_half_open(const struct flow_key *key, const struct flow *had,
					    struct flow *new)
{
	if (had && is_early(had) && renew_early(key, new))
		return;
	if (!had && !(new->state & FLOW_MIDWAY) && may_be_early() && insert_early(key, new))
		return;
	bpf_map_update_elem(&half_open, key, new, BPF_ANY);
}

/* renew_live begins a new life of a live flow, by the rule that lets it in now. */
static __noinline void renew_live(const struct flow_key *key, struct flow *f, __u8 flags,
				  __u32 rule)
{
	f->rule = stamp_rule(rule);
	note_segment(key, f, flags, true);
}

/*
 * remember makes or renews the entry that answers will be marked by: a half-open one, if
 * no live flow has its place.
 */
static __noinline enum reason remember(struct __sk_buff *skb, const struct packet *p, __u32 rule,
				       enum hook hook)
{
	struct flow_key key;
	struct flow *f, new = {
		.tick = flow_now(),
		.stamp = flow_stamp(),
		.rule = stamp_rule(rule),
		.sport = p->tuple.dport,
		.dport = p->tuple.sport,
		.urg = p->urg,
		.kind = FLOW_BACKEND,
		.state = is_syn(p) ? 0 : FLOW_MIDWAY,
	};

	key_back(p, hook, p->urg, p->tuple.sport, &key);
	f = bpf_map_lookup_elem(&flows, &key);
	if (f && f->kind == FLOW_BACKEND && !is_early(f) && f->sport == p->tuple.dport) {
		renew_live(&key, f, p->flags, rule);
		return REASON_UNFUNNELED;
	}
	if (!f || f->kind != FLOW_BACKEND)
		f = bpf_map_lookup_elem(&half_open, &key);
	if (f && f->sport != p->tuple.dport && half_open_holds(f))
		return REASON_TUPLE_CLASH;
	if (f && f->sport == p->tuple.dport && !is_syn(p)) {
		touch_flow(f);
		note_fin(f, p, FLOW_FIN_OUT);
		return acknowledges(skb, p, f) ? promote(&key, f, REASON_UNFUNNELED) :
						 REASON_UNFUNNELED;
	}
	begin_half_open(&key, f, &new);
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

/* A SYN-ACK that is sent again writes nothing: the flow may have become a live one. */
static __always_inline void note_isn(struct flow *f, __u32 isn)
{
	if (f->state & FLOW_ISN && f->isn == isn)
		return;
	f->isn = isn;
	f->state |= FLOW_ISN;
}

/* answer_half_open marks what answers a half-open flow. */
static __noinline int answer_half_open(struct __sk_buff *skb, const struct packet *p,
				       const struct flow_key *key, struct flow *f)
{
	struct flow copy = *f;

	if (flow_expired(f, false)) {
		forget_half_open(key, f);
		return NOT_OURS;
	}
	touch_flow(f);
	note_fin(f, p, FLOW_FIN_BACK);
	if (p->flags & TCP_SYN) {
		note_isn(f, numbers_of(skb, p).seq);
	} else if (!(p->flags & TCP_RST) && f->state & FLOW_MIDWAY) {
		promote(key, f, REASON_NONE);
	}
	return mark(skb, p, &copy);
}

/*
 * begins_anew reports whether a SYN begins a connection in the place of one that other
 * rules funneled or let pass: it is for the rules of now, and the entry goes. Only that of one
 * that nobody has answered yet may be sent again.
 */
static __noinline bool begins_anew(struct __sk_buff *skb, const struct packet *p,
				   const struct flow_key *key, const struct flow *f)
{
	if (f->kind != FLOW_FORWARD || is_of_these_rules(f))
		return false;
	if (!f->state && f->isn == numbers_of(skb, p).seq && !flow_expired(f, false))
		return false;
	forget_flow(key, f);
	return true;
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
	if (answers_inline)
		sweep_if_wanted(); /* before anything is found that may go */
	if (follows_flows) { /* so it is where answers come */
		key_of(p, hook, &key);
		f = bpf_map_lookup_elem(&flows, &key);
		if (f && !is_early(f)) {
			if (unlikely(is_syn(p)) && begins_anew(skb, p, &key, f))
				return NOT_OURS;
			return follow(skb, p, &key, f);
		}
		if (answers_inline) {
			f = f ?: bpf_map_lookup_elem(&half_open, &key);
			outcome = f ? answer_half_open(skb, p, &key, f) : NOT_OURS;
			if (outcome != NOT_OURS)
				return outcome;
		}
	}
	if (!unfunnels_inline)
		return NOT_OURS;
	if (is_marked(p))
		return unfunnel_known(skb, p, hook);
	return is_syn(p) && clashes(p, hook) ? dropped(REASON_TUPLE_CLASH) : NOT_OURS;
}

#endif
