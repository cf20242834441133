//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Programs that run the classifier on a tuple, for tests and figures only. The
 * tuple is the packet; the rule's index plus one is the program's result.
 */
#include "classify.h"

struct classify_test_input {
	struct tuple tuple;
	__u32 rule;
	__be16 port;
	__u16 pad;
};

_Static_assert(sizeof(struct classify_test_input) == 48, "mirrored in Go");

static __always_inline struct classify_test_input *input(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;

	if (data + sizeof(struct classify_test_input) > (void *)(long)skb->data_end)
		return 0;
	return data;
}

SEC("tc")
int classify_test(struct __sk_buff *skb)
{
	struct classify_test_input *in = input(skb);

	return in ? classify(&in->tuple) + 1 : 0;
}

SEC("tc")
int port_allowed_test(struct __sk_buff *skb)
{
	struct classify_test_input *in = input(skb);

	return in ? port_allowed(in->rule, in->port) : 0;
}

/* What reading the input costs, to be taken off the figures. */
SEC("tc")
int classify_empty_test(struct __sk_buff *skb)
{
	struct classify_test_input *in = input(skb);

	return in ? in->tuple.pad : 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
