/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire formats: what stands between the outer IPv4 header and the inner IPv4 packet.
 *
 * udp: UDP (RFC 768), nothing else; flannel's udp backend.
 * vxlan: UDP, a VXLAN header and an Ethernet header (RFC 7348); flannel's vxlan backend.
 * ipip: nothing (RFC 2003); flannel's ipip backend.
 *
 * A node sends a peer what that peer's lease announces and accepts all of them. A format is a line
 * here, a header in bpf/ and an entry of the table in user/format.c.
 */
#ifndef WEFT_FORMAT_H
#define WEFT_FORMAT_H

#define WEFT_ETH_HLEN 14
#define WEFT_IP4_HLEN 20
#define WEFT_UDP_HLEN 8
#define WEFT_VXLAN_HLEN 8

/* X(id, name as in flannel's Backend.Type, bytes of all outer headers from IPv4 on) */
#define WEFT_FORMATS(X) \
	X(UDP, "udp", WEFT_IP4_HLEN + WEFT_UDP_HLEN) \
	X(VXLAN, "vxlan", WEFT_IP4_HLEN + WEFT_UDP_HLEN + WEFT_VXLAN_HLEN + WEFT_ETH_HLEN) \
	X(IPIP, "ipip", WEFT_IP4_HLEN)

enum weft_format {
#define X(id, name, overhead) WEFT_FORMAT_##id,
	WEFT_FORMATS(X)
#undef X
		WEFT_FORMAT_MAX
};

enum weft_overhead {
#define X(id, name, overhead) WEFT_OVERHEAD_##id = (overhead),
	WEFT_FORMATS(X)
#undef X
};
/* The largest of them. */
#define WEFT_OVERHEAD_MAX WEFT_OVERHEAD_VXLAN

#define WEFT_UDP_PORT 8285
#define WEFT_VXLAN_PORT 8472 /* the kernel's default, and flannel's; IANA's is 4789 */
#define WEFT_VXLAN_FLAGS 0x08000000U /* RFC 7348 section 5: the VNI is valid, all else reserved */

#endif
