/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a program ends. Checks return an enum weft_reason: WEFT_R_OK means carry on, anything else
 * is final and is turned here into one counter and one return code.
 */
#ifndef WEFT_BPF_VERDICT_H
#define WEFT_BPF_VERDICT_H

#include "maps.h"
#include "trace.h"

/*
 * linux/pkt_cls.h. The slow path returns UNSPEC (-1, TCX_NEXT), not OK: programs of others behind
 * ours on the same hook must still run.
 */
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2

static __always_inline void counter_add(u32 key, u32 len)
{
	struct weft_counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter) {
		counter->packets++;
		counter->bytes += len;
	}
}

/* The packet's verdict stands; pointers into the packet are not to be used after it. */
static __always_inline void count(struct __sk_buff *skb, enum weft_hook hook,
				  enum weft_verdict verdict, enum weft_reason reason, u32 len)
{
	u32 key = WEFT_COUNTER(hook, verdict, reason);

	counter_add(key, len);
	if (trace_is_on())
		trace_skb(skb, key, len);
}

/*
 * What the security checks refuse is dropped, and what RFC 6040 wants lost; everything else is the
 * host stack's to judge.
 */
static __always_inline bool reason_refuses(enum weft_reason reason)
{
	return reason == WEFT_R_UNKNOWN_PEER || reason == WEFT_R_SPOOFED_INNER ||
	       reason == WEFT_R_SPOOFED_LOCAL || reason == WEFT_R_FOREIGN_DST ||
	       reason == WEFT_R_ECN;
}

/* Reasons that come with a tag, for the packet to approve its flow on the way. */
static __always_inline bool reason_is_tagged(enum weft_reason reason)
{
	return reason == WEFT_R_UNAPPROVED || reason == WEFT_R_STALE || reason == WEFT_R_GENERATION;
}

/* Leave the packet unmodified to the host stack, or refuse it. */
static __always_inline int decline(struct __sk_buff *skb, enum weft_hook hook,
				   enum weft_reason reason, u32 len)
{
	if (reason_refuses(reason)) {
		count(skb, hook, WEFT_DROP, reason, len);
		return TC_ACT_SHOT;
	}
	count(skb, hook, WEFT_SLOW, reason, len);
	return TC_ACT_UNSPEC;
}

/* For a packet that is already modified and cannot be handed back. */
static __always_inline int drop(struct __sk_buff *skb, enum weft_hook hook, enum weft_reason reason,
				u32 len)
{
	count(skb, hook, WEFT_DROP, reason, len);
	return TC_ACT_SHOT;
}

#endif
