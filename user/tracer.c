/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tracer.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "datapath.h"
#include "log.h"
#include "text.h"
#include "util.h"

#define CLIENTS 4
#define TICK_MS 20
#define BURST 512 /* records of either source in one tick */
#define NAMES 8 /* of devices, looked up once a tick */

struct client {
	struct tracer *tracer;
	int fd; /* -1: none */
	struct trace_filter filter;
	uint64_t since; /* records of before are not for it */
	uint64_t lost; /* and not said yet */
	char *rest; /* of a line of which its socket took a part */
	size_t rest_len;
};

struct tracer {
	struct loop *loop;
	struct loop_timer *timer;
	struct client clients[CLIENTS];
	struct trace_wire wire;
	struct trace_tap tap;
	int tap_fd; /* the pipe's other end */
	uint64_t tap_lost; /* as last seen */
	struct ring_buffer *ring; /* while there are clients, in tier bpf */
	struct datapath_trace programs;
	uint64_t ring_lost;
	unsigned int left; /* records to be taken in this tick */
	double epoch; /* of CLOCK_MONOTONIC, seconds */
	struct {
		uint32_t ifindex;
		char ifname[IF_NAMESIZE];
	} names[NAMES];
	uint64_t random;
};

/* Clients. */

static bool has_clients(const struct tracer *tr)
{
	for (size_t i = 0; i < CLIENTS; i++)
		if (tr->clients[i].fd >= 0)
			return true;
	return false;
}

/* What serves all of them: each leaves out what it did not ask for. */
static struct weft_trace_wish common_wish(const struct tracer *tr)
{
	struct weft_trace_wish wish = {};
	uint32_t host = 0;
	bool any = false;

	for (size_t i = 0; i < CLIENTS; i++) {
		const struct trace_filter *filter = &tr->clients[i].filter;

		if (tr->clients[i].fd < 0)
			continue;
		any |= !filter->host || (host && filter->host != host);
		host = filter->host;
		wish.hooks |= filter->hooks;
		wish.verdicts |= filter->verdicts;
		wish.reasons |= filter->reasons;
		if (!wish.sample || filter->sample < wish.sample)
			wish.sample = filter->sample;
	}
	wish.host = any ? 0 : htonl(host);
	wish.until = clock_ns(CLOCK_MONOTONIC) + WEFT_TRACE_LEASE_MS * NSEC_PER_MSEC;
	return wish;
}

/* The word that switches it on comes last, and goes first. */
static void write_wish(struct weft_trace_wish *to, const struct weft_trace_wish *wish)
{
	if (!wish->sample)
		__atomic_store_n(&to->sample, 0, __ATOMIC_RELEASE);
	to->hooks = wish->hooks;
	to->verdicts = wish->verdicts;
	to->reasons = wish->reasons;
	to->host = wish->host;
	__atomic_store_n(&to->until, wish->until, __ATOMIC_RELAXED);
	__atomic_store_n(&to->sample, wish->sample, __ATOMIC_RELEASE);
}

static void apply_wish(struct tracer *tr)
{
	struct weft_trace_wish wish = common_wish(tr);

	write_wish(&tr->tap.wish, &wish);
	if (tr->ring)
		write_wish(tr->programs.wish, &wish);
}

static void stop(struct tracer *tr)
{
	apply_wish(tr);
	loop_timer_disarm(tr->timer);
	ring_buffer__free(take_ptr(tr->ring));
	log_debug("trace: off");
}

static void client_end(struct client *client)
{
	struct tracer *tr = client->tracer;

	loop_remove(tr->loop, client->fd);
	close(client->fd);
	free(take_ptr(client->rest));
	*client = (struct client){.tracer = tr, .fd = -1};
	if (has_clients(tr))
		apply_wish(tr);
	else
		stop(tr);
}

