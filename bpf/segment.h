/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The segmenting device: a veth pair without offloads. What is sent into its
 * end A comes out of end B in segments with whole checksums, and can have a
 * header pushed there.
 */
#ifndef FUNNEL_SEGMENT_H
#define FUNNEL_SEGMENT_H

#include "config.h"
#include "count.h"
#include "parse.h"

/*
 * When flows last used the device, by a hash of the flow, in ticks of about a
 * second; 0 is never. A flow that used it goes on using it until it paused,
 * else a packet could overtake earlier ones that are still in the device. Two
 * flows of one hash only share the way, which is always right.
 */
#define SEGMENTED_FLOWS 4096
#define SEGMENTED_TICKS 16

struct segmented_flows {
	__u32 tick[SEGMENTED_FLOWS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct segmented_flows);
} segmented SEC(".maps");

static __always_inline __u32 flow_hash(const struct tuple *t)
{
	const __u64 *word = (const __u64 *)t;
	__u64 hash = 0, odd = 0x9e3779b97f4a7c15ULL;

	for (__u32 i = 0; i < sizeof(*t) / sizeof(*word); i++)
		hash += word[i] * (odd * (2 * i + 1));
	return hash >> 32;
}

static __always_inline __u32 *flow_tick(const struct tuple *t)
{
	__u32 zero = 0;
	struct segmented_flows *flows = bpf_map_lookup_elem(&segmented, &zero);

	return flows ? &flows->tick[flow_hash(t) % SEGMENTED_FLOWS] : NULL;
}

static __always_inline __u32 now_tick(void)
{
	return (bpf_ktime_get_ns() >> 30) + 1;
}

static __always_inline bool segmented_lately(const struct tuple *t)
{
	__u32 *tick = flow_tick(t);

	return tick && *tick && now_tick() - *tick < SEGMENTED_TICKS;
}

/* The device is an Ethernet one; packets of layer 3 devices get a header for it. */
static __always_inline int add_ethernet(struct __sk_buff *skb)
{
	struct ethhdr ether = { .h_proto = skb->protocol };

	if (l2_len)
		return 0;
	return bpf_skb_change_head(skb, sizeof(ether), 0) ?:
	       bpf_skb_store_bytes(skb, 0, &ether, sizeof(ether), 0);
}

static __always_inline int to_segment(struct __sk_buff *skb, const struct packet *p)
{
	__u32 *tick = flow_tick(&p->tuple);
	__u32 now = now_tick(), device = segment_a;

	if (!device)
		return dropped(REASON_NO_SEGMENT);
	if (add_ethernet(skb))
		return dropped(REASON_FAILED);
	if (tick && *tick != now)
		*tick = now;
	return redirected(device, 0, REASON_TO_SEGMENT);
}

#endif
