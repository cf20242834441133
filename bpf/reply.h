/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Replies in kind of push. A rule with `reply` notes the flows that it unfunnels,
 * or funnels; the other hook then funnels, or unfunnels, exactly what answers
 * those. It asks before any rule does.
 *
 * A flow here is one inside: what an application's socket sees. Its entry stands
 * under the key that answers have at the other hook, before they are funneled
 * or once they are unfunneled. Entries replace each other by last use.
 *
 * Two flows that the application could not tell apart must not live at the same
 * time: one that is unfunneled and one that is not, or two through different
 * ports. The first one holds its place; the other's packets are dropped until
 * the first has been silent for a while.
 */
#ifndef FUNNEL_REPLY_H
#define FUNNEL_REPLY_H

#include "backend.h"
#include "config.h"
#include "count.h"
#include "flow.h"
#include "parse.h"

enum pushed_kind {
	PUSHED_IN = 1,	/* came in funneled: answers are funneled */
	PUSHED_OUT,	/* was funneled here: answers are unfunneled */
};

struct pushed_flow {
	__u32 tick;	/* of its last packet, answers not counted */
	__be16 port;	/* the through port, as it is seen here */
	__u16 first_source_port; /* outer source ports, host order; PUSHED_IN: last seen */
	__u16 source_ports;	/* how many */
	__u8 outer;	/* protocol */
	__u8 kind;
};
_Static_assert(sizeof(struct pushed_flow) == 12, "struct pushed_flow is shared with Go");

/* Shared by both hooks; the loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct pushed_flow);
} pushed_flows SEC(".maps");

/* For how long after its last packet a flow keeps others off. */
#define PUSHED_HOLDS FLOW_SECONDS(5)

static __always_inline bool pushed_holds(const struct pushed_flow *f)
{
	return ticks_since(flow_now(), f->tick) < (__s32)PUSHED_HOLDS;
}

static __always_inline bool same_way(const struct pushed_flow *f, const struct pushed_flow *other)
{
	return f->kind == other->kind && f->outer == other->outer && f->port == other->port;
}

/* Written only where it differs: processors share the entry. */
static __always_inline void renew_pushed(struct pushed_flow *f, const struct pushed_flow *now)
{
	if (f->tick != now->tick)
		f->tick = now->tick;
	if (f->first_source_port != now->first_source_port)
		f->first_source_port = now->first_source_port;
	if (f->source_ports != now->source_ports)
		f->source_ports = now->source_ports;
}

/*
 * note_pushed makes or renews the entry of the flow that a packet inside belongs
 * to; REASON_TUPLE_CLASH when another one holds its place.
 */
static __noinline enum reason note_pushed(const struct packet *inner, enum hook hook,
					  const struct pushed_flow *now)
{
	struct pushed_flow *f;
	struct flow_key key;

	key_back(inner, hook, inner->tuple.dport, inner->tuple.sport, &key);
	f = bpf_map_lookup_elem(&pushed_flows, &key);
	if (f && same_way(f, now)) {
		renew_pushed(f, now);
		return REASON_NONE;
	}
	if (f && now->kind == PUSHED_IN && pushed_holds(f))
		return REASON_TUPLE_CLASH;
	return bpf_map_update_elem(&pushed_flows, &key, now, BPF_ANY) ? REASON_NOT_KEPT :
									REASON_NONE;
}

/* The entry of a flow whose packets come in with that outer header. */
static __always_inline struct pushed_flow came_in(const struct packet *outer)
{
	return (struct pushed_flow){
		.tick = flow_now(),
		.port = outer->tuple.dport,
		.first_source_port = bpf_ntohs(outer->tuple.sport),
		.source_ports = 1,
		.outer = outer->tuple.protocol,
		.kind = PUSHED_IN,
	};
}

/* Of a packet that a rule with reply unfunnels. */
static __always_inline enum reason note_in(const struct packet *outer, const struct packet *inner,
					   enum hook hook)
{
	struct pushed_flow now = came_in(outer);

	if (unfunnels_inline && inner->tuple.protocol == IPPROTO_TCP && is_syn(inner) &&
	    clashes(inner, hook))
		return REASON_TUPLE_CLASH;
	return note_pushed(inner, hook, &now);
}

