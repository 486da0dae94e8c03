/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A worker: one queue of the device and one socket, in turns and by bursts. */
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "forward_priv.h"
#include "util.h"

/* What a worker waits for. A broken side is not asked again for a while. */
struct watch {
	int epoll_fd;
	int fds[FORWARD_SIDES];
	uint64_t rests_until[FORWARD_SIDES]; /* 0: is waited for */
};

static void watch_add(const struct watch *w, int fd, uint32_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = tag};

	epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void watch_rest(struct watch *w, enum forward_side side)
{
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->fds[side], NULL);
	w->rests_until[side] = clock_ms() + FORWARD_REST_MS;
}

static bool is_resting(const struct watch *w)
{
	for (int side = 0; side < FORWARD_SIDES; side++)
		if (w->rests_until[side])
			return true;
	return false;
}

static void end_rests(struct watch *w)
{
	for (int side = 0; side < FORWARD_SIDES; side++)
		if (w->rests_until[side] && w->rests_until[side] <= clock_ms()) {
			watch_add(w, w->fds[side], (uint32_t)side);
			w->rests_until[side] = 0;
		}
}

/* False when the thread is to end. */
static bool serve(struct forward_thread *t, struct watch *w, uint32_t tag)
{
	if (tag == FORWARD_TUN && !forward_out(t))
		watch_rest(w, FORWARD_TUN);
	if (tag >= FORWARD_SOCKET && tag < FORWARD_SIDES && !forward_in(t, tag - FORWARD_SOCKET))
		watch_rest(w, tag);
	return tag != FORWARD_SIDES;
}

/* epoll: to wait again costs half of what poll() takes, and that is most of a lone packet's way. */
void *forward_batch(void *arg)
{
	struct forward_thread *t = arg;
	struct watch w = {t->epoll_fd, {t->tun_fd}, {0}};
	struct epoll_event events[FORWARD_SIDES + 1];
	bool go_on = true;

	forward_in_start(t);
	watch_add(&w, t->tun_fd, FORWARD_TUN);
	for (int format = 0; format < WEFT_FORMAT_MAX; format++) {
		w.fds[FORWARD_SOCKET + format] = t->sockets[format];
		if (t->sockets[format] >= 0)
			watch_add(&w, t->sockets[format], FORWARD_SOCKET + format);
	}
	watch_add(&w, t->fwd->stop_fd, FORWARD_SIDES);
	while (go_on) {
		int n = epoll_wait(w.epoll_fd, events, ARRAY_SIZE(events),
				   is_resting(&w) ? FORWARD_REST_MS : -1);

		for (int i = 0; i < n; i++)
			go_on &= serve(t, &w, events[i].data.u32);
		if (is_resting(&w))
			end_rests(&w);
	}
	return NULL;
}
