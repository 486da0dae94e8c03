/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a device would have done. On a virtual wire (veth, virtio) a peer's kernel leaves checksums
 * and segmentation of inner packets to a device that never comes: a socket then receives 64 KB TCP
 * packets whose checksum field holds the sum of the pseudo header only.
 */
#ifndef WEFT_USER_OFFLOAD_H
#define WEFT_USER_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ip4.h"

/*
 * Is the TCP or UDP checksum of this valid packet left to a device: does the field hold the sum of
 * the pseudo header (RFC 9293 section 3.1, RFC 768) and nothing else? A complete checksum looks so
 * once in 65,536 packets, and completing it again then gives the same value if the data is whole.
 */
bool offload_checksum_pending(const uint8_t *packet, const struct ip4_info *info);
/* Write the checksum of a packet that offload_checksum_pending() is true for. */
void offload_checksum_complete(uint8_t *packet, const struct ip4_info *info);

/* A TCP packet cut into segments, as the kernel's tcp_gso_segment() would. */
struct offload_segments {
	const uint8_t *packet;
	struct ip4_info info;
	size_t headers; /* IPv4 and TCP headers, copied in front of each */
	size_t payload; /* of all but the last segment */
	size_t done; /* payload bytes handed out so far */
	uint16_t count;
};

/* mtu: largest segment with headers. False when this is no TCP packet that can be cut. */
bool offload_segments_start(struct offload_segments *s, const uint8_t *packet,
			    const struct ip4_info *info, size_t mtu);
/* The next segment, checksums complete, into out (mtu bytes). 0 when there is none left. */
size_t offload_segments_next(struct offload_segments *s, uint8_t *out);

#endif