/* Of a packet that a rule with reply funnels. */
static __always_inline enum reason note_out(const struct packet *p, const struct action *a,
					    enum hook hook)
{
	struct pushed_flow now = {
		.tick = flow_now(),
		.port = a->port,
		.first_source_port = a->first_source_port,
		.source_ports = a->source_ports,
		.outer = a->protocol,
		.kind = PUSHED_OUT,
	};

	return note_pushed(p, hook, &now);
}

/*
 * holds_tuple reports whether a packet that no push rule unfunnels looks, to the
 * application, like one of a flow that came in funneled. If that flow has been
 * silent it is over, and answers are as this packet is.
 */
static __noinline bool holds_tuple(const struct packet *p, enum hook hook)
{
	struct pushed_flow *f;
	struct flow_key key;
	__be16 port = p->tuple.dport;

	if (unfunnels_inline && p->tuple.protocol == IPPROTO_TCP && is_marked(p))
		port = p->urg;
	key_back(p, hook, port, p->tuple.sport, &key);
	f = bpf_map_lookup_elem(&pushed_flows, &key);
	if (!f || f->kind != PUSHED_IN)
		return false;
	if (pushed_holds(f))
		return true;
	bpf_map_delete_elem(&pushed_flows, &key);
	return false;
}

/* Whether a packet clashes that the rules send on as it came. */
static __always_inline bool clashes_with_pushed(const struct packet *p, const struct action *a,
						enum hook hook)
{
	return notes_replies && !(a && a->verb == VERB_UNFUNNEL) && holds_tuple(p, hook);
}

/* reply_action fills in how a packet is to be funneled that answers a flow; false: not at all. */
static __noinline bool reply_action(const struct packet *p, enum hook hook, struct action *a)
{
	const struct pushed_flow *f;
	struct flow_key key;

	key_of(p, hook, &key);
	f = bpf_map_lookup_elem(&pushed_flows, &key);
	if (!f || f->kind != PUSHED_IN)
		return false;
	a->verb = VERB_FUNNEL;
	a->protocol = f->outer;
	a->port = bpf_htons(f->first_source_port);
	a->first_source_port = bpf_ntohs(f->port);
	a->source_ports = 1;
	return true;
}

/* Whether a header is one of the flow's: its through port, and one of its source ports. */
static __always_inline bool has_header(const struct pushed_flow *f, enum pushed_kind kind,
				       __u8 outer, __be16 through, __be16 source)
{
	return f && f->kind == kind && f->outer == outer && f->port == through &&
	       (__u16)(bpf_ntohs(source) - f->first_source_port) < f->source_ports;
}

/*
 * protocol_under is the protocol inside a header if that is one of the flow's under
 * this key, in which the protocol is left open, or 0.
 */
static __always_inline __u8 protocol_under(struct flow_key *key, enum pushed_kind kind,
					   __u8 outer, __be16 through, __be16 source)
{
	key->protocol = IPPROTO_UDP;
	if (has_header(bpf_map_lookup_elem(&pushed_flows, key), kind, outer, through, source))
		return IPPROTO_UDP;
	key->protocol = IPPROTO_TCP;
	if (has_header(bpf_map_lookup_elem(&pushed_flows, key), kind, outer, through, source))
		return IPPROTO_TCP;
	return 0;
}

/*
 * answered_protocol is the protocol inside a packet that answers a flow which was
 * funneled here, or 0. Ports stand at the same place in TCP and UDP.
 */
static __noinline __u8 answered_protocol(struct __sk_buff *skb, const struct packet *p,
					 enum hook hook)
{
	__u32 len = l4_header_len(p->tuple.protocol);
	struct flow_key key;

	key_of(p, hook, &key);
	if (p->l4_len < len + sizeof(struct udphdr) ||
	    bpf_skb_load_bytes(skb, p->l4 + len, &key.sport, 2 * sizeof(key.sport)))
		return 0;
	return protocol_under(&key, PUSHED_OUT, p->tuple.protocol, p->tuple.sport, p->tuple.dport);
}

/* Whether the header could be one that answers carry. */
static __always_inline bool may_answer(const struct packet *p)
{
	return p->tuple.pushed || p->tuple.protocol == IPPROTO_UDP;
}

#endif
