/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * IPsec by policy (RFC 4301 section 4.4.1, the kernel's xfrm): what a policy encrypts when a socket
 * sends it, the fast path sends as it is, for a redirected packet meets no policy. Encryption by a
 * device below (WireGuard, an xfrm interface) is not concerned.
 */
#ifndef WEFT_USER_IPSEC_H
#define WEFT_USER_IPSEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ipsec_policy { /* outbound, IPv4; addresses in host byte order */
	uint32_t priority; /* the lowest number decides */
	bool encrypts; /* or it lets pass as it is, or blocks */
	uint32_t src, dst;
	uint8_t src_len, dst_len;
	uint8_t protocol; /* 0: any */
	uint16_t port, port_mask; /* of the destination */
};

struct ipsec_flow { /* addresses and port of the destination in host byte order */
	uint32_t src, dst;
	uint8_t protocol;
	uint16_t port;
};

/*
 * Those that apply to packets without a mark which no xfrm interface sends, as the agent's, in the
 * kernel's order; the caller frees *out. 0, also without any; -errno: they cannot be known.
 */
int ipsec_read(struct ipsec_policy **out, size_t *n);

/* Does the one of them that the kernel applies to what is sent so encrypt it? */
bool ipsec_encrypts(const struct ipsec_policy *policies, size_t n, const struct ipsec_flow *flow);

#endif
