/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "util.h"

/* What an event calls. A removed one is only marked: events already fetched may still name it. */
struct source {
	int fd;
	loop_fn fn;
	void *arg;
	bool removed;
	struct source *next;
};

struct loop_timer {
	int fd;
	loop_fn fn;
	void *arg;
	struct loop_timer *next;
};

struct loop {
	int epoll_fd;
	bool stop;
	struct source *sources;
	struct loop_timer *timers;
};

int loop_new(struct loop **out)
{
	_free_ struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	*out = take_ptr(loop);
	return 0;
}

static void free_sources(struct loop *loop, bool all)
{
	struct source **at = &loop->sources;

	while (*at) {
		struct source *source = *at;

		if (!all && !source->removed) {
			at = &source->next;
			continue;
		}
		*at = source->next;
		free(source);
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	free_sources(loop, true);
	while (loop->timers) {
		struct loop_timer *timer = loop->timers;

		loop->timers = timer->next;
		close(timer->fd);
		free(timer);
	}
	close(loop->epoll_fd);
	free(loop);
}

int loop_add(struct loop *loop, int fd, loop_fn fn, void *arg)
{
	_free_ struct source *source = calloc(1, sizeof(*source));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	if (!source)
		return -ENOMEM;
	*source = (struct source){.fd = fd, .fn = fn, .arg = arg, .next = loop->sources};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return -errno;
	loop->sources = take_ptr(source);
	return 0;
}

void loop_remove(struct loop *loop, int fd)
{
	for (struct source *source = loop->sources; source; source = source->next) {
		if (source->fd != fd || source->removed)
			continue;
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		source->removed = true;
	}
}

static void fire(void *arg)
{
	struct loop_timer *timer = arg;
	uint64_t expired;

	/* Re-armed since epoll looked: not due any more. */
	if (read(timer->fd, &expired, sizeof(expired)) != sizeof(expired))
		return;
	timer->fn(timer->arg);
}

int loop_timer_new(struct loop *loop, loop_fn fn, void *arg, struct loop_timer **out)
{
	_free_ struct loop_timer *timer = calloc(1, sizeof(*timer));
	_close_ int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int err;

	if (!timer)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	*timer = (struct loop_timer){.fd = fd, .fn = fn, .arg = arg, .next = loop->timers};
	err = loop_add(loop, fd, fire, timer);
	if (err)
		return err;
	take_fd(&fd);
	loop->timers = *out = timer;
	timer = NULL;
	return 0;
}

static struct timespec from_ms(uint64_t ms)
{
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

void loop_timer_arm(struct loop_timer *timer, uint64_t delay_ms, uint64_t period_ms)
{
	struct itimerspec spec = {.it_value = from_ms(delay_ms), .it_interval = from_ms(period_ms)};

	/* Zero would disarm: due at once means in a nanosecond. */
	if (delay_ms == 0)
		spec.it_value.tv_nsec = 1;
	timerfd_settime(timer->fd, 0, &spec, NULL);
}

void loop_timer_disarm(struct loop_timer *timer)
{
	const struct itimerspec never = {};

	if (timer)
		timerfd_settime(timer->fd, 0, &never, NULL);
}

static void dispatch(struct source *source)
{
	if (!source->removed)
		source->fn(source->arg);
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[64];

	while (!loop->stop) {
		int n = epoll_wait(loop->epoll_fd, events, ARRAY_SIZE(events), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n && !loop->stop; i++)
			dispatch(events[i].data.ptr);
		free_sources(loop, false);
	}
	/* Only now: a stop from before the start counts, and the loop can run again. */
	loop->stop = false;
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}
