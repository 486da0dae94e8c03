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
	uint32_t src, dst;
	uint8_t src_len, dst_len;
	uint8_t protocol; /* 0: any */
	uint16_t port, port_mask; /* of the destination */
};

/* Those that encrypt; the caller frees *out. 0, also without any; -errno: they cannot be known. */
int ipsec_read(struct ipsec_policy **out, size_t *n);

/* Does this one apply to what is sent so? Addresses and port in host byte order. */
bool ipsec_covers(const struct ipsec_policy *policy, uint32_t src, uint32_t dst, uint8_t protocol,
		  uint16_t port);

#endif
