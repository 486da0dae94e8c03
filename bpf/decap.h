/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Receiving, whatever the format: is the inner packet whole, may its sender send it. */
#ifndef WEFT_BPF_DECAP_H
#define WEFT_BPF_DECAP_H

#include "formats.h"

/* inner is readable for 20 bytes; room: bytes behind the outer headers. */
static __always_inline enum weft_reason inner_check(const struct __sk_buff *skb,
						    const struct iphdr *inner, u32 room)
{
	enum weft_reason reason = ip4_check_lengths(inner, room);

	/* Datagrams that GRO put behind one outer header: the first one's length is shorter. */
	if (reason == WEFT_R_BAD_IP4 && skb->gso_size && ver_ihl(inner) >> 4 == 4 &&
	    bpf_ntohs(inner->tot_len) < room)
		return WEFT_R_GLUED;
	return reason;
}

/*
 * The peer check: the inner source's lease must be held by the outer source. Distinguishes a
 * stranger from a member that lies, which costs a lookup only on the way to a drop.
 */
static __always_inline enum weft_reason check_sender(const struct weft_config *cfg,
						     __be32 outer_src, u32 inner_src,
						     const struct weft_peer **peer)
{
	bool checked = cfg->flags & WEFT_CONFIG_PEER_CHECK;

	*peer = in_network(cfg, inner_src) ? peer_lookup(route_lookup(cfg, inner_src)) : NULL;
	if (in_subnet(cfg, inner_src))
		return WEFT_R_SPOOFED_INNER;
	if (!checked || (*peer && (*peer)->daddr == outer_src))
		return WEFT_R_OK;
	return bpf_map_lookup_elem(&members, &outer_src) ? WEFT_R_SPOOFED_INNER
							 : WEFT_R_UNKNOWN_PEER;
}

#endif
