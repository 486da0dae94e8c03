/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A client is a slot that goes from FREE to READING to ANSWERING and back. Requests are read and
 * documents built on the loop's thread; what does not fit the socket's buffer at once is sent by a
 * thread of its own, so that a slow reader costs the loop nothing. That thread may use its slot's
 * fd and text, but only the loop's thread closes fds and frees slots, after joining.
 */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "privilege.h"
#include "util.h"

#define CTL_CLIENTS 16
#define CTL_REQUEST_MAX 128 /* bytes, newline included */
#define PEER_GROUPS 1024 /* who is in more is refused */
#define CTL_TIMEOUT_MS 5000 /* for the request, and again for the answer */
#define CTL_ANSWER_MAX (64U << 20) /* bytes; 65,536 routes need 6 MB */

enum client_state { CLIENT_FREE, CLIENT_READING, CLIENT_ANSWERING };

struct client {
	struct ctl *ctl;
	enum client_state state;
	uint64_t number; /* of the connection: a lower one is older */
	bool owner; /* root or our own user: may change things */
	int fd;
	int timer_fd; /* bounds the request */
	size_t used;
	char request[CTL_REQUEST_MAX + 1]; /* room to notice one byte too many */
	/* The answering thread's, until done. */
	pthread_t thread;
	char *text;
	size_t len;
	size_t sent;
	atomic_bool done;
};

struct ctl {
	struct loop *loop;
	int fd;
	int done_fd; /* eventfd: a thread has finished */
	int spare_fd; /* given up for a moment when the process has no descriptor left */
	struct sockaddr_un addr;
	struct ctl_config config;
	uint64_t n_clients; /* so far */
	struct client clients[CTL_CLIENTS];
};

