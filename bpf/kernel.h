/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the programs use of the kernel: uapi headers, the helpers, and the few
 * fields of a kernel structure that are read.
 */
#ifndef FUNNEL_KERNEL_H
#define FUNNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>

/* include/linux/ip.h of the kernel; not part of the uapi headers */
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL 3

/* RFC 4443: packet too big. */
#define ICMPV6_PACKET_TOO_BIG 2

struct icmpv6_too_big {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 mtu;
};

/*
 * Some of what is changed in a packet is written to it, not by a helper. The verifier
 * then has each program begin with what makes a packet the program's own that is a clone
 * of another (bpf_unclone_prologue). For one that is none, that is three instructions; the
 * headers of TCP's own clones may be written as they are. Others, while a tap or a flooding
 * bridge holds the first one, are copied whether a rule means them or not, and lost
 * if there is no memory for that.
 */

/*
 * Functions that are neither inline nor static the verifier looks at once, for
 * whatever arguments, and not again wherever they are called from. They must do
 * with that: pointers may be NULL, numbers have no bounds.
 */

/*
 * Hides from the compiler what it knows of x, so that it neither drops nor
 * rearranges the bounds checks that follow and that the verifier must see.
 */
#define opaque(x) asm volatile("" : "+r"(x))

/* As the kernel's compiler.h has them. */
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * RFC 792, RFC 1191: destination unreachable, fragmentation needed. (linux/icmp.h
 * pulls in what does not compile for this target.)
 */
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4

struct icmp_frag_needed {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 unused;
	__be16 mtu;
};

struct net_device {
	unsigned int mtu;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct net_device *dev;
	__u8 ip_summed : 2;
	__u16 csum_start;	/* offset from head */
	__u16 csum_offset;	/* from there to the checksum field */
	unsigned char *head;
	unsigned char *data;
} __attribute__((preserve_access_index));

/* since Linux 6.2 */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

/* checksum_is_known reports whether programs can tell what a checksum field holds. */
static __always_inline bool checksum_is_known(void)
{
	return bpf_cast_to_kern_ctx;
}

/*
 * checksum_is_whole promises that the checksum field holds a whole checksum.
 * False: it is, or may be, the sum of the pseudo header that the kernel or the
 * device completes later (CHECKSUM_PARTIAL). Before Linux 6.2 a program can't
 * know, and the answer is always false.
 */
static __always_inline bool checksum_is_whole(struct __sk_buff *skb)
{
	struct sk_buff *kernel_skb;

	if (!bpf_cast_to_kern_ctx)
		return false;
	kernel_skb = bpf_cast_to_kern_ctx(skb);
	return BPF_CORE_READ_BITFIELD(kernel_skb, ip_summed) != CHECKSUM_PARTIAL;
}

/*
 * fits_device promises that an IP packet of that length fits the MTU of the device that
 * it is on. False: it may not, and bpf_check_mtu has to be asked, which costs more. For one
 * place only: wherever a pointer is followed, the verifier looks through all types of the
 * kernel for what it may lead to, as long as at a thousand instructions.
 */
static __always_inline bool fits_device(struct __sk_buff *skb, __u32 len)
{
	struct sk_buff *kernel_skb;

	if (!bpf_cast_to_kern_ctx)
		return false;
	kernel_skb = bpf_cast_to_kern_ctx(skb);
	return len <= kernel_skb->dev->mtu;
}

/*
 * sum_is_known reports whether the kernel has, or may have, a sum of the packet
 * (CHECKSUM_COMPLETE) that is to be told of what is written without a helper.
 */
static __always_inline bool sum_is_known(struct __sk_buff *skb)
{
	struct sk_buff *kernel_skb;

	if (!bpf_cast_to_kern_ctx)
		return true;
	kernel_skb = bpf_cast_to_kern_ctx(skb);
	return BPF_CORE_READ_BITFIELD(kernel_skb, ip_summed) == CHECKSUM_COMPLETE;
}

/* has_room reports whether len octets more fit in front of the packet. */
static __always_inline bool has_room(struct __sk_buff *skb, __u32 len)
{
	struct sk_buff *kernel_skb;

	if (!bpf_cast_to_kern_ctx)
		return false;
	kernel_skb = bpf_cast_to_kern_ctx(skb);
	return (__u64)kernel_skb->data - (__u64)kernel_skb->head >= len;
}

/*
 * checksum_begins reports whether the checksum that is to be completed later is
 * that of the header at offset l4, whose field is at offset check. (Those of
 * packets inside a tunnel are, too, and lie further behind.)
 */
static __always_inline bool checksum_begins(struct __sk_buff *skb, __u32 l4, __u32 check)
{
	struct sk_buff *kernel_skb;
	__u64 start;

	if (!bpf_cast_to_kern_ctx)
		return false;
	kernel_skb = bpf_cast_to_kern_ctx(skb);
	start = (__u64)kernel_skb->head + kernel_skb->csum_start - (__u64)kernel_skb->data;
	return start == l4 && start + kernel_skb->csum_offset == check;
}

/*
 * unchain prepares a packet with a whole checksum for a header that all its segments are to
 * have. Since Linux 6.10 a router may merge what it forwards into a chain of packets that keep
 * their headers (rx-gro-list). It copies addresses and ports from the first header to the
 * others then, but no urgent pointer. In one piece it is segmented like any other. Whatever
 * else is to be segmented has a partial checksum (and so has a chain of what a sender on the
 * same host left to be summed, which is not told from it); what a pod sends did not arrive.
 */
static __always_inline int unchain(struct __sk_buff *skb)
{
	if (likely(!skb->ingress_ifindex || !skb->gso_size))
		return 0;
	return bpf_skb_pull_data(skb, skb->len);
}

#endif
