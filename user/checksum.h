/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Internet checksum (RFC 1071). Sums are of 16-bit words as they lie in memory, so that no
 * function here knows of byte order: a sum of network-order words is stored as it is.
 */
#ifndef WEFT_USER_CHECKSUM_H
#define WEFT_USER_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* sum plus the words of data. An odd last byte is padded, so only a last piece may have one. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

/* To 16 bits, not complemented. */
static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* What goes into a checksum field that counted as zero. */
static inline uint16_t checksum(const void *data, size_t len)
{
	return (uint16_t)~checksum_fold(checksum_add(0, data, len));
}

#endif