static int ctl_address(const char *state_dir, struct sockaddr_un *addr)
{
	int len;

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	len = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/ctl.sock", state_dir);
	return len < (int)sizeof(addr->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Stop reading: the request is complete or will never be. */
static void client_end_request(struct client *client)
{
	loop_remove(client->ctl->loop, client->timer_fd);
	loop_remove(client->ctl->loop, client->fd);
	close(client->timer_fd);
	client->timer_fd = -1;
}

static void client_free(struct client *client)
{
	if (client->state == CLIENT_READING)
		client_end_request(client);
	close(client->fd);
	client->fd = -1;
	client->state = CLIENT_FREE;
	free(take_ptr(client->text));
}

/* Send as much as the socket takes now. 0 when all is sent, -EAGAIN when some is left. */
static int client_send(struct client *client)
{
	while (client->sent < client->len) {
		ssize_t n = send(client->fd, client->text + client->sent,
				 client->len - client->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		client->sent += (size_t)n;
	}
	return 0;
}

static void *client_thread(void *arg)
{
	struct client *client = arg;
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLOUT};
	uint64_t deadline = clock_ms() + CTL_TIMEOUT_MS;
	int done_fd = client->ctl->done_fd;

	while (client_send(client) == -EAGAIN) {
		int left = clock_left_ms(deadline);

		if (left == 0)
			break;
		poll(&poll_fd, 1, left);
	}
	shutdown(client->fd, SHUT_RDWR);
	atomic_store(&client->done, true);
	eventfd_write(done_fd, 1);
	return NULL;
}

/* Signals are for the loop's thread: block them all in the new one. */
static int client_start_thread(struct client *client)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&client->thread, NULL, client_thread, client);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/* Takes the reference. The client is done with, or its thread runs. */
static void client_answer(struct client *client, json_t *answer)
{
	int err;

	client->text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	client_end_request(client);
	client->state = CLIENT_ANSWERING;
	client->len = client->text ? strlen(client->text) : 0;
	client->sent = 0;
	err = client_send(client);
	if (err == -EAGAIN) {
		atomic_store(&client->done, false);
		err = client_start_thread(client);
		if (!err)
			return;
	}
	client_free(client);
}

static void client_refuse(struct client *client, const char *why)
{
	client_answer(client, json_pack("{s:s}", "error", why));
}

/* A request is a lower-case word, so nothing else ever reaches the agent or its log. */
static bool is_verb(const char *text, size_t len)
{
	return len && strspn(text, "abcdefghijklmnopqrstuvwxyz") == len;
}

/* A stream takes KEY=VALUE words behind its verb. */
static bool are_words(const char *text, size_t len)
{
	return len && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.= ") == len;
}

/* The connection is the stream's from now on, and the slot free. False: the verb is none. */
static bool client_stream(struct client *client, const char *verb, const char *words)
{
	const struct ctl_config *config = &client->ctl->config;
	/* Another descriptor, as the loop still watches the slot's own. */
	_close_ int fd = config->stream ? fcntl(client->fd, F_DUPFD_CLOEXEC, 0) : -1;
	int err = fd < 0 ? -ENOENT : config->stream(verb, words, fd, config->arg);

	if (err == -ENOENT)
		return false;
	if (err == 0) {
		take_fd(&fd);
		client_free(client);
	} else if (err == -EBUSY) {
		client_refuse(client, "too many of these");
	} else {
		client_refuse(client, err == -EINVAL ? "malformed request" : "out of resources");
	}
	return true;
}

static void client_request(struct client *client)
{
	char *end = memchr(client->request, '\n', client->used), *words;
	const struct ctl_config *config = &client->ctl->config;
	json_t *answer;

	if (client->used > CTL_REQUEST_MAX) {
		client_refuse(client, "request too long");
		return;
	}
	if (!end)
		return;
	*end = '\0';
	words = memchr(client->request, ' ', (size_t)(end - client->request));
	if (!is_verb(client->request, (size_t)((words ? words : end) - client->request)) ||
	    (words && !are_words(words + 1, (size_t)(end - words - 1)))) {
		client_refuse(client, "malformed request");
		return;
	}
	if (words)
		*words++ = '\0';
	else
		words = end;
	if (!client->owner && !config->reads(client->request)) {
		client_refuse(client, "permission denied");
		return;
	}
	if (client_stream(client, client->request, words))
		return;
	if (*words) {
		client_refuse(client, "malformed request");
		return;
	}
	answer = config->fn(client->request, config->arg);
	if (answer)
		client_answer(client, answer);
	else
		client_refuse(client, "unknown verb");
}

static void on_client(void *arg)
{
	struct client *client = arg;
	ssize_t n;

	/* An event of the slot's former owner may still be in the loop's hands. */
	if (client->state != CLIENT_READING)
		return;
	n = recv(client->fd, client->request + client->used, sizeof(client->request) - client->used,
		 MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(client);
		return;
	}
	client->used += (size_t)n;
	client_request(client);
}

static void on_timeout(void *arg)
{
	struct client *client = arg;
	uint64_t expired;

	if (client->state != CLIENT_READING ||
	    read(client->timer_fd, &expired, sizeof(expired)) != sizeof(expired))
		return;
	log_debug("control socket: client sent no request, dropped");
	client_free(client);
}

static int client_watch(struct client *client)
{
	struct loop *loop = client->ctl->loop;
	int err;

	err = loop_add(loop, client->timer_fd, on_timeout, client);
	if (err)
		return err;
	err = loop_add(loop, client->fd, on_client, client);
	if (err)
		loop_remove(loop, client->timer_fd);
	return err;
}

/* On success fd is the slot's. */
static int client_open(struct client *client, int fd, bool owner)
{
	struct itimerspec limit = {.it_value.tv_sec = CTL_TIMEOUT_MS / 1000};
	_close_ int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	int err;

	if (timer_fd < 0 || timerfd_settime(timer_fd, 0, &limit, NULL))
		return -errno;
	client->fd = fd;
	client->owner = owner;
	client->timer_fd = timer_fd;
	err = client_watch(client);
	if (err)
		return err;
	client->used = 0;
	client->number = client->ctl->n_clients++;
	client->state = CLIENT_READING;
	take_fd(&timer_fd);
	return 0;
}

static void reap_threads(struct ctl *ctl)
{
	for (size_t i = 0; i < CTL_CLIENTS; i++) {
		struct client *client = &ctl->clients[i];

		if (client->state == CLIENT_ANSWERING && atomic_load(&client->done)) {
			pthread_join(client->thread, NULL);
			client_free(client);
		}
	}
}

static void on_done(void *arg)
{
	struct ctl *ctl = arg;
	eventfd_t count;

	eventfd_read(ctl->done_fd, &count);
	reap_threads(ctl);
}

/* The kernel's word on who connected. */
static bool is_owner(const struct ucred *peer)
{
	return peer->uid == 0 || peer->uid == geteuid();
}

/* The socket's mode says the same; but that is a file's, which somebody may change. */
static bool is_member(int fd, const struct ucred *peer, gid_t group)
{
	gid_t groups[PEER_GROUPS];
	socklen_t len = sizeof(groups);

	if (group == PRIVILEGE_NO_GROUP)
		return false;
	if (peer->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return false;
	for (size_t i = 0; i < len / sizeof(gid_t); i++)
		if (groups[i] == group)
			return true;
	return false;
}

static bool gives_way_before(const struct client *a, const struct client *b)
{
	return a->state != b->state ? a->state < b->state : a->number < b->number;
}

/*
 * A free slot, or that of the oldest client that has not asked yet, or else of the oldest that does
 * not read its answer: whoever stalls keeps nobody out.
 */
static struct client *take_slot(struct ctl *ctl)
{
	struct client *client = &ctl->clients[0];

	for (size_t i = 1; i < CTL_CLIENTS; i++) {
		if (gives_way_before(&ctl->clients[i], client))
			client = &ctl->clients[i];
	}
	if (client->state == CLIENT_FREE)
		return client;
	log_debug("control socket: a client gives way to another");
	if (client->state == CLIENT_ANSWERING) {
		shutdown(client->fd, SHUT_RDWR);
		pthread_join(client->thread, NULL);
	}
	client_free(client);
	return client;
}

/* Turn away a client that gets no slot: a short answer always fits a fresh socket's buffer. */
static void turn_away(int fd, const char *why)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "{\"error\":\"%s\"}", why);

	log_debug("control socket: client turned away: %s", why);
	send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A connection that stays pending keeps the socket readable, and the loop spinning. */
static void shed_client(struct ctl *ctl)
{
	cleanup_close(&ctl->spare_fd);
	ctl->spare_fd = accept4(ctl->fd, NULL, NULL, SOCK_CLOEXEC);
	if (ctl->spare_fd >= 0)
		turn_away(ctl->spare_fd, "out of resources");
	cleanup_close(&ctl->spare_fd);
	ctl->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_connect(void *arg)
{
	struct ctl *ctl = arg;
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof(peer);
	_close_ int fd = accept4(ctl->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			shed_client(ctl);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    (!is_owner(&peer) && !is_member(fd, &peer, ctl->config.group))) {
		turn_away(fd, "permission denied");
		return;
	}
	reap_threads(ctl);
	if (client_open(take_slot(ctl), fd, is_owner(&peer)))
		turn_away(fd, "out of resources");
	else
		take_fd(&fd);
}

/*
 * fchmod() before bind() gives the file its mode from the first moment on; there is no window in
 * which others could connect.
 */
static int bind_socket(const struct sockaddr_un *addr)
{
	_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (unlink(addr->sun_path) && errno != ENOENT)
		return -errno;
	if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) ||
	    listen(fd, CTL_CLIENTS))
		return -errno;
	return take_fd(&fd);
}

