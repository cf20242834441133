/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Quotes of packets that have, or had, a pushed header. Errors about what is
 * pushed at the other hook quote that header: it is taken out. Errors about what
 * is unfunneled there do not: it is put back, so that who is on the way
 * recognises the packet.
 *
 * A rule that pushes says what its header looks like; what one was that was
 * unfunneled only the flows of rules with `reply` tell.
 *
 * What stands in front of the header moves, so that what follows, of whatever
 * length, does not. A structure behind the quote (RFC 4884) then no longer is
 * where it was: the field that tells of it is cleared.
 */
#ifndef FUNNEL_REQUOTE_H
#define FUNNEL_REQUOTE_H

#include "classify.h"
#include "config.h"
#include "count.h"
#include "csum.h"
#include "flow.h"
#include "funnel.h"
#include "ip.h"
#include "parse.h"
#include "quote.h"
#include "reply.h"

/* How long errors are at most: RFC 1812 section 4.3.2.3, RFC 4443 section 2.4. */
#define IPV4_MAX_ERROR 576
#define IPV6_MAX_ERROR 1280

/* Where in struct pushed_header the quoted header is found. */
struct search {
	const struct packet *quote;
	__u8 inner;	/* 0: no rule of the other hook pushes such a header */
};

static long match_pushed(__u32 i, void *context)
{
	struct search *s = context;
	const struct pushed_header *h = bpf_map_lookup_elem(&pushed_headers, &i);

	if (!h || h->outer != s->quote->tuple.protocol || h->port != s->quote->tuple.dport)
		return 0;
	if ((__u16)(bpf_ntohs(s->quote->tuple.sport) - h->first_source_port) >= h->source_ports)
		return 0;
	s->inner = h->inner;
	return 1;
}

/* The inner protocol of a quoted packet if a rule of the other hook pushed it, or 0. */
static __always_inline __u8 ruled_protocol(const struct packet *q)
{
	struct search s = { .quote = q };

	if (pushed_headers_count)
		bpf_loop(pushed_headers_count, match_pushed, &s, 0);
	return s.inner;
}

/* The same by what was noted of its flow, the quoted packet being an answer or not. */
static __noinline __u8 noted_protocol(struct __sk_buff *skb, const struct packet *q,
				      enum hook hook)
{
	__be16 sport = q->tuple.sport, dport = q->tuple.dport, ports[2];
	struct flow_key key;
	__u8 protocol;

	if (bpf_skb_load_bytes(skb, q->l4 + l4_header_len(q->tuple.protocol), ports, sizeof(ports)))
		return 0;
	key_of(q, other_hook(hook), &key);
	key.sport = ports[0];
	key.dport = ports[1];
	protocol = protocol_under(&key, PUSHED_IN, q->tuple.protocol, sport, dport);
	if (protocol)
		return protocol;
	key_back(q, other_hook(hook), ports[1], ports[0], &key);
	return protocol_under(&key, PUSHED_OUT, q->tuple.protocol, dport, sport);
}

/* Whether a quoted header could be a pushed one. What is quoted of it may end early. */
static __always_inline bool may_be_pushed(struct __sk_buff *skb, const struct packet *q)
{
	__be32 seq;

	if (q->on_its_way)
		return false;
	if (q->tuple.protocol == IPPROTO_UDP)
		return true;
	return !bpf_skb_load_bytes(skb, q->l4 + offsetof(struct tcphdr, seq), &seq, sizeof(seq)) &&
	       seq == bpf_htonl(PUSHED_SEQ) &&
	       (q->l4_len < sizeof(struct tcphdr) || q->tuple.pushed);
}

/* The rule of this hook for what the quoted packet answers; pushed as rules match it. */
static __noinline int rule_of_answered(const struct packet *q, bool pushed)
{
	struct tuple t = q->tuple;

	__builtin_memcpy(t.saddr, q->tuple.daddr, sizeof(t.saddr));
	__builtin_memcpy(t.daddr, q->tuple.saddr, sizeof(t.daddr));
	t.sport = q->tuple.dport;
	t.dport = q->tuple.sport;
	t.pushed = pushed;
	return classify(&t);
}

