/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The time of clocks that nobody sets. */
#ifndef WEFT_USER_CLOCK_H
#define WEFT_USER_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/*
 * Of deadlines and ages: no change of the time of day ends a lease, and that of a node which sleeps
 * goes on.
 */
static inline uint64_t clock_ms(void)
{
	return clock_ns(CLOCK_BOOTTIME) / NSEC_PER_MSEC;
}

/* Until then, by clock_ms(), as poll() wants it; 0: it is over. */
static inline int clock_left_ms(uint64_t until)
{
	uint64_t now = clock_ms();

	return now < until ? (int)(until - now) : 0;
}

#endif
