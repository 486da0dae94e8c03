/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Figures of an agent as Prometheus reads them: text exposition format 0.0.4. */
#ifndef WEFT_USER_METRICS_H
#define WEFT_USER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/abi.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_MAPS_MAX 8

/* A snapshot. Strings are the caller's, in UTF-8. */
struct metrics {
	const struct weft_counter *counters; /* WEFT_COUNTER_MAX of them; NULL: none */
	struct metrics_map {
		const char *name;
		int64_t entries; /* negative: not known */
		uint64_t max_entries;
	} maps[METRICS_MAPS_MAX];
	size_t n_maps;
	size_t peers;
	size_t peers_resolved;
	size_t leases;
	double lease_expires_s; /* time left of the own lease; negative: it does not expire */
	bool store_up; /* the latest state of the store could be had and is in force */
	uint64_t store_refused; /* states refused so far */
	bool ready;
	const char *version;
	const char *datapath;
	const char *format;
	double start_time_s; /* since 1970 */
	uint64_t resident_bytes;
	uint64_t open_fds;
	double cpu_s;
};

/*
 * The text, from malloc(). Each family has HELP and TYPE before its samples; counters without
 * packets are left out, as in `weft stats -j`. -ENOMEM.
 */
int metrics_text(const struct metrics *m, char **text, size_t *len);

#endif
