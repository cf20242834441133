/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The flow table: what the programs of both hooks of an interface remember of
 * flows. An entry says how one direction of a flow, as it comes to one hook,
 * is to be rewritten there.
 *
 * A flow that is funneled here has two entries: FORWARD on the hook where it is
 * funneled, and REVERSE on the other one for what answers. A flow that is
 * unfunneled here has one, BACKEND, for its answers: how to unfunnel, a packet
 * says itself.
 *
 * Nothing runs but when packets come, so an entry stays after its flow is over.
 * It goes when its place is wanted: by the same flow, by another that could
 * have its port, or by anybody once the table is full (sweep_flows).
 */
#ifndef FUNNEL_FLOW_H
#define FUNNEL_FLOW_H

#include "config.h"
#include "count.h"
#include "parse.h"

enum hook {
	HOOK_NONE,
	HOOK_INGRESS,
	HOOK_EGRESS,
};

static __always_inline enum hook other_hook(enum hook hook)
{
	return HOOK_INGRESS + HOOK_EGRESS - hook;
}

/* A direction of a flow as it comes to a hook. All bytes are set. */
struct flow_key {
	__be32 saddr[4];	/* as in struct tuple */
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u8 family;
	__u8 protocol;
	__u8 hook;
	__u8 pad;
};
_Static_assert(sizeof(struct flow_key) == 40, "the key of flows has holes");

enum flow_kind {
	FLOW_FORWARD,
	FLOW_REVERSE,
	FLOW_BACKEND,
};

/*
 * The life of a flow. FORWARD and REVERSE know the same, but for moments. These
 * bits are written without locks: of what two processors write at once, one may
 * be lost. After a lost FIN the flow is taken for alive a little longer, after a
 * lost reset until the next segment.
 */
#define FLOW_ANSWERED 0x01
#define FLOW_FIN_OUT 0x02
#define FLOW_FIN_BACK 0x04
#define FLOW_RESET 0x08
#define FLOW_CLOSED (FLOW_FIN_OUT | FLOW_FIN_BACK)
/*
 * Of half-open flows only: any answer but a reset makes it a live one; isn is set; it
 * stands among the live ones.
 */
#define FLOW_MIDWAY 0x10
#define FLOW_ISN 0x20
#define FLOW_EARLY 0x40

struct flow {
	__u32 tick;	/* of its last packet in this direction */
	__u32 rule;	/* that claimed it, at the hook that did: stamp_rule; 0 of direct ones */
	__be16 sport;	/* what the packet gets */
	__be16 dport;
	__be16 urg;	/* the marker that it gets; 0: none, and nothing is cleared */
	__be16 marker;	/* REVERSE: the marker that it must have; 0: none */
	__u8 kind;
	__u8 state;
	__u16 stamp;	/* when tick was set, for touch_flow */
	__u32 isn;	/* FORWARD: of its last SYN; half-open: of our SYN-ACK */
};
_Static_assert(sizeof(struct flow) == 24, "struct flow is shared with Go");

/* A table outlives the rules when they are replaced. */
#define RULE_BITS 12

static __always_inline __u32 stamp_rule(__u32 rule)
{
	return rule | rules_generation << RULE_BITS;
}

/* Whether the rule that claimed a flow is one of this program's. */
static __always_inline bool is_of_these_rules(const struct flow *f)
{
	return f->rule >> RULE_BITS == rules_generation;
}

/* A flow counts for its rule for as long as that is one of this program's. */
static __always_inline void count_flow(const struct flow *f, __u32 octets)
{
	if (is_of_these_rules(f))
		count_rule(f->rule & ((1 << RULE_BITS) - 1), octets);
}

/*
 * The loader sets the size. Memory for all entries is taken at once, which makes a new
 * connection a tenth cheaper and never fails later; it counts for who made the map.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/*
 * BACKEND entries of flows whose client has not proved yet that it receives
 * what it is sent, when there are more than may stand among the live ones. They
 * replace each other, and never those of live flows.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct flow);
} half_open SEC(".maps");

/* Ticks are of 2^27 ns, about 134 ms. */
#define FLOW_TICK_SHIFT 27
#define FLOW_SECONDS(s) ((__u32)((s) * 1000000000ULL >> FLOW_TICK_SHIFT))

static __always_inline __u32 flow_now(void)
{
	return bpf_ktime_get_coarse_ns() >> FLOW_TICK_SHIFT;
}

/* Less than 0 when another processor has seen a packet since this one asked for now. */
static __always_inline __s32 ticks_since(__u32 now, __u32 tick)
{
	return now - tick;
}

/*
 * touch_flow sets the tick, but asks for the time only when the kernel's count of clock
 * interrupts says that some has passed, 16 to 160 ms: reading that is no call. The count
 * begins again after 17 minutes at the soonest; a packet that comes right then, after a
 * silence, may leave the tick to the next one.
 */
