/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Format udp, receiving: is it ours, is it whole, may its sender send it. */
#ifndef WEFT_BPF_DECAP_H
#define WEFT_BPF_DECAP_H

#include "parse.h"

/*
 * FIXED_GSO: without it the segment size would grow by what is removed. Not NO_CSUM_RESET: what a
 * device verified was the outer checksum (RFC 768 zero counts, too), which must not vouch for the
 * inner one.
 */
#define DECAP_FLAGS BPF_F_ADJ_ROOM_FIXED_GSO

#define PACKET_HOST 0 /* linux/if_packet.h: addressed to this device's own MAC */

/* The outer headers, all readable. Pointers, because a packed overlay is read byte by byte. */
struct outer {
	const struct ethhdr *eth;
	const struct iphdr *ip;
	const struct udphdr *udp;
};

/* Is it for our address and port, in one piece and without options? */
static __always_inline enum weft_reason outer_check_address(const struct weft_config *cfg,
							    const struct outer *outer)
{
	if (outer->ip->protocol != IPPROTO_UDP || outer->ip->daddr != cfg->public_ip)
		return WEFT_R_NOT_OVERLAY;
	if (ver_ihl(outer->ip) != IP4_PLAIN)
		return ver_ihl(outer->ip) >> 4 == 4 && (ver_ihl(outer->ip) & 0xf) > 5
			       ? WEFT_R_OUTER_OPTIONS
			       : WEFT_R_BAD_IP4;
	if (ip4_is_fragment(outer->ip))
		return WEFT_R_OUTER_FRAGMENT;
	return outer->udp->dest == cfg->port ? WEFT_R_OK : WEFT_R_NOT_OVERLAY;
}

/*
 * Lengths must agree exactly, else the socket decides. A checksum is accepted here only when the
 * device has verified it; zero means none (RFC 768).
 */
static __always_inline enum weft_reason outer_check_payload(struct __sk_buff *skb,
							    const struct outer *outer)
{
	u32 tot_len = bpf_ntohs(outer->ip->tot_len);

	if (tot_len != skb->len - WEFT_ETH_HLEN)
		return WEFT_R_BAD_IP4;
	if (bpf_ntohs(outer->udp->len) != tot_len - WEFT_IP4_HLEN)
		return WEFT_R_BAD_UDP;
	if (outer->udp->check && bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0)
		return WEFT_R_CHECKSUM;
	return WEFT_R_OK;
}

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
