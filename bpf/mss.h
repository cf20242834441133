/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The TCP MSS option of a SYN that a header is pushed in front of, or taken off
 * from. It tells one side how large the segments are that it may send, and
 * those are pushed as well: it is lowered to what fits the interface with the
 * pushed header, and never raised.
 */
#ifndef FUNNEL_MSS_H
#define FUNNEL_MSS_H

#include "config.h"
#include "csum.h"
#include "flow.h"
#include "ip.h"
#include "parse.h"

/* RFC 9293 */
#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_OPTION_MSS_LEN 4
#define TCP_MAX_OPTIONS 40

struct mss_walk {
	struct __sk_buff *skb;
	__u32 off;
	__u32 end;
	bool found;
};

static long mss_option(__u32 index, void *context)
{
	struct mss_walk *w = context;
	struct {
		__u8 kind;
		__u8 len;
	} option;

	if (w->off + sizeof(option) > w->end ||
	    bpf_skb_load_bytes(w->skb, w->off, &option, sizeof(option)))
		return 1;
	if (option.kind == TCP_OPTION_NOP) {
		w->off++;
		return 0;
	}
	if (option.kind == TCP_OPTION_MSS)
		w->found = option.len == TCP_OPTION_MSS_LEN && w->off + option.len <= w->end;
	if (option.kind == TCP_OPTION_END || option.kind == TCP_OPTION_MSS || option.len < 2)
		return 1;
	w->off += option.len;
	return 0;
}

/*
 * The checksum is whole, unless the packet is known to be partial: also where the
 * kernel believes that it is to be completed yet (see recalled). An MSS at an
 * odd offset counts with its octets swapped.
 */
static __always_inline int store_mss(struct __sk_buff *skb, const struct packet *p, __u32 off,
				     __be16 was, __be16 mss)
{
	__u32 at = check_offset(p->l4, IPPROTO_TCP);
	__u16 change = csum_fold_sum((__u64)csum_negative(was) + mss);
	__sum16 check;

	if (p->partial)
		return bpf_skb_store_bytes(skb, off, &mss, sizeof(mss), BPF_F_RECOMPUTE_CSUM);
	if (bpf_skb_load_bytes(skb, at, &check, sizeof(check)))
		return -1;
	if ((off - p->l4) & 1)
		change = __builtin_bswap16(change);
	check = csum_field((__u64)csum_negative(check) + change);
	return bpf_skb_store_bytes(skb, at, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM) ?:
	       bpf_skb_store_bytes(skb, off, &mss, sizeof(mss), BPF_F_RECOMPUTE_CSUM);
}

/* p is the segment without a pushed header, more what one takes. 0, or -1 when it fails. */
static __noinline int clamp_mss(struct __sk_buff *skb, const struct packet *p, __u32 more)
{
	struct mss_walk w = {
		.skb = skb,
		.off = p->l4 + sizeof(struct tcphdr),
		.end = p->l4 + p->doff * 4,
	};
	__u32 mtu = p->l3_len, headers = ip_base(p) + sizeof(struct tcphdr) + more;
	__be16 was;

	if (bpf_check_mtu(skb, ifindex, &mtu, 0, 0) < 0 || mtu <= headers)
		return 0;
	bpf_loop(TCP_MAX_OPTIONS, mss_option, &w, 0);
	if (!w.found || bpf_skb_load_bytes(skb, w.off + 2, &was, sizeof(was)))
		return 0;
	mtu -= headers;
	return bpf_ntohs(was) <= mtu ? 0 : store_mss(skb, p, w.off + 2, was, bpf_htons(mtu));
}

static __always_inline int clamp_syn(struct __sk_buff *skb, const struct packet *p, __u32 more)
{
	if (p->tuple.protocol != IPPROTO_TCP || !(p->flags & TCP_SYN))
		return 0;
	return clamp_mss(skb, p, more);
}

#endif
