/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Format udp: the inner packet is the payload of a datagram. */
#ifndef WEFT_BPF_UDP_H
#define WEFT_BPF_UDP_H

#include "outer.h"

#define UDP_ENCAP_FLAGS (ENCAP_FLAGS | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)

/* Ethernet, IPv4 and UDP; tunnel: bytes between the latter and the inner packet. */
static __always_inline void write_udp(void *to, const struct wrap *w, u32 tunnel)
{
	struct weft_peer *outer = to;

	copy_words(to, w->peer, 5);
	finish_ip(outer, w, WEFT_OVERHEAD_UDP + tunnel);
	outer->sport = w->sport;
	outer->len = bpf_htons(w->inner_len + WEFT_UDP_HLEN + tunnel);
	outer->udp_check = 0;
}

static __always_inline void udp_write(void *to, const struct wrap *w)
{
	write_udp(to, w, 0);
}

static __always_inline enum weft_reason udp_check(const struct weft_config *cfg,
						  const struct outer *outer)
{
	return outer_check_udp(outer);
}

#endif
