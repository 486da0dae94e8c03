/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The outer headers that all formats have: writing them in front, reading what has arrived. */
#ifndef WEFT_BPF_OUTER_H
#define WEFT_BPF_OUTER_H

#include "parse.h"

#define PACKET_HOST 0 /* linux/if_packet.h: addressed to this device's own MAC */

/* RFC 3168 section 5: the low two bits of TOS. */
#define ECN_MASK 3
#define ECN_ECT1 1
#define ECN_CE 3

/*
 * FIXED_GSO keeps a 64 KB packet's segment size, the ENCAP flags make it segmentable as a tunnel's,
 * NO_CSUM_RESET keeps a checksum that was already verified.
 */
#define ENCAP_FLAGS \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

/*
 * FIXED_GSO: without it the segment size would grow by what is removed. Not NO_CSUM_RESET: what a
 * device verified was the outer checksum (RFC 768 zero counts, too), which must not vouch for the
 * inner one.
 */
#define DECAP_FLAGS BPF_F_ADJ_ROOM_FIXED_GSO

/* What a packet is to be wrapped into. */
struct wrap {
	const struct weft_config *cfg;
	const struct weft_peer *peer;
	u32 inner_len; /* bytes of the inner IPv4 packet */
	__be16 sport;
	u8 tos;
};

/* The headers of what has arrived. Pointers, because a packed overlay is read byte by byte. */
struct outer {
	const struct ethhdr *eth;
	const struct iphdr *ip;
	const struct udphdr *udp; /* or whatever follows the IPv4 header: 8 readable bytes */
	const void *data_end;
};

static __always_inline u16 csum_fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* By words: the compiler would copy an unaligned packet byte by byte. n: words of 8 bytes. */
static __always_inline void copy_words(void *to, const void *from, int n)
{
#pragma unroll
	for (int i = 0; i < n; i++)
		((u64 *)to)[i] = ((const u64 *)from)[i];
}

/* The peer's prebuilt IPv4 header has been copied to where outer points: what differs by packet. */
static __always_inline void finish_ip(struct weft_peer *outer, const struct wrap *w, u32 overhead)
{
	__be16 tot_len = bpf_htons(w->inner_len + overhead);

	outer->tot_len = tot_len;
	outer->tos = w->tos;
	outer->check = csum_fold(w->peer->ip_csum + tot_len + bpf_htons(w->tos));
}

/* Is it IPv4 for our address, without options and in one piece? */
static __always_inline enum weft_reason outer_check_address(const struct weft_config *cfg,
							    const struct outer *outer)
{
	if ((outer->ip->protocol != IPPROTO_UDP && outer->ip->protocol != IPPROTO_IPIP) ||
	    outer->ip->daddr != cfg->local_ip)
		return WEFT_R_NOT_OVERLAY;
	if (ver_ihl(outer->ip) != IP4_PLAIN)
		return ver_ihl(outer->ip) >> 4 == 4 && (ver_ihl(outer->ip) & 0xf) > 5
			       ? WEFT_R_OUTER_OPTIONS
			       : WEFT_R_BAD_IP4;
	return ip4_is_fragment(outer->ip) ? WEFT_R_OUTER_FRAGMENT : WEFT_R_OK;
}

/* Lengths must agree exactly, else the socket decides. */
static __always_inline enum weft_reason outer_check_udp(const struct outer *outer)
{
	if (bpf_ntohs(outer->udp->len) != bpf_ntohs(outer->ip->tot_len) - WEFT_IP4_HLEN)
		return WEFT_R_BAD_UDP;
	return WEFT_R_OK;
}

/*
 * RFC 6040 section 4.2: the ECN field that the inner packet leaves with, or -1 for congestion that
 * a flow not capable of ECN has to learn of by the loss of the packet.
 */
static __always_inline int ecn_decapsulate(u8 outer, u8 inner)
{
	outer &= ECN_MASK;
	inner &= ECN_MASK;
	if (outer == ECN_CE)
		return inner ? ECN_CE : -1;
	return outer == ECN_ECT1 && inner && inner != ECN_CE ? ECN_ECT1 : inner;
}

/* RFC 1624, equation 3. */
static __always_inline void ip4_set_ecn(struct iphdr *ip, u8 ecn)
{
	u8 tos = (ip->tos & ~ECN_MASK) | ecn;

	ip->check = csum_fold((u16)~ip->check + (u16)~bpf_htons(ip->tos) + bpf_htons(tos));
	ip->tos = tos;
}

#endif
