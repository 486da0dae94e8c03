/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "forward_pace.h"

#include <time.h>

#define NSEC_PER_SEC 1000000000ULL
#define PERIOD_NS (NSEC_PER_SEC / 100)

bool pace_count(struct pace *pace, size_t packets)
{
	struct timespec clock;
	uint64_t now, elapsed;

	/* Coarse: it is asked for every packet, and ticks often enough. */
	clock_gettime(CLOCK_MONOTONIC_COARSE, &clock);
	now = (uint64_t)clock.tv_sec * NSEC_PER_SEC + (uint64_t)clock.tv_nsec;
	elapsed = now - pace->since_ns;
	pace->packets += packets;
	if (elapsed < PERIOD_NS)
		return pace->busy;
	pace->busy = pace->packets * NSEC_PER_SEC / elapsed >= (pace->busy ? PACE_CALM : PACE_BUSY);
	pace->since_ns = now;
	pace->packets = 0;
	return pace->busy;
}
