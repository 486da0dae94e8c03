/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "forward.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "forward_priv.h"
#include "util.h"

/* Tables. */

const struct forward_table *table_take(struct forward_thread *t)
{
	const struct forward_table *table;

	/* Announce, then look again: whoever replaced it in between has seen the announcement. */
	do {
		table = atomic_load(&t->fwd->table);
		atomic_store(&t->holds, table);
	} while (table != atomic_load(&t->fwd->table));
	t->table = table;
	return table;
}

void table_leave(struct forward_thread *t)
{
	t->table = NULL;
	atomic_store_explicit(&t->holds, NULL, memory_order_release);
}

static bool is_held(struct forward *fwd, const struct forward_table *table)
{
	for (size_t i = 0; i < fwd->n_threads; i++)
		if (atomic_load(&fwd->threads[i].holds) == table)
			return true;
	return false;
}

static void free_retired(struct forward *fwd)
{
	struct forward_table **at = &fwd->retired;

	while (*at) {
		struct forward_table *table = *at;

		if (is_held(fwd, table)) {
			at = &table->next;
			continue;
		}
		*at = table->next;
		forward_table_free(table);
	}
}

void forward_set_table(struct forward *fwd, struct forward_table *table)
{
	if (!table)
		return;
	pthread_mutex_lock(&fwd->setting);
	table = atomic_exchange(&fwd->table, table);
	if (table) {
		table->next = fwd->retired;
		fwd->retired = table;
	}
	free_retired(fwd);
	pthread_mutex_unlock(&fwd->setting);
}

/* Counters. */

static void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

void forward_count(struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		   uint64_t packets, uint64_t bytes)
{
	enum weft_verdict verdict = reason == WEFT_R_OK ? WEFT_SLOW : WEFT_DROP;
	struct forward_counter *counter = &t->counters[WEFT_COUNTER(hook, verdict, reason)];

	counter_add(&counter->packets, packets);
	counter_add(&counter->bytes, bytes);
}

void forward_record(const struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		    const struct iovec *head, uint64_t bytes)
{
	struct weft_trace record = {
		.len = (uint32_t)bytes,
		.hook = hook,
		.verdict = reason == WEFT_R_OK ? WEFT_SLOW : WEFT_DROP,
		.reason = reason,
	};

	/* What is accepted may have waited for others, so its sender is not at hand. */
	if (hook == WEFT_HOOK_SOCKET && reason != WEFT_R_OK)
		record.outer = t->from;
	trace_tap_write(t->fwd->config.tap, &record, head->iov_base, head->iov_len);
}

void forward_counters(const struct forward *fwd, struct weft_counter out[WEFT_COUNTER_MAX])
{
	_Static_assert(WEFT_HOOK_SOCKET == WEFT_HOOK_TUNFD + 1, "the loop's hooks are neighbours");
	size_t end = WEFT_COUNTER(WEFT_HOOK_SOCKET + 1, 0, 0);

	for (size_t i = WEFT_COUNTER(WEFT_HOOK_TUNFD, 0, 0); i < end; i++) {
		out[i] = (struct weft_counter){0};
		for (size_t j = 0; j < fwd->n_threads; j++) {
			const struct forward_counter *counter = &fwd->threads[j].counters[i];

			out[i].packets +=
				atomic_load_explicit(&counter->packets, memory_order_relaxed);
			out[i].bytes += atomic_load_explicit(&counter->bytes, memory_order_relaxed);
		}
	}
}

/* Threads. */

/* Signals are for the control thread, so ours start with all of them blocked. */
static int thread_start(struct forward_thread *t, void *(*run)(void *))
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	err = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (err)
		return -err;
	err = pthread_create(&t->id, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	t->started = true;
	pthread_setname_np(t->id, "weft-forward");
	return 0;
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int add_thread(struct forward *fwd, size_t queue)
{
	struct forward_thread *t = &fwd->threads[fwd->n_threads];
	bool plain = fwd->config.plain;
	int err;

	t->fwd = fwd;
	t->tun_fd = fwd->config.tun_fds[queue];
	for (size_t i = 0; i < WEFT_FORMAT_MAX; i++)
		t->sockets[i] = queue ? -1 : fwd->others[i];
	t->sockets[fwd->steered] = t->socket_fd = fwd->sockets[queue];
	t->raw_fd = fwd->raws[queue];
	t->epoll_fd = plain ? -1 : epoll_create1(EPOLL_CLOEXEC);
	t->in = calloc(1, plain ? forward_plain_buffers : forward_in_buffers);
	t->out = calloc(1, forward_out_buffers);
	fwd->n_threads++;
	if (!t->in || !t->out || (!plain && t->epoll_fd < 0))
		return -ENOMEM;
	err = set_nonblocking(t->tun_fd);
	return err ? err : thread_start(t, plain ? forward_plain : forward_batch);
}

void forward_stop(struct forward *fwd)
{
	if (!fwd)
		return;
	eventfd_write(fwd->stop_fd, 1);
	for (size_t i = 0; i < fwd->n_threads; i++) {
		if (fwd->threads[i].started)
			pthread_join(fwd->threads[i].id, NULL);
		cleanup_close(&fwd->threads[i].epoll_fd);
		free(fwd->threads[i].in);
		free(fwd->threads[i].out);
	}
	fwd->n_threads = 0;
	free_retired(fwd);
	forward_table_free(atomic_load(&fwd->table));
	sockets_close(fwd);
	cleanup_close(&fwd->stop_fd);
	pthread_mutex_destroy(&fwd->setting);
	free(fwd->threads);
	free(fwd);
}

static void cleanup_forward(struct forward **fwd)
{
	forward_stop(*fwd);
}

int forward_start(const struct forward_config *config, struct forward **out)
{
	__attribute__((cleanup(cleanup_forward))) struct forward *fwd = NULL;
	int err;

	if (!config->n_queues || config->n_queues > FORWARD_QUEUES_MAX)
		return -EINVAL;
	fwd = calloc(1, sizeof(*fwd));
	if (!fwd)
		return -ENOMEM;
	fwd->config = *config;
	if (config->plain)
		fwd->config.n_queues = 1;
	fwd->addr = htonl(config->addr);
	sockets_init(fwd);
	pthread_mutex_init(&fwd->setting, NULL);
	fwd->threads = calloc(fwd->config.n_queues, sizeof(*fwd->threads));
	fwd->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = fwd->threads && fwd->stop_fd >= 0 ? sockets_open(fwd) : -ENOMEM;
	for (size_t i = 0; i < fwd->config.n_queues && err == 0; i++)
		err = add_thread(fwd, i);
	if (err)
		return err;
	*out = take_ptr(fwd);
	return 0;
}
