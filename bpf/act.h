/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a rule's action does to a packet, apart from where a header may be
 * pushed, which each hook decides.
 */
#ifndef FUNNEL_ACT_H
#define FUNNEL_ACT_H

#include "config.h"
#include "count.h"
#include "funnel.h"
#include "parse.h"
#include "reply.h"
#include "toobig.h"
#include "unfunnel.h"

/*
 * rewritable returns REASON_NONE, or why header insertion can't serve this packet.
 * Where a routing header leads on, the checksum is for another destination than
 * the one that is there now.
 */
static __always_inline enum reason rewritable(const struct packet *p)
{
	if (p->on_its_way || options_len(p) > MAX_OPTIONS)
		return REASON_EXTENSION;
	return REASON_NONE;
}

/*
 * push inserts the header of a funnel action into a packet that is on its way
 * out of the interface. It must not be GSO. That no place
 * was found for a flow shows when its answers are not taken for such.
 */
static __always_inline int push(struct __sk_buff *skb, struct packet *p, const struct action *a)
{
	__u32 more = l4_header_len(a->protocol);
	enum reason reason = rewritable(p);
	__u32 mtu;

	if (reason)
		return untouched(reason);
	if (!fits(skb, p, more, &mtu))
		return too_big(skb, p, more, mtu);
	if (knows_replies && a->reply)
		note_out(p, a, HOOK_EGRESS);
	reason = push_header(skb, p, a, true);
	return reason ? dropped(reason) : untouched(REASON_FUNNELED);
}

/* act does all but funnel. */
static __always_inline int act(struct __sk_buff *skb, const struct packet *p, __u32 rule,
			       const struct action *a, enum hook hook)
{
	enum reason reason;

	if (a->verb == VERB_ACCEPT)
		return untouched(REASON_ACCEPTED);
	if (!unfunnels || a->verb != VERB_UNFUNNEL)
		return dropped(REASON_DROPPED);
	reason = rewritable(p);
	return reason ? untouched(reason) : unfunnel(skb, p, rule, a, hook);
}

#endif