/* Whether a rule of this hook notes the flow that the quoted packet, a pushed one, answers. */
static __always_inline bool answers_noted(const struct packet *q)
{
	const struct action *a;

	if (!notes_replies)
		return false;
	a = action_of(rule_of_answered(q, q->tuple.protocol == IPPROTO_TCP));
	return a && a->verb == VERB_UNFUNNEL && a->reply;
}

/* An MTU for packets that are longer by so much; 0 (RFC 792) says none. */
static __always_inline __u32 resized_mtu(__u32 mtu, __s32 more, __u32 most)
{
	__s64 now = (__s64)mtu + more;

	return mtu && now > 0 && now <= most ? now : mtu;
}

/* The quoted IPv4 packet longer by so much; false when it can't be so long, or short. */
static __always_inline bool resize_ipv4(struct quote_head *h, __u8 protocol, __s32 more)
{
	__s32 total = bpf_ntohs(h->v4.tot_len) + more;
	__u64 sum = (__u16)~h->v4.check;

	if (total < h->v4.ihl * 4 + QUOTED_L4 || total > 0xffff)
		return false;
	sum += csum_negative(h->v4.tot_len) + csum_negative(bpf_htons(h->v4.protocol));
	h->v4.tot_len = bpf_htons(total);
	h->v4.protocol = protocol;
	h->v4.check = csum_field(sum + h->v4.tot_len + bpf_htons(protocol));
	h->icmp.v4.length = 0;
	if (h->icmp.type == ICMP_DEST_UNREACH && h->icmp.code == ICMP_FRAG_NEEDED)
		h->icmp.v4.mtu = bpf_htons(resized_mtu(bpf_ntohs(h->icmp.v4.mtu), more, 0xffff));
	return true;
}

/* nexthdr is the octet that names the protocol. */
static __always_inline bool resize_ipv6(struct quote_head *h, __u32 nexthdr, __u8 protocol,
					__s32 more)
{
	__s32 payload = bpf_ntohs(h->v6.payload_len) + more;

	opaque(nexthdr);
	if (payload < QUOTED_L4 || payload > 0xffff || nexthdr >= sizeof(h->octets))
		return false;
	h->v6.payload_len = bpf_htons(payload);
	h->octets[nexthdr] = protocol;
	if (h->icmp.type == ICMPV6_PACKET_TOO_BIG)
		h->icmp.mtu6 = bpf_htonl(resized_mtu(bpf_ntohl(h->icmp.mtu6), more, ~0U));
	else
		h->icmp.v6.length = 0;
	return true;
}

static __always_inline bool resize_quoted(struct error *e, __u8 protocol, __s32 more)
{
	if (e->quote.tuple.family == 4)
		return resize_ipv4(&e->head, protocol, more);
	return resize_ipv6(&e->head, e->quote.nexthdr - e->quote.l3, protocol, more);
}

/* The octet of the message with which the quoted IP header ends. */
static __always_inline __u32 head_last(const struct packet *p, const struct packet *q)
{
	__u32 last = q->l4 - p->l4 - 1;

	opaque(last);
	return last;
}

static __always_inline int load_head(struct __sk_buff *skb, const struct packet *p, struct error *e)
{
	__u32 last = head_last(p, &e->quote);

	if (last >= sizeof(e->head))
		return -1;
	return bpf_skb_load_bytes(skb, p->l4, &e->head, last + 1);
}

static __always_inline int store_head(struct __sk_buff *skb, const struct packet *p,
				      const struct error *e)
{
	__u32 last = head_last(p, &e->quote);

	if (last >= sizeof(e->head))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4, &e->head, last + 1, BPF_F_RECOMPUTE_CSUM);
}

/*
 * change_addresses adds a sum to the inner checksum of the quoted packet, if it
 * is quoted, for the addresses that the packet has, or no longer has. It is len
 * octets behind where that packet's transport header is. (Not inline: the stack is small.)
 */
