/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How busy one side of a worker is: few packets are for speed, many for the least work on each. */
#ifndef WEFT_USER_FORWARD_PACE_H
#define WEFT_USER_FORWARD_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Packets a second from which on a side is busy, until there are fewer than the second. */
#define PACE_BUSY 40000
#define PACE_CALM 20000

struct pace {
	uint64_t since_ns;
	uint64_t packets; /* since then */
	bool busy;
};

/*
 * To be called after each burst, with its number of packets: is the side busy? Judged every 10 ms;
 * after a silence the first burst ends it.
 */
bool pace_count(struct pace *pace, size_t packets);

#endif
