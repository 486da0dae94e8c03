/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading headers: what the fast path fully understands and what it leaves alone. */
#ifndef WEFT_BPF_PARSE_H
#define WEFT_BPF_PARSE_H

#include "maps.h"

#define ETH_P_IP 0x0800
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define VLAN_VID_MASK 0x0fff
#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP4_PLAIN 0x45 /* version 4, five words: no options */
#define L4_HLEN 20 /* as far as any transport header is read */

static __always_inline void *skb_data(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

static __always_inline void *skb_data_end(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* Make the first want bytes (or all there are) readable; they nearly always are. */
static __always_inline void pull_headers(struct __sk_buff *skb, u32 want)
{
	if (skb_data(skb) + want > skb_data_end(skb))
		bpf_skb_pull_data(skb, skb->len < want ? skb->len : want);
}

static __always_inline u8 ver_ihl(const struct iphdr *ip)
{
	return *(const u8 *)ip;
}

/* ip is readable for 20 bytes; room: bytes of the packet from ip to its end. */
static __always_inline enum weft_reason ip4_check_lengths(const struct iphdr *ip, u32 room)
{
	u32 hlen = (ver_ihl(ip) & 0xf) * 4;
	u32 tot_len = bpf_ntohs(ip->tot_len);

	if (ver_ihl(ip) >> 4 != 4 || hlen < WEFT_IP4_HLEN || tot_len < hlen || tot_len != room)
		return WEFT_R_BAD_IP4;
	return WEFT_R_OK;
}

static __always_inline bool ip4_is_fragment(const struct iphdr *ip)
{
	return ip->frag_off & bpf_htons(IP_MF | IP_OFFSET);
}

/* One router on the way: RFC 1624 update, as the kernel's ip_decrease_ttl(). */
static __always_inline void ip4_decrease_ttl(struct iphdr *ip)
{
	u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

static __always_inline bool mac_equal(const u8 *a, const u8 *b)
{
	return *(const u32 *)a == *(const u32 *)b && *(const u16 *)(a + 4) == *(const u16 *)(b + 4);
}

/* By words, as the compiler would go byte by byte. */
static __always_inline void mac_copy(u8 *to, const u8 *from)
{
	*(u32 *)to = *(const u32 *)from;
	*(u16 *)(to + 4) = *(const u16 *)(from + 4);
}

#endif