/* In this order nothing is ever open to a group that it does not belong to. */
static int give_to_group(const struct ctl *ctl)
{
	const char *dir = ctl->config.state_dir, *socket = ctl->addr.sun_path;
	gid_t group = ctl->config.group;

	if (group == PRIVILEGE_NO_GROUP)
		return 0;
	if (chown(socket, (uid_t)-1, group) || chmod(socket, 0660) ||
	    chown(dir, (uid_t)-1, group) || chmod(dir, 0710))
		return log_err(-errno, "cannot give the control socket to group %u", group);
	return 0;
}

static int ctl_watch(struct ctl *ctl)
{
	int err;

	err = loop_add(ctl->loop, ctl->done_fd, on_done, ctl);
	if (err)
		return err;
	err = loop_add(ctl->loop, ctl->fd, on_connect, ctl);
	if (err)
		loop_remove(ctl->loop, ctl->done_fd);
	return err;
}

static void ctl_free(struct ctl *ctl)
{
	if (ctl->fd >= 0) {
		unlink(ctl->addr.sun_path);
		close(ctl->fd);
	}
	cleanup_close(&ctl->done_fd);
	cleanup_close(&ctl->spare_fd);
	free(ctl);
}

static int ctl_bind(struct ctl *ctl)
{
	int err;

	err = ctl_address(ctl->config.state_dir, &ctl->addr);
	if (err)
		return err;
	ctl->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ctl->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (ctl->done_fd < 0 || ctl->spare_fd < 0)
		return -errno;
	ctl->fd = bind_socket(&ctl->addr);
	return ctl->fd < 0 ? ctl->fd : 0;
}

