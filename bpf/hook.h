/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The way of a packet through the program of either hook: what flows say of it comes
 * before what rules say.
 */
#ifndef FUNNEL_HOOK_H
#define FUNNEL_HOOK_H

#include "act.h"
#include "backend.h"
#include "classify.h"
#include "config.h"
#include "count.h"
#include "fast.h"
#include "icmp.h"
#include "inline.h"
#include "parse.h"
#include "reply.h"

/* What the hooks don't have in common. */
struct hook_ways {
	enum hook hook;
	/* does all for a datagram that it takes; NOT_OURS for another packet */
	int (*datagram)(struct __sk_buff *skb);
	/* does what the flows of push say; NOT_OURS when they say nothing */
	int (*known_reply)(struct __sk_buff *skb, struct packet *p);
	/* pushes a header, and counts for the rule */
	int (*push)(struct __sk_buff *skb, struct packet *p, __u32 rule, const struct action *a);
};

/* do_rule does what the rule says that a packet matches. */
static __always_inline int do_rule(struct __sk_buff *skb, struct packet *p, __u32 rule,
				   const struct action *a, const struct hook_ways *ways)
{
	enum hook hook = ways->hook;

	if (funnels_inline && a->verb == VERB_FUNNEL_INLINE)
		return funnel_inline(skb, p, rule, a, hook);
	if (unfunnels_inline && a->verb == VERB_UNFUNNEL_INLINE)
		return unfunnel_inline(skb, p, rule, hook);
	if (pushes && a->verb == VERB_FUNNEL)
		return ways->push(skb, p, rule, a);
	count_rule(rule, p->l3_len);
	if (a->verb == VERB_ACCEPT)
		return pass_direct(skb, p, hook, REASON_ACCEPTED);
	return act(skb, p, rule, a, hook);
}

static __always_inline int whole_way(struct __sk_buff *skb, const struct hook_ways *ways)
{
	struct packet *p = packet_memory();
	enum reason reason;
	struct action *a;
	int rule, outcome;

	if (!p)
		return dropped(REASON_FAILED);
	reason = parse(skb, l2_len, p);
	if (reason)
		return not_parsed(skb, p, reason, ways->hook);
	outcome = known_flow(skb, p, ways->hook);
	if (outcome != NOT_OURS)
		return outcome;
	outcome = ways->known_reply(skb, p);
	if (outcome != NOT_OURS)
		return outcome;
	rule = classify(&p->tuple);
	a = action_of(rule);
	if (clashes_with_pushed(p, a, ways->hook))
		return dropped(REASON_TUPLE_CLASH);
	if (!a)
		return pass_direct(skb, p, ways->hook, REASON_NO_MATCH);
	return do_rule(skb, p, rule, a, ways);
}

/* (What either way keeps on the stack is not needed by the other.) */
static __always_inline int at_hook(struct __sk_buff *skb, const struct hook_ways ways)
{
	int outcome = follow_fast(skb, ways.hook);

	if (outcome == NOT_OURS)
		outcome = ways.datagram(skb);
	return outcome != NOT_OURS ? outcome : whole_way(skb, &ways);
}

#endif