static __noinline int change_addresses(struct __sk_buff *skb, const struct packet *q,
				       __u8 protocol, __u32 len, __u16 addresses)
{
	__u32 at = check_offset(len, protocol);
	__sum16 check;

	if (q->l4_len < at + sizeof(check))
		return 0;
	if (bpf_skb_load_bytes(skb, q->l4 + at, &check, sizeof(check)))
		return -1;
	check = csum_field((__u64)csum_negative(check) + addresses);
	if (!check && protocol == IPPROTO_UDP)
		check = 0xffff;
	return bpf_skb_store_bytes(skb, q->l4 + at, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM);
}

/*
 * keep_checksum makes the message sum to what it summed to before, len octets
 * long then; it is l4_len octets now and still has its old checksum.
 */
static __always_inline int keep_checksum(struct __sk_buff *skb, const struct packet *p,
					 __sum16 check, __s64 before, __u32 l4_len)
{
	__s64 after = csum_packet(skb, p->l4, l4_len);
	__u64 sum;

	if (before < 0 || after < 0)
		return -1;
	sum = csum_negative(before) + after + csum_negative(check);
	if (p->tuple.family == 6)
		sum += bpf_htons(l4_len) + csum_negative(bpf_htons(p->l4_len));
	check = csum_field(sum);
	return bpf_skb_store_bytes(skb, p->l4 + offsetof(struct icmp_error, checksum), &check,
				   sizeof(check), BPF_F_RECOMPUTE_CSUM);
}

/* Whether what stands in front of the quoted transport header is too long to be moved. */
static __always_inline bool unmovable(const struct packet *p, const struct packet *q)
{
	return options_len(p) > MAX_OPTIONS || options_len(q) > MAX_OPTIONS;
}

/* pop_in_quote takes the outer header out of the quoted packet. */
static __noinline enum reason pop_in_quote(struct __sk_buff *skb, const struct packet *p,
					   struct error *e, __u8 protocol)
{
	const struct packet *q = &e->quote;
	__u32 len = l4_header_len(q->tuple.protocol);
	__s64 before = csum_packet(skb, p->l4, p->l4_len);

	if (unmovable(p, q))
		return REASON_EXTENSION;
	if (load_head(skb, p, e))
		return REASON_FAILED;
	if (!resize_quoted(e, protocol, -(__s32)len))
		return REASON_NONE;
	if (change_addresses(skb, q, protocol, len, csum_addresses(&q->tuple)) ||
	    move_options(skb, p, p->l3 + ip_base(p), p->l3 + ip_base(p) + len) ||
	    bpf_skb_adjust_room(skb, -(__s32)len, BPF_ADJ_ROOM_NET, 0) ||
	    rewrite_ip(skb, p, p->tuple.protocol, p->l3_len - len) || store_head(skb, p, e) ||
	    keep_checksum(skb, p, e->head.icmp.checksum, before, p->l4_len - len))
		return REASON_FAILED;
	return REASON_ERROR_TRANSLATED;
}

/* How many octets at its end an error has to lose to have room for len others. */
static __always_inline __u32 surplus(struct __sk_buff *skb, const struct packet *p, __u32 len)
{
	__u32 most = p->tuple.family == 4 ? IPV4_MAX_ERROR : IPV6_MAX_ERROR;
	__u32 mtu;

	if (!fits(skb, p, len, &mtu) && mtu < most)
		most = mtu;
	if (most < p->l3_len)
		most = p->l3_len;
	return p->l3_len + len > most ? p->l3_len + len - most : 0;
}

/* How long what follows the quoted IP header was; little of it may be quoted. */
static __always_inline __u32 whole_l4_len(const struct error *e)
{
	if (e->quote.tuple.family == 4)
		return bpf_ntohs(e->head.v4.tot_len) - (e->quote.l4 - e->quote.l3);
	return bpf_ntohs(e->head.v6.payload_len) - options_len(&e->quote);
}

/* push_in_quote puts the outer header back that the quoted packet had. */
static __noinline enum reason push_in_quote(struct __sk_buff *skb, const struct packet *p,
					    struct error *e, const struct action *a)
{
	struct packet *q = &e->quote;
	__u32 len = l4_header_len(a->protocol), less = surplus(skb, p, len), whole;
	__s64 before = csum_packet(skb, p->l4, p->l4_len);

