/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many entries a BPF hash map holds. The kernel does not tell, so the map is walked: by batches
 * of 4096 entries from the loop, with a rest between them, and not again for 30 seconds. A map with
 * fewer entries than a batch is counted at once; of a larger one the latest count stands until the
 * next is complete. One batch is one system call: 1 to 2 ms, about 10 ms in a table of 16 million
 * that is empty.
 */
#ifndef WEFT_USER_MAP_COUNT_H
#define WEFT_USER_MAP_COUNT_H

#include "loop.h"

struct map_count;

/* fd stays the caller's and may be closed meanwhile. */
int map_count_open(struct loop *loop, int fd, struct map_count **out);
/* NULL is allowed. */
void map_count_close(struct map_count *count);

/* The latest count; begins a new one if that is too old. -1: not known, or not known yet. */
int64_t map_count_entries(struct map_count *count);
uint32_t map_count_max_entries(const struct map_count *count);

#endif
