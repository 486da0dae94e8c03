/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pure functions on IPv4 packets in memory: validation, checksums, ICMP errors. */
#ifndef WEFT_USER_IP4_H
#define WEFT_USER_IP4_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/reason.h"

#define IP4_MIN_HLEN 20
#define IP4_MAX_LEN 65535
/* An ICMP error: 20 + 8 + offender's header (up to 60) + 8 bytes of its payload (RFC 792). */
#define ICMP_ERROR_MAX 96

/* What the loop needs to know of a validated packet; addresses in host byte order. */
struct ip4_info {
	uint32_t saddr;
	uint32_t daddr;
	uint16_t len; /* total length; bytes of the buffer past it are padding */
	uint8_t hlen;
	uint8_t ttl;
	uint8_t protocol;
	uint16_t frag_off; /* host order, flags included */
};

/*
 * Check version, IHL, total length and header checksum of a packet of len bytes.
 * WEFT_R_OK, or WEFT_R_SHORT / WEFT_R_NOT_IPV4 / WEFT_R_BAD_IP4 with *out untouched.
 */
enum weft_reason ip4_parse(const void *packet, size_t len, struct ip4_info *out);

/* RFC 1071 sum over len bytes, folded and complemented, in network byte order. */
uint16_t ip4_checksum(const void *data, size_t len);

/*
 * May packet be answered with an ICMP error (RFC 1122 section 3.2.2)? Not an ICMP error or unknown
 * ICMP type, nor a non-first fragment, nor what came from or went to other than a single host.
 */
bool icmp_error_allowed(const void *packet, const struct ip4_info *info);

/*
 * Build an ICMP error about packet, from saddr (host order). mtu is used for frag-needed only.
 * packet is info->len bytes, as ip4_parse() accepted it. Returns the error's length, or 0 when
 * icmp_error_allowed() says no.
 */
size_t icmp_error_build(uint8_t out[ICMP_ERROR_MAX], uint8_t type, uint8_t code, uint16_t mtu,
			uint32_t saddr, const void *packet, const struct ip4_info *info);

#endif
