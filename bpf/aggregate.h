/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Receive aggregation for format udp. Nothing in the kernel merges raw IP in UDP, so on a wire of
 * MTU-sized frames the pod's TCP would see every segment alone. Here the stripped segment crosses a
 * veth pair of our own whose far end has GRO (its near end has TSO off, which makes veth use NAPI:
 * drivers/net/veth.c, veth_skb_is_eligible_for_gro()); what comes out is delivered as one packet.
 */
#ifndef WEFT_BPF_AGGREGATE_H
#define WEFT_BPF_AGGREGATE_H

#include "parse.h"

/*
 * One extra hop pays for bulk TCP only, and a flow must not be on both paths at once, or its small
 * segments would overtake the large ones. So a full-sized frame takes its flow along for a moment,
 * and a flow that arrives aggregated already is left alone.
 */
static __always_inline bool wants_aggregation(const struct weft_config *cfg,
					      const struct __sk_buff *skb, u32 flow, u32 len)
{
	u32 key = flow & (WEFT_BULK_FLOWS - 1), now;
	struct weft_bulk *bulk;

	if (!cfg->aggregate_ifindex)
		return false;
	bulk = bpf_map_lookup_elem(&bulk_flows, &key);
	if (!bulk)
		return false;
	now = bpf_jiffies64();
	if (skb->gso_size) {
		bulk->last_gso = now;
		return false;
	}
	if (now - bulk->last_gso < WEFT_BULK_GSO_HOLD)
		return false;
	if (len >= WEFT_BULK_LEN)
		bulk->last_full = now;
	return now - bulk->last_full < WEFT_BULK_HOLD;
}

#endif
