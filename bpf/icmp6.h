/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 is nobody's business here, but for one thing that no pod may say. */
#ifndef WEFT_BPF_ICMP6_H
#define WEFT_BPF_ICMP6_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "weft/format.h"

#define ETH_P_IPV6 0x86dd
#define IP6_HLEN 40
#define IP6_NEXT_OFFSET 6
#define IP6_MAX_EXTENSIONS 6 /* a host would take more, but who sends them? */
#define IP6_HOP_BY_HOP 0
#define IP6_ROUTING 43
#define IP6_DESTINATION 60
#define ICMP6 58
#define ICMP6_ROUTER_ADVERT 134

/*
 * A router advertisement (RFC 4861), by which a pod would give routes to its node and other pods;
 * or what hides its type behind more headers than anybody needs. Hosts take none that is a fragment
 * (RFC 6980).
 */
static __always_inline bool is_router_advert(struct __sk_buff *skb)
{
	u32 at = WEFT_ETH_HLEN + IP6_HLEN;
	u8 next, header[2];

	if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, WEFT_ETH_HLEN + IP6_NEXT_OFFSET, &next, sizeof(next)))
		return false;
	for (int i = 0; i < IP6_MAX_EXTENSIONS; i++) {
		if (bpf_skb_load_bytes(skb, at, header, sizeof(header)))
			return false;
		if (next == ICMP6)
			return header[0] == ICMP6_ROUTER_ADVERT;
		if (next != IP6_HOP_BY_HOP && next != IP6_ROUTING && next != IP6_DESTINATION)
			return false;
		next = header[0];
		at += (header[1] + 1) * 8;
	}
	return true;
}

#endif
