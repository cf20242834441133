//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The program for packets that arrive on the interface.
 */
#include "act.h"
#include "backend.h"
#include "classify.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "icmp.h"
#include "inline.h"
#include "parse.h"
#include "reply.h"

/*
 * A gateway can push into what arrives and goes on through its own stack, which
 * then sees to the MTU. There is no segmenting device on this side.
 */
static __always_inline int funnel_at_ingress(struct __sk_buff *skb, struct packet *p,
					     const struct action *a)
{
	enum reason reason = rewritable(p);
	bool whole;

	if (reason)
		return untouched(reason);
	if (skb->gso_size)
		return dropped(REASON_NO_SEGMENT);
	whole = checksum_is_whole(skb);
	p->partial = !whole && is_completable(skb, p);
	if (!whole && !p->partial && csum_is_pseudo(p))
		return dropped(REASON_NO_SEGMENT);
	if (p->l3_len + l4_header_len(a->protocol) > 0xffff)
		return dropped(REASON_TOO_BIG);
	if (knows_replies && a->reply)
		note_out(p, a, HOOK_INGRESS);
	reason = push_header(skb, p, a, p->partial);
	return reason ? dropped(reason) : untouched(REASON_FUNNELED);
}

/* known_reply does what the flows of push say, before any rule is asked. */
static __always_inline int known_reply(struct __sk_buff *skb, struct packet *p)
{
	struct action a = {};

	if (unfunnels_replies && may_answer(p) && !rewritable(p))
		return unfunnel_reply(skb, p, HOOK_INGRESS);
	if (funnels_replies && reply_action(p, HOOK_INGRESS, &a))
		return funnel_at_ingress(skb, p, &a);
	return NOT_OURS;
}

static __always_inline int at_ingress(struct __sk_buff *skb)
{
	struct action *a;
	enum reason reason;
	struct packet p;
	int rule, outcome;

	reason = parse(skb, l2_len, &p);
	if (reason)
		return not_parsed(skb, &p, reason, HOOK_INGRESS);
	outcome = known_flow(skb, &p, HOOK_INGRESS);
	if (outcome != NOT_OURS)
		return outcome;
	outcome = known_reply(skb, &p);
	if (outcome != NOT_OURS)
		return outcome;
	rule = classify(&p.tuple);
	a = action_of(rule);
	if (clashes_with_pushed(&p, a, HOOK_INGRESS))
		return dropped(REASON_TUPLE_CLASH);
	if (!a)
		return pass_direct(skb, &p, HOOK_INGRESS, REASON_NO_MATCH);
	if (funnels_inline && a->verb == VERB_FUNNEL_INLINE)
		return funnel_inline(skb, &p, rule, a, HOOK_INGRESS);
	if (unfunnels_inline && a->verb == VERB_UNFUNNEL_INLINE)
		return unfunnel_inline(skb, &p, rule, HOOK_INGRESS);
	count_rule(rule, p.l3_len);
	if (a->verb == VERB_ACCEPT)
		return pass_direct(skb, &p, HOOK_INGRESS, REASON_ACCEPTED);
	if (pushes && a->verb == VERB_FUNNEL)
		return funnel_at_ingress(skb, &p, a);
	return act(skb, &p, rule, a, HOOK_INGRESS);
}

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	return leave(at_ingress(skb));
}

char _license[] SEC("license") = "Dual BSD/GPL";
