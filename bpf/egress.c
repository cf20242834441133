//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The program for packets that leave. It sits on the interface and, where headers are
 * pushed, on the ingress hook of end B of its segmenting device as well.
 */
#include "act.h"
#include "classify.h"
#include "config.h"
#include "count.h"
#include "datagram.h"
#include "hook.h"
#include "parse.h"
#include "reply.h"
#include "segment.h"

/*
 * A header is pushed at once only into what is whole: one packet with a whole
 * checksum, or with one that can be completed. All else the segmenting device
 * makes whole first.
 *
 * Also with an outer header that has no checksum itself (UDP over IPv4), the
 * inner one must be whole: network cards that find the transport header on
 * their own would complete the outer one and leave the inner.
 */
static __always_inline int funnel_at_egress(struct __sk_buff *skb, struct packet *p, __u32 rule,
					    const struct action *a)
{
	enum reason reason = rewritable(p);

	if (reason)
		return untouched(reason);
	p->partial = !checksum_is_whole(skb);
	if (skb->gso_size || (p->partial && !is_completable(skb, p)) || segmented_lately(&p->tuple))
		return to_segment(skb, p);
	count_rule(rule, p->l3_len);
	return push(skb, p, a);
}

/* known_reply does what the flows of push say, before any rule is asked. */
static __always_inline int known_reply(struct __sk_buff *skb, struct packet *p)
{
	struct action a = {};

	if (funnels_replies && reply_action(p, HOOK_EGRESS, &a))
		return funnel_at_egress(skb, p, ~0U, &a);
	if (unfunnels_replies && may_answer(p) && !rewritable(p))
		return unfunnel_reply(skb, p, HOOK_EGRESS);
	return NOT_OURS;
}

/* funnel_datagram pushes a header into a small datagram that needs no segmenting. */
static __always_inline int funnel_datagram(struct __sk_buff *skb, struct packet *p, __u32 rule,
					   const struct action *a)
{
	int failed;

	p->partial = !checksum_is_whole(skb);
	if (unlikely(!is_small(skb, p) || skb->ifindex != ifindex ||
		     !fits_device(skb, p->l3_len + l4_header_len(a->protocol))))
		return NOT_OURS;
	if (unlikely((p->partial && !can_complete(skb, p)) || segmented_lately(&p->tuple)))
		return NOT_OURS;
	if (knows_replies && a->reply)
		note_out(p, a, HOOK_EGRESS);
	failed = push_at_end(skb, p, a, 4);
	if (unlikely(failed > 0))
		return NOT_OURS;
	count_rule(rule, p->l3_len);
	return unlikely(failed) ? dropped(REASON_FAILED) : untouched(REASON_FUNNELED);
}

/* push_datagram does what a flow says, or a rule, for a datagram. */
static __always_inline int push_datagram(struct __sk_buff *skb)
{
	struct packet *p = packet_memory();
	struct action *a, reply = {};
	int rule = -1;

	if (!(pushes || funnels_replies) || unfunnels_replies || notes_replies || !checksum_is_known())
		return NOT_OURS;
	if (!p || !plain_ipv4(skb, p, false))
		return NOT_OURS;
	if (funnels_replies && reply_action(p, HOOK_EGRESS, &reply)) {
		a = &reply;
	} else {
		rule = classify_ipv4(&p->tuple);
		a = action_of(rule);
		if (!a || a->verb != VERB_FUNNEL)
			return pass_datagram(p, rule, a);
	}
	return funnel_datagram(skb, p, rule, a);
}

/* What goes on from the device goes out of the interface. */
static __always_inline int send_out(int outcome)
{
	if (action_in(outcome) != TC_ACT_UNSPEC)
		return outcome;
	return redirected(ifindex, 0, reason_in(outcome));
}

/*
 * Segments are looked up again: the device carries nothing but the packet. If
 * the rules were replaced meanwhile, the new ones hold, and packets that they
 * leave alone go out as they are. Nothing else has a way out of the device.
 */
static __always_inline int segment(struct __sk_buff *skb)
{
	struct packet *p = packet_memory();
	struct action *a, reply = {};
	int rule;

	if (!p || parse(skb, ETH_HLEN, p))
		return dropped(REASON_STRAY);
	if (funnels_replies && reply_action(p, HOOK_EGRESS, &reply))
		return send_out(push(skb, p, &reply));
	rule = classify(&p->tuple);
	a = action_of(rule);
	if (!a || a->verb == VERB_FUNNEL_INLINE || a->verb == VERB_UNFUNNEL_INLINE)
		return send_out(untouched(REASON_PASSED_SEGMENT));
	count_rule(rule, p->l3_len);
	if (pushes && a->verb == VERB_FUNNEL)
		return send_out(push(skb, p, a));
	return send_out(act(skb, p, rule, a, HOOK_EGRESS));
}

static __always_inline int at_egress(struct __sk_buff *skb)
{
	const struct hook_ways ways = { HOOK_EGRESS, push_datagram, known_reply, funnel_at_egress };

	if (!segment_b || skb->ingress_ifindex != segment_b)
		return at_hook(skb, ways);
	return skb->ifindex == segment_b ? segment(skb) : untouched(REASON_FROM_SEGMENT);
}

SEC("tc")
int egress(struct __sk_buff *skb)
{
	return leave(at_egress(skb));
}

char _license[] SEC("license") = "Dual BSD/GPL";
