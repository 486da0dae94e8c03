/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "forward_pace.h"

#include "clock.h"

#define PERIOD_NS (NSEC_PER_SEC / 100)

bool pace_count(struct pace *pace, size_t packets)
{
	/* Coarse: it is asked for every packet, and ticks often enough. */
	uint64_t now = clock_ns(CLOCK_MONOTONIC_COARSE), elapsed = now - pace->since_ns;

	pace->packets += packets;
	if (elapsed < PERIOD_NS)
		return pace->busy;
	pace->busy = pace->packets * NSEC_PER_SEC / elapsed >= (pace->busy ? PACE_CALM : PACE_BUSY);
	pace->since_ns = now;
	pace->packets = 0;
	return pace->busy;
}
