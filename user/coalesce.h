/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Merging consecutive packets of a flow back into one large packet, by the rules of the kernel's
 * GRO (tcp_gro_receive(), udp_gro_receive_segment(), inet_gro_flush()): what differs in anything
 * but length, checksum, identification, FIN and PSH is left alone, and what would be cut anew gives
 * the same packets. No packet of a flow overtakes another. Nothing is allocated or copied.
 */
#ifndef WEFT_USER_COALESCE_H
#define WEFT_USER_COALESCE_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ip4.h"

/* Of Linux 6.2; include/uapi/linux/virtio_net.h */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Packets merged into one: what UDP_SEGMENT carries in any kernel, and 64 KB of MTU-sized ones. */
#define COALESCE_PACKETS 64
#define COALESCE_FLOWS 8

/* One packet to hand to the device; headers are in the first slice and already adjusted. */
struct coalesced {
	struct virtio_net_hdr vnet;
	struct iovec slices[COALESCE_PACKETS];
	unsigned int n_slices;
	unsigned int packets; /* how many it was */
	uint64_t bytes; /* that they had together */
	uint32_t len; /* that it has: one header, all payloads */
	struct ip4_info info; /* of the first packet */
	uint16_t headers, size;
	bool fixed_id;
};

typedef void (*coalesce_emit_fn)(const struct coalesced *packet, void *arg);

struct coalesce {
	coalesce_emit_fn emit;
	void *arg;
	bool udp; /* merge UDP, too: the caller's to set, no at first */
	unsigned int n_held;
	struct coalesced *order[COALESCE_FLOWS]; /* oldest first */
	struct coalesced held[COALESCE_FLOWS];
	struct coalesced *spare[COALESCE_FLOWS];
};

void coalesce_init(struct coalesce *c, coalesce_emit_fn emit, void *arg);
/*
 * Takes a valid packet of info->len bytes; it is emitted by this call or a later one, alone or
 * merged. Its memory is changed and must stay until coalesce_flush().
 */
void coalesce_packet(struct coalesce *c, uint8_t *packet, const struct ip4_info *info);
/*
 * The same for a packet whose checksum is left to a device, and its segmentation where it has more
 * payload than size (segment_size()): emitted alone, to be finished by the kernel. False if that
 * cannot be said to it.
 */
bool coalesce_pending(struct coalesce *c, uint8_t *packet, const struct ip4_info *info,
		      size_t size);
/* Emits all that is held. */
void coalesce_flush(struct coalesce *c);

#endif
