/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A second opinion on what the programs do with a frame in the cluster of cluster.h: read byte by
 * byte from the RFCs and the manual, sharing no code with bpf/ and no tables with the rig.
 */
#ifndef WEFT_TESTS_DECODE_H
#define WEFT_TESTS_DECODE_H

#include <stdbool.h>

#include "cluster.h"
#include "packet.h"

enum decode_hook {
	DECODE_PORT,
	DECODE_BRIDGE,
	DECODE_TUN, /* no Ethernet header */
	DECODE_UPLINK,
	DECODE_STRIP,
	DECODE_STRIPPED, /* behind the aggregator, or the strip program */
	DECODE_VTEP, /* behind the kernel's VXLAN */
};

/* What else decides. */
struct decode_world {
	enum decode_hook hook;
	uint32_t flags; /* WEFT_CONFIG_* */
	uint16_t formats; /* accepted ones, by bit */
	uint32_t gso_size;
	bool approved; /* every flow that can be */
	bool verified; /* a device has seen that the outer UDP checksum holds */
	bool aggregates; /* there is one, with this address: */
#define DECODE_AGGREGATOR \
	{ \
		0x0a, 0, 0, 0, 0, 9 \
	}
	uint32_t vni, remote,
		local; /* of outer headers that the kernel took off; local 0: unknown */
};

enum decode_verdict {
	DECODE_LEFT, /* to the host stack, as it came */
	DECODE_REFUSED,
	DECODE_SENT, /* to a peer */
	DECODE_DELIVERED, /* to its pod */
	DECODE_HANDED, /* without its outer headers, to the host stack */
	DECODE_AGGREGATED, /* likewise, to the aggregator */
};

struct decoded {
	enum decode_verdict verdict;
	bool resolved; /* the next hop's MAC is known */
	struct frame out; /* in all cases but refusal */
	/* Where of out a header checksum stands that the programs update, not make: 0 for none */
	size_t updated;
	const uint8_t *was; /* that header before */
	size_t any_port; /* of out: a source port of the dynamic range, 0 for none */
};

void decode(const struct decode_world *world, const struct frame *in, struct decoded *out);
/*
 * Is it what was expected, byte for byte? A header checksum that was updated is as right or as
 * wrong as it was before (RFC 1624); a source port that a hash chose is of its range.
 */
bool decode_fits(const struct decoded *want, const uint8_t *got, size_t len);

#endif