static int ctl_open(struct ctl *ctl)
{
	int err = ctl_bind(ctl);

	if (err)
		return log_err(err, "cannot open the control socket in %s", ctl->config.state_dir);
	err = give_to_group(ctl);
	if (err)
		return err;
	err = ctl_watch(ctl);
	return err ? log_err(err, "cannot watch the control socket") : 0;
}

int ctl_listen(struct loop *loop, const struct ctl_config *config, struct ctl **out)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));
	int err;

	if (!ctl)
		return -ENOMEM;
	ctl->loop = loop;
	ctl->config = *config;
	ctl->fd = -1;
	ctl->done_fd = -1;
	ctl->spare_fd = -1;
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		ctl->clients[i] = (struct client){.ctl = ctl, .fd = -1, .timer_fd = -1};
	err = ctl_open(ctl);
	if (err) {
		ctl_free(ctl);
		return err;
	}
	*out = ctl;
	return 0;
}

void ctl_close(struct ctl *ctl)
{
	if (!ctl)
		return;
	loop_remove(ctl->loop, ctl->fd);
	loop_remove(ctl->loop, ctl->done_fd);
	for (size_t i = 0; i < CTL_CLIENTS; i++) {
		struct client *client = &ctl->clients[i];

		if (client->state == CLIENT_ANSWERING) {
			shutdown(client->fd, SHUT_RDWR);
			pthread_join(client->thread, NULL);
		}
		if (client->state != CLIENT_FREE)
			client_free(client);
	}
	ctl_free(ctl);
}

static int ctl_connect(const char *state_dir)
{
	struct timeval limit = {.tv_sec = 2 * CTL_TIMEOUT_MS / 1000};
	struct sockaddr_un addr;
	_close_ int fd = -1;
	int err;

	err = ctl_address(state_dir, &addr);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return take_fd(&fd);
}

/* Called by jansson for each piece; a broken connection ends the text, which then is no JSON. */
struct answer {
	int fd;
	int err;
	size_t len;
};

static size_t read_answer(void *buffer, size_t len, void *data)
{
	struct answer *answer = data;
	ssize_t n;

	do {
		n = recv(answer->fd, buffer, len, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		answer->err = errno == EAGAIN ? -ETIMEDOUT : -errno;
	else
		answer->len += (size_t)n;
	if (answer->len > CTL_ANSWER_MAX)
		answer->err = -EFBIG;
	return answer->err ? (size_t)-1 : (size_t)n;
}

/* Connected, and the request is said; or -errno. */
static int ctl_ask(const char *state_dir, const char *text)
{
	char request[CTL_REQUEST_MAX + 1];
	int len = snprintf(request, sizeof(request), "%s\n", text);
	_close_ int fd = -1;

	if (len > CTL_REQUEST_MAX)
		return -EINVAL;
	fd = ctl_connect(state_dir);
	if (fd < 0)
		return fd == -EAGAIN ? -ETIMEDOUT : fd;
	/* A client that is turned away gets its answer without having been read. */
	if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len && errno != EPIPE)
		return -errno;
	return take_fd(&fd);
}

int ctl_stream(const char *state_dir, const char *request)
{
	const struct timeval forever = {};
	_close_ int fd = ctl_ask(state_dir, request);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever)))
		return -errno;
	return take_fd(&fd);
}

int ctl_query(const char *state_dir, const char *verb, json_t **out)
{
	struct answer answer = {0};
	_close_ int fd = ctl_ask(state_dir, verb);
	json_t *document;

	if (fd < 0)
		return fd;
	answer.fd = fd;
	document = json_load_callback(read_answer, &answer, 0, NULL);
	if (!document)
		return answer.err ? answer.err : -EPROTO;
	*out = document;
	return 0;
}
