/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * `weft trace`: which packets are wanted, and the record of one. Unlike what abi.h holds none of it
 * is pinned: programs, the wish they read and the ring they write belong to the agent that loaded
 * them, so an agent that adopts replaces all three and begins with nothing wanted.
 */
#ifndef WEFT_TRACE_H
#define WEFT_TRACE_H

#include <linux/types.h>

#include "weft/reason.h"

/* Ethernet, IPv4, UDP, VXLAN, Ethernet, IPv4 with all options, ports. */
#define WEFT_TRACE_HEAD (14 + 20 + 8 + 8 + 14 + 60 + 8)
#define WEFT_TRACE_RING (256 << 10) /* bytes; some 1,600 records */
#define WEFT_TRACE_LEASE_MS 3000 /* a wish that nobody renews ends by itself */

/* Read word by word while it is written: what is recorded by mistake the reader leaves out. */
struct weft_trace_wish {
	__u32 sample; /* one packet of so many on average; 0: nothing is recorded */
	__u32 hooks; /* by bit */
	__u32 verdicts;
	__be32 host; /* an address of the packet, also of an outer one; 0: any */
	__u64 reasons;
	__u64 until; /* CLOCK_MONOTONIC, ns */
};

_Static_assert(WEFT_HOOK_MAX <= 32, "a bit for each hook");
_Static_assert(WEFT_REASON_MAX <= 64, "a bit for each reason");

struct weft_trace {
	__u64 time; /* CLOCK_MONOTONIC, ns */
	__u32 ifindex; /* 0: the agent's loop */
	__u32 len; /* as counted */
	__be32 outer; /* source of the outer packet where head does not hold it, or 0 */
	__be16 protocol; /* EtherType */
	__u8 hook, verdict, reason;
	__u8 head_len;
	__u8 pad[2];
	__u8 head[WEFT_TRACE_HEAD]; /* of the packet as it was when its verdict stood */
};
_Static_assert(sizeof(struct weft_trace) == 160, "ring buffer record");

static inline __attribute__((always_inline)) int
weft_trace_wants(const struct weft_trace_wish *wish, __u32 hook, __u32 verdict, __u32 reason)
{
	return wish->hooks >> (hook & 31) & 1 && wish->verdicts >> (verdict & 31) & 1 &&
	       wish->reasons >> (reason & 63) & 1;
}

#endif
