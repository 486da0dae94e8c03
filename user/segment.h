/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cutting a large TCP or UDP packet into what fits the wire, and finishing checksums: what a kernel
 * leaves to the device. Pure functions; the result is what the kernel's own segmentation gives
 * (inet_gso_segment(), tcp_gso_segment(), __udp_gso_segment()).
 */
#ifndef WEFT_USER_SEGMENT_H
#define WEFT_USER_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ip4.h"

#define SEGMENT_HEADERS_MAX (60 + 60)

/* A packet being cut. */
struct segments {
	const uint8_t *packet;
	struct ip4_info info;
	size_t headers; /* bytes of IPv4 and TCP or UDP header, copied in front of each */
	size_t size; /* payload of all but the last segment */
	size_t done; /* payload bytes handed out so far */
	uint16_t count;
	uint64_t ip_sum, l4_sum; /* over what the headers of all segments share */
};

/*
 * size: payload bytes of each segment but the last. The packet must outlive s. False when this is
 * no whole TCP or UDP packet with a payload to cut.
 */
bool segments_start(struct segments *s, const uint8_t *packet, const struct ip4_info *info,
		    size_t size);
/*
 * The next segment: its headers, with checksums complete, into headers (s->headers bytes) and where
 * its payload lies in the packet. The payload's length, 0 when there is none left.
 */
size_t segments_next(struct segments *s, uint8_t *headers, const uint8_t **payload);

/*
 * Is the TCP or UDP checksum of this valid packet left to a device: does the field hold the sum of
 * the pseudo header (RFC 9293 section 3.1, RFC 768) and nothing else? A complete checksum looks so
 * once in 65,536 packets, and completing it again then gives the same value if the data is whole.
 */
bool segment_checksum_pending(const uint8_t *packet, const struct ip4_info *info);
/*
 * Payload bytes of each segment such a packet is to be cut into, at least its payload where it is
 * small enough for mtu (0: any is), 0 where nobody knows. datagram: what a device was told of UDP,
 * 0 if nothing.
 */
size_t segment_size(const uint8_t *packet, const struct ip4_info *info, uint32_t mtu,
		    size_t datagram);
/* Write the checksum of a packet that segment_checksum_pending() is true for. */
void segment_checksum_complete(uint8_t *packet, const struct ip4_info *info);
/* Does the complete checksum of this TCP or UDP packet hold? False where there is none to check. */
bool segment_checksum_holds(const uint8_t *packet, const struct ip4_info *info);
/* Sum of the pseudo header as it stands in a checksum field left to a device. */
uint16_t segment_pseudo_sum(const struct ip4_info *info, size_t l4_len);
/* Bytes of the TCP or UDP header of an unfragmented packet, 0 if it is cut short or another's. */
size_t segment_l4_header(const uint8_t *packet, const struct ip4_info *info);

#endif