	if (unmovable(p, q))
		return REASON_EXTENSION;
	if (q->l4_len < less + QUOTED_L4)
		return REASON_ERROR_SHORT;
	if (load_head(skb, p, e))
		return REASON_FAILED;
	whole = whole_l4_len(e);
	if (!resize_quoted(e, a->protocol, len))
		return REASON_NONE;
	if (change_addresses(skb, q, q->tuple.protocol, 0, csum_negative(csum_addresses(&q->tuple))) ||
	    (less && bpf_skb_change_tail(skb, p->l3 + p->l3_len - less, 0)) ||
	    bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_NET, 0) ||
	    move_options(skb, p, p->l3 + ip_base(p) + len, p->l3 + ip_base(p)) ||
	    rewrite_ip(skb, p, p->tuple.protocol, p->l3_len + len - less) || store_head(skb, p, e))
		return REASON_FAILED;
	q->l4_len = whole;
	if (store_outer(skb, q, a) ||
	    keep_checksum(skb, p, e->head.icmp.checksum, before, p->l4_len + len - less))
		return REASON_FAILED;
	return REASON_ERROR_TRANSLATED;
}

/*
 * The outer source port of a flow's last packet, or, within the first tick of a
 * source port's time, of the one before it.
 */
static __always_inline __u16 last_source_port(const struct pushed_flow *f)
{
	__u64 time = (__u64)f->tick << (FLOW_TICK_SHIFT - SOURCE_PORT_SHIFT), slot = 0;

	if (f->source_ports > 1 && source_port_slot)
		slot = time / source_port_slot % f->source_ports;
	return f->first_source_port + slot;
}

/*
 * header_before says in which header the quoted packet came to the other hook to
 * be unfunneled, as the first of a flow did or as its answers do.
 */
static __always_inline bool header_before(const struct packet *q, enum hook hook,
					  struct action *a)
{
	const struct pushed_flow *f;
	struct flow_key key;

	key_back(q, other_hook(hook), q->tuple.dport, q->tuple.sport, &key);
	f = bpf_map_lookup_elem(&pushed_flows, &key);
	if (f && f->kind == PUSHED_IN) {
		a->first_source_port = f->first_source_port;
		a->port = f->port;
	} else {
		key_of(q, other_hook(hook), &key);
		f = bpf_map_lookup_elem(&pushed_flows, &key);
		if (!f || f->kind != PUSHED_OUT)
			return false;
		a->first_source_port = bpf_ntohs(f->port);
		a->port = bpf_htons(last_source_port(f));
	}
	a->protocol = f->outer;
	a->source_ports = 1;
	return true;
}

/* translate_pushed returns REASON_NONE when it knows of no push of the quoted packet. */
static __always_inline enum reason translate_pushed(struct __sk_buff *skb, const struct packet *p,
						    struct error *e, enum hook hook)
{
	const struct packet *q = &e->quote;
	__u8 protocol, ruled;

	if (!(pushed_headers_count || knows_replies) || !may_be_pushed(skb, q))
		return REASON_NONE;
	ruled = ruled_protocol(q);
	if (q->l4_len < l4_header_len(q->tuple.protocol) + QUOTED_L4)
		return ruled || answers_noted(q) ? REASON_ERROR_SHORT : REASON_NONE;
	protocol = knows_replies ? noted_protocol(skb, q, hook) : 0;
	if (!protocol)
		protocol = ruled;
	return protocol ? pop_in_quote(skb, p, e, protocol) : REASON_NONE;
}

/* translate_popped returns REASON_NONE when it knows of no header that the quoted packet had. */
static __always_inline enum reason translate_popped(struct __sk_buff *skb, const struct packet *p,
						    struct error *e, enum hook hook)
{
	struct action a = {};

	if (!knows_replies || e->quote.on_its_way || !header_before(&e->quote, hook, &a))
		return REASON_NONE;
	return push_in_quote(skb, p, e, &a);
}

/*
 * requote rewrites the quote of what has, or had, a pushed header, and returns
 * REASON_NONE when there is no such.
 */
static __always_inline enum reason requote(struct __sk_buff *skb, const struct packet *p,
					   struct error *e, enum hook hook)
{
	return translate_pushed(skb, p, e, hook) ?: translate_popped(skb, p, e, hook);
}

#endif
