/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sending, whatever the format: source port, type of service, size. */
#ifndef WEFT_BPF_ENCAP_H
#define WEFT_BPF_ENCAP_H

#include "formats.h"

/* Ports of TCP and UDP as one word; 0 for others and for fragments, which must share a port. */
static __always_inline u32 flow_ports(const struct iphdr *ip, const void *data_end)
{
	const u32 *ports = (const void *)(ip + 1);

	if ((ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) || ip4_is_fragment(ip) ||
	    ver_ihl(ip) != IP4_PLAIN || (void *)(ports + 1) > data_end)
		return 0;
	return *ports;
}

/*
 * A flow's entropy: the socket's own hash where the packet carries one (TCP: free, and it follows
 * the stack when it rethinks a path), else a multiplicative mix of addresses and ports. That of a
 * tagged packet is the tag's.
 */
static __always_inline u32 flow_hash(const struct __sk_buff *skb, const struct iphdr *ip,
				     const void *data_end)
{
	u64 mix = (u64)ip->saddr << 32 | ip->daddr;

	if (skb->hash && !(skb->tc_index & WEFT_TAGGED) && !ip4_is_fragment(ip))
		return skb->hash;
	mix ^= (u64)flow_ports(ip, data_end) * 0x9e3779b97f4a7c15ULL;
	mix *= 0xff51afd7ed558ccdULL;
	return (mix >> 32) ^ ip->protocol;
}

/* Hash to port range as the kernel's udp_flow_src_port(). */
static __always_inline __be16 source_port(const struct weft_config *cfg,
					  const struct weft_peer *peer, u32 hash)
{
	if (!(cfg->flags & WEFT_CONFIG_ENTROPY))
		return peer->sport;
	hash ^= hash << 16;
	return bpf_htons(WEFT_SPORT_MIN + (((u64)hash * WEFT_SPORT_RANGE) >> 32));
}

/* DSCP as configured (RFC 2983: uniform or pipe), ECN by RFC 6040 section 4.1. */
static __always_inline u8 outer_tos(const struct weft_config *cfg, const struct weft_peer *peer,
				    u8 inner, enum weft_format format)
{
	u8 tos = cfg->flags & WEFT_CONFIG_INHERIT_DSCP ? inner & ~ECN_MASK : peer->tos;

	return format_carries_ecn(format) ? tos | (inner & ECN_MASK) : tos;
}

/*
 * Does the packet, or each segment of it, fit the peer's MTU behind the outer headers? UDP that is
 * still to be cut goes the slow way in format ipip: where a wire carries it whole, a raw socket at
 * its end cannot know where to cut.
 */
static __always_inline enum weft_reason check_size(const struct __sk_buff *skb,
						   const struct weft_peer *peer,
						   const struct iphdr *ip, const void *data_end)
{
	u32 len = bpf_ntohs(ip->tot_len), overhead = peer->overhead;
	const struct tcphdr *tcp = (const void *)(ip + 1);

	if (len + overhead > 0xffff)
		return WEFT_R_TOO_BIG;
	if (!skb->gso_size)
		return len + overhead > peer->mtu ? WEFT_R_TOO_BIG : WEFT_R_OK;
	if (ver_ihl(ip) != IP4_PLAIN)
		return WEFT_R_GSO;
	if (ip->protocol == IPPROTO_UDP && peer->format != WEFT_FORMAT_IPIP)
		len = skb->gso_size + WEFT_UDP_HLEN;
	else if (ip->protocol == IPPROTO_TCP && (const void *)(tcp + 1) <= data_end)
		len = skb->gso_size + (((const u8 *)tcp)[12] >> 4) * 4;
	else
		return WEFT_R_GSO;
	return len + WEFT_IP4_HLEN + overhead > peer->mtu ? WEFT_R_TOO_BIG : WEFT_R_OK;
}

#endif
