//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The program for packets that arrive on the interface.
 */
#include "act.h"
#include "classify.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "parse.h"

/*
 * A gateway can push into what arrives and goes on through its own stack, which
 * then sees to the MTU. There is no segmenting device on this side.
 */
static __always_inline int funnel_at_ingress(struct __sk_buff *skb, const struct packet *p,
					     const struct action *a)
{
	enum reason reason = rewritable(p);

	if (reason)
		return untouched(reason);
	if (skb->gso_size || (!checksum_is_whole(skb) && csum_is_pseudo(p)))
		return dropped(REASON_NO_SEGMENT);
	if (p->l3_len + l4_header_len(a->protocol) > 0xffff)
		return dropped(REASON_TOO_BIG);
	reason = push_header(skb, p, a);
	return reason ? dropped(reason) : untouched(REASON_FUNNELED);
}

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	struct action *a;
	enum reason reason;
	struct packet p;
	int rule;

	reason = parse(skb, l2_len, &p);
	if (reason)
		return untouched(reason);
	rule = classify(&p.tuple);
	a = action_of(rule);
	if (!a)
		return untouched(REASON_NO_MATCH);
	count_rule(rule, p.l3_len);
	if (a->verb == VERB_FUNNEL)
		return funnel_at_ingress(skb, &p, a);
	return act(skb, &p, rule, a);
}

char _license[] SEC("license") = "Dual BSD/GPL";
