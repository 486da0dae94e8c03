/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What `weft trace` shows. While nobody traces, a packet pays for a look at one word that is never
 * written; all else is in functions of their own, verified once however many places call them.
 */
#ifndef WEFT_BPF_TRACE_H
#define WEFT_BPF_TRACE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "weft/format.h"
#include "weft/trace.h"

/* The agent's to write, through .bss. */
struct weft_trace_wish trace_wish __weak;
__u64 trace_lost __weak;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEFT_TRACE_RING);
} traces SEC(".maps") __weak;

static __always_inline bool trace_is_on(void)
{
	return __builtin_expect(*(volatile u32 *)&trace_wish.sample, 0);
}

static __always_inline bool trace_begin(struct weft_trace *record, u32 key)
{
	u32 sample = *(volatile u32 *)&trace_wish.sample;

	record->reason = key % WEFT_REASON_MAX;
	record->verdict = key / WEFT_REASON_MAX % WEFT_VERDICT_MAX;
	record->hook = key / WEFT_REASON_MAX / WEFT_VERDICT_MAX;
	if (!weft_trace_wants(&trace_wish, record->hook, record->verdict, record->reason))
		return false;
	if (sample > 1 && bpf_get_prandom_u32() % sample)
		return false;
	record->time = bpf_ktime_get_ns();
	return record->time < *(volatile u64 *)&trace_wish.until;
}

static __always_inline bool trace_has(const struct weft_trace *record, u32 at, __be32 host)
{
	__be32 addr;

	/* Source and destination of an IPv4 header that begins there. */
	__builtin_memcpy(&addr, record->head + at + 12, sizeof(addr));
	if (addr == host)
		return true;
	__builtin_memcpy(&addr, record->head + at + 16, sizeof(addr));
	return addr == host;
}

/* Wherever a header may be: the reader sees which of them it was. */
static __always_inline bool trace_is_of(const struct weft_trace *record, __be32 host)
{
	return !host || trace_has(record, 0, host) || trace_has(record, WEFT_ETH_HLEN, host) ||
	       trace_has(record, WEFT_ETH_HLEN + WEFT_OVERHEAD_UDP, host) ||
	       trace_has(record, WEFT_ETH_HLEN + WEFT_OVERHEAD_IPIP, host) ||
	       trace_has(record, WEFT_ETH_HLEN + WEFT_OVERHEAD_VXLAN, host);
}

/* The reader comes by itself, so nobody is woken for a record. */
static __always_inline int trace_end(struct weft_trace *record)
{
	if (trace_is_of(record, trace_wish.host) &&
	    bpf_ringbuf_output(&traces, record, sizeof(*record), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&trace_lost, 1);
	return 0;
}

__weak __noinline int trace_skb(struct __sk_buff *skb, u32 key, u32 len)
{
	struct weft_trace record = {};
	u32 last = skb->len - 1;

	if (!trace_begin(&record, key))
		return 0;
	record.len = len;
	record.ifindex = skb->ifindex;
	record.protocol = skb->protocol;
	/* Not "n and at most so many": before 6.3 the verifier forgets that n is not 0. */
	barrier_var(last);
	if (last >= WEFT_TRACE_HEAD)
		last = WEFT_TRACE_HEAD - 1;
	if (bpf_skb_load_bytes(skb, 0, record.head, last + 1) == 0)
		record.head_len = last + 1;
	return trace_end(&record);
}

/* Only what has been stripped: Ethernet, an IPv4 header without options, ports. */
#define TRACE_XDP_HEAD (WEFT_ETH_HLEN + WEFT_IP4_HLEN + 4)

__weak __noinline int trace_xdp(struct xdp_md *xdp, u32 key, u32 len)
{
	const u8 *data = (void *)(long)xdp->data, *data_end = (void *)(long)xdp->data_end;
	struct weft_trace record = {};

	if (!trace_begin(&record, key))
		return 0;
	record.len = len;
	record.ifindex = xdp->ingress_ifindex;
	record.protocol = bpf_htons(0x0800);
	/* bpf_xdp_load_bytes() is of 5.18. */
#pragma unroll
	for (u32 i = 0; i < TRACE_XDP_HEAD; i += 2) {
		if (data + i + 2 > data_end)
			break;
		record.head[i] = data[i];
		record.head[i + 1] = data[i + 1];
		record.head_len = i + 2;
	}
	return trace_end(&record);
}

#endif
