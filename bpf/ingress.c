//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The program for packets that arrive on the interface.
 */
#include "act.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "hook.h"
#include "parse.h"
#include "reply.h"

/*
 * A gateway can push into what arrives and goes on through its own stack, which
 * then sees to the MTU. There is no segmenting device on this side.
 */
static __always_inline int funnel_at_ingress(struct __sk_buff *skb, struct packet *p, __u32 rule,
					     const struct action *a)
{
	enum reason reason = rewritable(p);
	bool whole;

	count_rule(rule, p->l3_len);
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
		return funnel_at_ingress(skb, p, ~0U, &a);
	return NOT_OURS;
}

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	const struct hook_ways ways = { HOOK_INGRESS, known_reply, funnel_at_ingress };

	return leave(at_hook(skb, ways));
}

char _license[] SEC("license") = "Dual BSD/GPL";
