/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The formats by name. Callers switch to code that is compiled for one format each, so `format` is
 * always a constant here and no packet pays for the others.
 */
#ifndef WEFT_BPF_FORMATS_H
#define WEFT_BPF_FORMATS_H

#include "ipip.h"
#include "udp.h"
#include "vxlan.h"

/* Flags of the bpf_skb_adjust_room() that makes room for the outer headers. */
static __always_inline u64 format_encap_flags(enum weft_format format)
{
	switch (format) {
	case WEFT_FORMAT_VXLAN:
		return VXLAN_ENCAP_FLAGS;
	case WEFT_FORMAT_IPIP:
		return IPIP_ENCAP_FLAGS;
	default:
		return UDP_ENCAP_FLAGS;
	}
}

static __always_inline u32 format_overhead(enum weft_format format)
{
	switch (format) {
	case WEFT_FORMAT_VXLAN:
		return WEFT_OVERHEAD_VXLAN;
	case WEFT_FORMAT_IPIP:
		return WEFT_OVERHEAD_IPIP;
	default:
		return WEFT_OVERHEAD_UDP;
	}
}

/*
 * Room for the outer headers behind Ethernet. Kernels before 5.13 refuse to hear of the inner frame
 * (BPF_F_ADJ_ROOM_ENCAP_L2_ETH); it is written all the same.
 */
static __always_inline long format_make_room(struct __sk_buff *skb, enum weft_format format)
{
	u64 flags = format_encap_flags(format);
	long err = bpf_skb_adjust_room(skb, format_overhead(format), BPF_ADJ_ROOM_MAC, flags);

	if (err && flags & BPF_F_ADJ_ROOM_ENCAP_L2_ETH)
		err = bpf_skb_adjust_room(skb, format_overhead(format), BPF_ADJ_ROOM_MAC,
					  flags & ~(u64)BPF_F_ADJ_ROOM_ENCAP_L2_ETH);
	return err;
}

/*
 * Does the far end bring congestion marks back to the inner packet? Who does not must not be sent
 * ECN-capable packets (RFC 6040 section 4.3), and flannel's udp backend does not.
 */
static __always_inline bool format_carries_ecn(enum weft_format format)
{
	return format != WEFT_FORMAT_UDP;
}

/* All outer headers; to: their 14 + format_overhead() bytes, writable. */
static __always_inline void format_write(enum weft_format format, void *to, const struct wrap *w)
{
	switch (format) {
	case WEFT_FORMAT_VXLAN:
		vxlan_write(to, w);
		break;
	case WEFT_FORMAT_IPIP:
		ipip_write(to, w);
		break;
	default:
		udp_write(to, w);
	}
}

/* Is what follows the outer IPv4 header whole and meant for us? Checksums are another question. */
static __always_inline enum weft_reason
format_check(enum weft_format format, const struct weft_config *cfg, const struct outer *outer)
{
	switch (format) {
	case WEFT_FORMAT_VXLAN:
		return vxlan_check(cfg, outer);
	case WEFT_FORMAT_IPIP:
		return ipip_check(cfg, outer);
	default:
		return udp_check(cfg, outer);
	}
}

/* One that somebody has to verify: zero means none (RFC 768). */
static __always_inline bool outer_has_checksum(enum weft_format format, const struct outer *outer)
{
	return format != WEFT_FORMAT_IPIP && outer->udp->check;
}

/* The format of a packet that outer_check_address() accepted; WEFT_FORMAT_MAX: none of ours. */
static __always_inline enum weft_format format_of(const struct weft_config *cfg,
						  const struct outer *outer)
{
	enum weft_format format = WEFT_FORMAT_MAX;

	if (outer->ip->protocol == IPPROTO_IPIP)
		format = WEFT_FORMAT_IPIP;
	else if (outer->udp->dest == cfg->port)
		format = WEFT_FORMAT_UDP;
	else if (outer->udp->dest == cfg->vxlan_port)
		format = WEFT_FORMAT_VXLAN;
	return cfg->formats & 1 << format ? format : WEFT_FORMAT_MAX;
}

#endif
