/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Format vxlan (RFC 7348): the inner packet comes in an Ethernet frame between two VTEPs. */
#ifndef WEFT_BPF_VXLAN_H
#define WEFT_BPF_VXLAN_H

#include "udp.h"

/* ENCAP_L2_ETH makes it look like a real VXLAN to NICs; kernels since 5.13 know it. */
#define VXLAN_ENCAP_FLAGS (UDP_ENCAP_FLAGS | BPF_F_ADJ_ROOM_ENCAP_L2_ETH | (u64)WEFT_ETH_HLEN << 56)

/* What stands behind UDP. Not packed, as the verifier lets this machine read what is unaligned. */
struct vxlan_headers {
	__be32 flags;
	__be32 vni;
	u8 dst[6];
	u8 src[6];
	__be16 proto;
};

static __always_inline void vxlan_write(void *to, const struct wrap *w)
{
	struct vxlan_headers *vxlan = to + WEFT_ETH_HLEN + WEFT_OVERHEAD_UDP;

	write_udp(to, w, WEFT_OVERHEAD_VXLAN - WEFT_OVERHEAD_UDP);
	vxlan->flags = bpf_htonl(WEFT_VXLAN_FLAGS);
	vxlan->vni = w->cfg->vxlan_vni;
	mac_copy(vxlan->dst, w->peer->vtep_mac);
	mac_copy(vxlan->src, w->cfg->vtep_mac);
	vxlan->proto = bpf_htons(ETH_P_IP);
}

/* As the kernel's vxlan_rcv() and the device behind it would judge, so that they can say so. */
static __always_inline enum weft_reason vxlan_check(const struct weft_config *cfg,
						    const struct outer *outer)
{
	const struct vxlan_headers *vxlan = (const void *)(outer->udp + 1);
	enum weft_reason reason = outer_check_udp(outer);

	if (reason != WEFT_R_OK)
		return reason;
	if ((void *)vxlan + WEFT_OVERHEAD_VXLAN - WEFT_OVERHEAD_UDP > outer->data_end)
		return WEFT_R_SHORT;
	if (vxlan->flags != bpf_htonl(WEFT_VXLAN_FLAGS) || vxlan->vni & bpf_htonl(0xff))
		return WEFT_R_BAD_VXLAN;
	if (vxlan->vni != cfg->vxlan_vni)
		return WEFT_R_VNI;
	if (!mac_equal(vxlan->dst, cfg->vtep_mac))
		return WEFT_R_NOT_VTEP;
	return vxlan->proto == bpf_htons(ETH_P_IP) ? WEFT_R_OK : WEFT_R_NOT_IPV4;
}

#endif