#define FLOW_STAMP_SHIFT 4

static __always_inline __u16 flow_stamp(void)
{
	return bpf_jiffies64() >> FLOW_STAMP_SHIFT;
}

static __always_inline void touch_flow(struct flow *f)
{
	__u16 stamp = flow_stamp();

	if (f->stamp == stamp)
		return;
	f->stamp = stamp;
	f->tick = flow_now();
}

/*
 * How long a flow without packets is not given up. Linux tries to connect for
 * 127 s, stays in TIME_WAIT for 60 s, and by default asks after a silent peer
 * for 7,875 s before it gives up. When the table is full, those that are over
 * have a quarter of a second for stragglers, and those that nobody has answered
 * 3 s: one that is answered later is claimed anew by its next SYN.
 */
static __always_inline __u32 flow_lifetime(__u8 state, bool pressed)
{
	if (state & FLOW_RESET)
		return 2;
	if ((state & FLOW_CLOSED) == FLOW_CLOSED)
		return pressed ? 2 : FLOW_SECONDS(60);
	if (state & FLOW_CLOSED)
		return FLOW_SECONDS(300);
	if (state & FLOW_ANSWERED)
		return FLOW_SECONDS(10800);
	return pressed ? FLOW_SECONDS(3) : FLOW_SECONDS(130);
}

static __always_inline bool expired_at(__u32 now, const struct flow *f, bool pressed)
{
	return ticks_since(now, f->tick) > (__s32)flow_lifetime(f->state, pressed);
}

static __always_inline bool flow_expired(const struct flow *f, bool pressed)
{
	return expired_at(flow_now(), f, pressed);
}

/* The key of a packet at the hook where it is. */
static __always_inline void key_of(const struct packet *p, enum hook hook, struct flow_key *key)
{
	__builtin_memcpy(key, &p->tuple, sizeof(*key));
	key->hook = hook;
	key->pad = 0;
}

/* The key that answers to a packet will have at the other hook. */
static __always_inline void key_back(const struct packet *p, enum hook hook, __be16 sport,
				     __be16 dport, struct flow_key *key)
{
	__builtin_memcpy(key->saddr, p->tuple.daddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, p->tuple.saddr, sizeof(key->daddr));
	key->sport = sport;
	key->dport = dport;
	key->family = p->tuple.family;
	key->protocol = p->tuple.protocol;
	key->hook = other_hook(hook);
	key->pad = 0;
}

/* From the key of FORWARD to that of REVERSE and back. */
static __always_inline void key_of_partner(const struct flow_key *of, const struct flow *f,
					   struct flow_key *key)
{
	__builtin_memcpy(key->saddr, of->daddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, of->saddr, sizeof(key->daddr));
	key->sport = f->dport;
	key->dport = f->sport;
	key->family = of->family;
	key->protocol = of->protocol;
	key->hook = other_hook(of->hook);
	key->pad = 0;
}

/*
 * When the table was last swept, and what was found then. Not on the stack: the
 * verifier would follow the counts from number to number.
 */
static struct {
	__u32 tick;
	__u32 over;	/* flows that were over */
	__u32 early;	/* EARLY ones that stayed */
	__u32 wanted;	/* by the next packet that may add to the table */
} swept;

/*
 * How many flows stand EARLY among the live ones, as far as the hook's program knows
 * that makes them: it counts without locks, anew with each sweep.
 */
static __u32 early_flows;

static __always_inline void end_early(void)
{
	if (early_flows)
		early_flows--;
}

/*
 * How many flows have a source address and port, whatever their destinations are, in
 * one value. What shares a counter is taken for the same: where there is 0, nobody is.
 * The loader sets the size, a power of 2.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 1);
} sources SEC(".maps");

volatile const __u32 sources_count = 1; /* as the map is until then */

static __always_inline __u32 *source_users(const __be32 *addr, __be16 port)
{
	__u32 zero = 0, i = (addr[0] ^ addr[1] ^ addr[2] ^ addr[3]) * 0x9e3779b1U >> 16;
	__u32 *users = bpf_map_lookup_elem(&sources, &zero);

	i = (i + bpf_ntohs(port)) & (sources_count - 1);
	return users ? users + i : NULL;
}

/* use_source returns how many others have the source port. */
static __always_inline __u32 use_source(const __be32 *addr, __be16 port)
{
	__u32 *users = source_users(addr, port);

	return users ? __sync_fetch_and_add(users, 1) : 0;
}

static __always_inline void leave_source(const __be32 *addr, __be16 port)
{
	__u32 *users = source_users(addr, port);

	if (users)
		__sync_fetch_and_add(users, -1);
}

