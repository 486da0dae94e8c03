/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "map_count.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "util.h"

#define BATCH 4096 /* more than any bucket of the table holds */
#define REST_MS 10
#define MAX_AGE_MS 30000

struct map_count {
	int fd;
	struct bpf_map_info info;
	struct loop_timer *timer;
	int64_t entries; /* the latest count; -1: none */
	uint64_t counted; /* when, by clock_ms(); 0: never */
	/* Of the walk that is going on. */
	bool walking;
	bool begun; /* position is valid */
	uint32_t position;
	int64_t found;
};

/* One batch. -ENOENT: that was the last one. */
static int count_batch(struct map_count *c)
{
	_free_ char *entries = calloc(BATCH, c->info.key_size + c->info.value_size);
	uint32_t n = BATCH;
	int err = 0;

	if (!entries)
		return -ENOMEM;
	if (bpf_map_lookup_batch(c->fd, c->begun ? &c->position : NULL, &c->position, entries,
				 entries + (size_t)BATCH * c->info.key_size, &n, NULL))
		err = -errno;
	c->begun = true;
	if (err == 0 || err == -ENOENT)
		c->found += n;
	return err;
}

static void walk(void *arg)
{
	struct map_count *c = arg;
	int err = count_batch(c);

	if (err == 0) {
		loop_timer_arm(c->timer, REST_MS, 0);
		return;
	}
	if (err != -ENOENT)
		log_debug("%s: cannot be counted: %s", c->info.name, strerror(-err));
	c->entries = err == -ENOENT ? c->found : -1;
	c->counted = clock_ms();
	c->walking = false;
}

int64_t map_count_entries(struct map_count *c)
{
	if (!c->walking && (!c->counted || clock_ms() - c->counted >= MAX_AGE_MS)) {
		c->walking = true;
		c->begun = false;
		c->found = 0;
		walk(c);
	}
	return c->entries;
}

uint32_t map_count_max_entries(const struct map_count *c)
{
	return c->info.max_entries;
}

int map_count_open(struct loop *loop, int fd, struct map_count **out)
{
	_free_ struct map_count *c = calloc(1, sizeof(*c));
	_close_ int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	uint32_t len = sizeof(c->info);
	int err;

	if (!c)
		return -ENOMEM;
	if (own < 0 || bpf_obj_get_info_by_fd(own, &c->info, &len))
		return -errno;
	err = loop_timer_new(loop, walk, c, &c->timer);
	if (err)
		return err;
	c->entries = -1;
	c->fd = take_fd(&own);
	*out = take_ptr(c);
	return 0;
}

void map_count_close(struct map_count *c)
{
	if (!c)
		return;
	loop_timer_disarm(c->timer);
	close(c->fd);
	free(c);
}