/* A client has nothing to say any more: it went away. */
static void on_client(void *arg)
{
	struct client *client = arg;
	char byte;

	if (client->fd < 0 || (recv(client->fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN))
		return;
	client_end(client);
}

static void send_rest(struct client *client)
{
	ssize_t n;

	if (!client->rest)
		return;
	n = send(client->fd, client->rest, client->rest_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n <= 0)
		return;
	client->rest_len -= (size_t)n;
	memmove(client->rest, client->rest + n, client->rest_len);
	if (!client->rest_len)
		free(take_ptr(client->rest));
}

/* False: its socket is full, and nothing of the line was sent. */
static bool send_line(struct client *client, const char *line, size_t len)
{
	ssize_t n;

	send_rest(client);
	if (client->rest)
		return false;
	n = send(client->fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return false;
	if ((size_t)n < len) {
		client->rest = strndup(line + n, len - (size_t)n);
		client->rest_len = client->rest ? len - (size_t)n : 0;
	}
	return true;
}

static void say_lost(struct client *client)
{
	char line[64];
	int len;

	send_rest(client);
	if (!client->lost)
		return;
	len = snprintf(line, sizeof(line), "{\"lost\":%llu}\n", (unsigned long long)client->lost);
	if (send_line(client, line, (size_t)len))
		client->lost = 0;
}

/* Records. */

/* Names may hold any byte; what is sent is text. */
static const char *name_of(struct tracer *tr, uint32_t ifindex)
{
	char *name = tr->names[ifindex % NAMES].ifname;

	if (!ifindex)
		return "";
	if (tr->names[ifindex % NAMES].ifindex == ifindex)
		return name;
	tr->names[ifindex % NAMES].ifindex = ifindex;
	if (!if_indextoname(ifindex, name))
		snprintf(name, IF_NAMESIZE, "%u", ifindex);
	return text_clean(name);
}

/* xorshift64 (Marsaglia): which of the packets sampled for another client are for this one, too. */
static bool is_sampled(struct tracer *tr, const struct client *client)
{
	if (client->filter.sample == tr->tap.wish.sample)
		return true;
	tr->random ^= tr->random << 13;
	tr->random ^= tr->random >> 7;
	tr->random ^= tr->random << 17;
	return tr->random % client->filter.sample < tr->tap.wish.sample;
}

static char *line_of(struct tracer *tr, const struct trace_packet *packet, size_t *len)
{
	const struct weft_trace *record = packet->record;
	json_t *object = trace_json(packet, name_of(tr, record->ifindex),
				    tr->epoch + (double)record->time / 1e9);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	if (!text)
		return NULL;
	*len = strlen(text);
	text[(*len)++] = '\n'; /* in place of the NUL */
	return text;
}

static void take_record(struct tracer *tr, const struct weft_trace *record)
{
	struct trace_packet packet;
	_free_ char *line = NULL;
	size_t len = 0;

	if (record->hook >= WEFT_HOOK_MAX || record->verdict >= WEFT_VERDICT_MAX ||
	    record->reason >= WEFT_REASON_MAX || record->head_len > WEFT_TRACE_HEAD)
		return;
	trace_decode(record, &tr->wire, &packet);
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *client = &tr->clients[i];

		if (client->fd < 0 || record->time < client->since ||
		    !trace_matches(&client->filter, &packet) || !is_sampled(tr, client))
			continue;
		if (!line)
			line = line_of(tr, &packet, &len);
		if (!line || !send_line(client, line, len))
			client->lost++;
	}
}

static int on_record(void *arg, void *data, size_t len)
{
	struct tracer *tr = arg;

	if (len >= sizeof(struct weft_trace))
		take_record(tr, data);
	return --tr->left ? 0 : -EAGAIN;
}

static void take_tapped(struct tracer *tr)
{
	struct weft_trace record;

	for (int i = 0; i < BURST; i++) {
		if (read(tr->tap_fd, &record, sizeof(record)) != sizeof(record))
			return;
		take_record(tr, &record);
	}
}

static void count_lost(struct tracer *tr)
{
	uint64_t tapped = atomic_load(&tr->tap.lost);
	uint64_t ringed = tr->ring ? __atomic_load_n(tr->programs.lost, __ATOMIC_RELAXED) : 0;
	uint64_t lost = tapped - tr->tap_lost + (tr->ring ? ringed - tr->ring_lost : 0);

	tr->tap_lost = tapped;
	tr->ring_lost = ringed;
	for (size_t i = 0; i < CLIENTS; i++)
		if (tr->clients[i].fd >= 0)
			tr->clients[i].lost += lost;
}

static void on_tick(void *arg)
{
	struct tracer *tr = arg;

	if (!has_clients(tr))
		return;
	tr->epoch = ((double)clock_ns(CLOCK_REALTIME) - (double)clock_ns(CLOCK_MONOTONIC)) / 1e9;
	memset(tr->names, 0, sizeof(tr->names));
	tr->left = BURST;
	if (tr->ring)
		ring_buffer__consume(tr->ring);
	take_tapped(tr);
	count_lost(tr);
	for (size_t i = 0; i < CLIENTS; i++)
		if (tr->clients[i].fd >= 0)
			say_lost(&tr->clients[i]);
	apply_wish(tr);
}

/* Beginning and end. */

static int start(struct tracer *tr, const struct datapath *datapath)
{
	if (datapath) {
		datapath_trace(datapath, &tr->programs);
		tr->ring = ring_buffer__new(tr->programs.ring_fd, on_record, tr, NULL);
		if (!tr->ring)
			return -errno;
		tr->ring_lost = *tr->programs.lost;
	}
	tr->tap_lost = atomic_load(&tr->tap.lost);
	loop_timer_arm(tr->timer, TICK_MS, TICK_MS);
	log_debug("trace: on");
	return 0;
}

static struct client *free_client(struct tracer *tr)
{
	for (size_t i = 0; i < CLIENTS; i++)
		if (tr->clients[i].fd < 0)
			return &tr->clients[i];
	return NULL;
}

int tracer_add(struct tracer *tr, const struct datapath *datapath, const struct trace_wire *wire,
	       const char *words, int fd)
{
	struct client *client = free_client(tr);
	struct trace_filter filter;
	int err = trace_filter_parse(words, &filter);

	if (err)
		return err;
	if (!client)
		return -EBUSY;
	if (!has_clients(tr))
		err = start(tr, datapath);
	if (err)
		return err;
	client->fd = fd;
	client->filter = filter;
	client->since = clock_ns(CLOCK_MONOTONIC);
	err = loop_add(tr->loop, fd, on_client, client);
	if (err) {
		client->fd = -1;
		if (!has_clients(tr))
			stop(tr);
		return err;
	}
	tr->wire = *wire;
	apply_wish(tr);
	/* From here on: a client may wait for it. */
	send_line(client, "{}\n", 3);
	return 0;
}

struct trace_tap *tracer_tap(struct tracer *tr)
{
	return &tr->tap;
}

int tracer_open(struct loop *loop, struct tracer **out)
{
	_free_ struct tracer *tr = calloc(1, sizeof(*tr));
	int fds[2], err;

	if (!tr)
		return -ENOMEM;
	tr->loop = loop;
	tr->random = clock_ns(CLOCK_MONOTONIC) | 1;
	for (size_t i = 0; i < CLIENTS; i++)
		tr->clients[i] = (struct client){.tracer = tr, .fd = -1};
	err = loop_timer_new(loop, on_tick, tr, &tr->timer);
	if (err)
		return err;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	tr->tap_fd = fds[0];
	tr->tap.fd = fds[1];
	*out = take_ptr(tr);
	return 0;
}

void tracer_close(struct tracer *tr)
{
	if (!tr)
		return;
	for (size_t i = 0; i < CLIENTS; i++)
		if (tr->clients[i].fd >= 0)
			client_end(&tr->clients[i]);
	close(tr->tap_fd);
	close(tr->tap.fd);
	free(tr);
}