/* Whoever removes REVERSE gives back the source port that its flow had. */
static __always_inline void forget_reverse(const struct flow_key *key)
{
	if (!bpf_map_delete_elem(&flows, key))
		leave_source(key->daddr, key->dport);
}

/* forget_flow removes all entries of a flow. */
static __noinline void forget_flow(const struct flow_key *at, const struct flow *f)
{
	struct flow_key partner;

	if (f->kind == FLOW_BACKEND) {
		if (f->state & FLOW_EARLY)
			end_early();
		bpf_map_delete_elem(&flows, at);
		return;
	}
	key_of_partner(at, f, &partner);
	if (f->kind == FLOW_REVERSE) {
		bpf_map_delete_elem(&flows, &partner);
		forget_reverse(at);
	} else {
		forget_reverse(&partner);
		bpf_map_delete_elem(&flows, at);
	}
}

/* write_state sets the state of a flow, at its partner as well. */
static __noinline void write_state(const struct flow_key *key, struct flow *f, __u8 state)
{
	struct flow_key partner;

	f->state = state;
	if (f->kind != FLOW_FORWARD && f->kind != FLOW_REVERSE)
		return;
	key_of_partner(key, f, &partner);
	f = bpf_map_lookup_elem(&flows, &partner);
	if (f)
		f->state = state;
}

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_URG 0x20

static __always_inline bool flags_begin(__u8 flags)
{
	return (flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static __always_inline bool is_syn(const struct packet *p)
{
	return flags_begin(p->flags);
}

/*
 * note_segment keeps a flow's state by the flags of a segment; out says that it goes
 * the way of the flow's first one. A SYN begins a new life. A reset that its receiver
 * does not believe is followed by other segments, and counts no more then.
 */
static __always_inline void note_segment(const struct flow_key *key, struct flow *f, __u8 flags,
					 bool out)
{
	__u8 state = f->state & ~FLOW_RESET;

	if (!out)
		state |= FLOW_ANSWERED;
	else if (flags_begin(flags))
		state = 0;
	if (flags & TCP_FIN)
		state |= out ? FLOW_FIN_OUT : FLOW_FIN_BACK;
	if (flags & TCP_RST)
		state |= FLOW_RESET;
	touch_flow(f);
	if (unlikely(state != f->state))
		write_state(key, f, state);
}

#define SWEEP_ENOUGH 256
#define SWEEP_REMEMBERS FLOW_SECONDS(10)

/*
 * How many ticks there are at least between sweeps, fewer than SWEEP_REMEMBERS: so many
 * that those of a table that stays full take little of a processor's time. The loader
 * sets it by the size.
 */
volatile const __u32 sweep_ticks = 1;

struct sweep {
	__u32 now;
	bool pressed;
};

struct bpf_map;

static long sweep_flow(struct bpf_map *map, const struct flow_key *key, const struct flow *f,
		       struct sweep *s)
{
	if (expired_at(s->now, f, false)) {
		swept.over++;
	} else if (!s->pressed || !expired_at(s->now, f, true)) {
		swept.early += f->kind == FLOW_BACKEND && f->state & FLOW_EARLY;
		return 0;
	}
	forget_flow(key, f);
	return 0;
}

static __always_inline void sweep_table(struct sweep *s)
{
	swept.over = 0;
	swept.early = 0;
	bpf_for_each_map_elem(&flows, sweep_flow, s, 0);
	early_flows = swept.early;
}

/*
 * sweep_flows removes what is expired and reports whether it looked. It does so
 * seldom, because it goes through the whole table: once more when
 * hardly any flow was over, and at once under pressure when that was so lately, or
 * when the next sweep is far off: what this one leaves has to do until then.
 */
__noinline int sweep_flows(void)
{
	struct sweep s = { .now = flow_now() };

	if (s.now - swept.tick < sweep_ticks)
		return false;
	s.pressed = sweep_ticks > 1 ||
		    (swept.over < SWEEP_ENOUGH && s.now - swept.tick < SWEEP_REMEMBERS);
	swept.tick = s.now;
	swept.wanted = 0;
	sweep_table(&s);
	if (!s.pressed && swept.over < SWEEP_ENOUGH) {
		s.pressed = true;
		sweep_table(&s);
	}
	return true;
}

static __always_inline void want_sweep(void)
{
	swept.wanted = true;
}

static __always_inline void sweep_if_wanted(void)
{
	if (swept.wanted)
		sweep_flows();
}

/* errno-base.h of the kernel */
#define EEXIST 17

/* insert_flow makes an entry unless there is one (-EEXIST) or no place. */
static __always_inline long insert_flow(const struct flow_key *key, const struct flow *f)
{
	return bpf_map_update_elem(&flows, key, f, BPF_NOEXIST);
}

#endif
