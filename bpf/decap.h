/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Receiving, whatever the format: is the inner packet whole, may its sender send it. */
#ifndef WEFT_BPF_DECAP_H
#define WEFT_BPF_DECAP_H

#include "formats.h"

/* What is left to know once the packet is accepted: where it goes and why not straight there. */
struct ingress {
	const struct weft_state *st;
	const struct weft_config *cfg;
	const struct weft_peer *peer; /* of the inner source; NULL where nobody leads to it */
	const struct weft_endpoint *ep;
	u32 ep_ifindex;
	enum weft_reason detour; /* WEFT_R_OK: straight to the endpoint */
	bool aggregate; /* by way of the aggregator */
	u8 ecn; /* that the inner packet leaves with */
	bool marked; /* which is another one than it came with */
};

static __always_inline enum weft_reason inner_check(const struct iphdr *inner, u32 room,
						    bool merged)
{
	enum weft_reason reason = ip4_check_lengths(inner, room);

	/* Datagrams that GRO put behind one outer header: the first one's length is shorter. */
	if (reason == WEFT_R_BAD_IP4 && merged && ver_ihl(inner) >> 4 == 4 &&
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

/*
 * May it be sent to us, and by this sender? inner is readable for 20 bytes; room: bytes behind the
 * outer headers; merged: it is an aggregate. Sets what *in tells of sender and ECN.
 */
static __always_inline enum weft_reason accept_inner(struct ingress *in, const struct outer *outer,
						     const struct iphdr *inner, u32 room,
						     bool merged)
{
	enum weft_reason reason = inner_check(inner, room, merged);
	int ecn = ecn_decapsulate(outer->ip->tos, inner->tos);

	if (reason == WEFT_R_OK)
		reason =
			check_sender(in->cfg, outer->ip->saddr, bpf_ntohl(inner->saddr), &in->peer);
	if (reason != WEFT_R_OK)
		return reason;
	if (!in_subnet(in->cfg, bpf_ntohl(inner->daddr)))
		return WEFT_R_FOREIGN_DST;
	if (ecn < 0)
		return WEFT_R_ECN;
	in->ecn = ecn;
	in->marked = ecn != (inner->tos & ECN_MASK);
	return WEFT_R_OK;
}

/* The stack must answer, reassemble or route what a plain delivery would get wrong. */
static __always_inline enum weft_reason find_endpoint(struct ingress *in, const struct iphdr *inner)
{
	u32 daddr = bpf_ntohl(inner->daddr);

	if (ver_ihl(inner) != IP4_PLAIN)
		return WEFT_R_IP_OPTIONS;
	if (ip4_is_fragment(inner))
		return WEFT_R_FRAGMENT;
	/* The subnet's base is the overlay device's address, the next one the bridge's. */
	if (daddr - in->cfg->subnet <= 1)
		return WEFT_R_HOST;
	if (inner->ttl <= 1)
		return WEFT_R_TTL;
	in->ep = endpoint_lookup(in->cfg, daddr, &in->ep_ifindex);
	return in->ep && in->ep->flags & WEFT_ENDPOINT_DIRECT ? WEFT_R_OK : WEFT_R_NO_ENDPOINT;
}

/* Traffic shows a MAC that is not the one we send to: the agent asks the network again. */
static __always_inline void notice_mac(const struct weft_peer *peer, const struct outer *outer,
				       u32 ifindex)
{
	if (peer && peer->flags & WEFT_PEER_RESOLVED && !(peer->flags & WEFT_PEER_ASYMMETRIC) &&
	    !mac_equal(peer->eth_dst, outer->eth->h_source))
		hint_send(WEFT_HINT_PEER_MAC, ifindex, outer->ip->saddr, outer->eth->h_source, 0);
}

#endif
