//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The program for packets that arrive on the interface.
 */
#define SMALL_PACKET 256 /* for those that can't be cut; there is memory for each processor */

#include "act.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "datagram.h"
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

/*
 * pop_datagram does what a flow says, or a rule, for a datagram under a header. What flows of
 * inline say of a segment goes before that.
 */
static __always_inline int pop_datagram(struct __sk_buff *skb)
{
	struct packet *p = packet_memory();
	struct action *a = NULL;
	int rule = -1;
	__u8 inner = 0;

	if (!(unfunnels || unfunnels_replies) || funnels_replies)
		return NOT_OURS;
	if (!p || !plain_ipv4(skb, p, !follows_flows))
		return NOT_OURS;
	if (unfunnels_inline && p->tuple.pushed && clashes(p, HOOK_INGRESS))
		return NOT_OURS;
	if (unfunnels_replies)
		inner = answered_protocol(skb, p, HOOK_INGRESS);
	if (!inner) {
		rule = classify_ipv4(&p->tuple);
		a = action_of(rule);
		if (!a || a->verb != VERB_UNFUNNEL)
			return notes_replies || p->tuple.pushed ? NOT_OURS : pass_datagram(p, rule, a);
		inner = a->protocol;
	}
	return inner == IPPROTO_UDP ? unfunnel_datagram(skb, p, rule, a, HOOK_INGRESS) : NOT_OURS;
}

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	const struct hook_ways ways = { HOOK_INGRESS, pop_datagram, known_reply, funnel_at_ingress };

	return leave(at_hook(skb, ways));
}

char _license[] SEC("license") = "Dual BSD/GPL";
