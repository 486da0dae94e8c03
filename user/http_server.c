/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libmicrohttpd without a thread of its own: its epoll descriptor is one more in the loop. Its idle
 * timeout starts again with every byte, so what bounds a connection is the deadline kept here.
 */
#include "http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "util.h"

#define HTTP_CONNECTIONS 16U
#define HTTP_PER_ADDRESS 8U /* so that no single client keeps the others out */
#define HTTP_BACKLOG 128 /* beyond, the kernel drops SYNs, and everybody's connects take seconds */
#define HTTP_MEMORY 8192 /* bytes of a connection: its request's header, its answer's header */
#define HTTP_LIFETIME_MS 10000

struct connection {
	int fd; /* libmicrohttpd's; -1: a free slot */
	uint64_t deadline; /* by clock_ms() */
};

struct http_server {
	struct loop *loop;
	struct MHD_Daemon *daemon;
	int epoll_fd; /* the daemon's */
	struct loop_timer *again; /* the daemon has more to do than its descriptors tell */
	struct loop_timer *expiry; /* of the connection that is due first */
	http_fn fn;
	void *arg;
	struct connection connections[HTTP_CONNECTIONS];
	bool ended; /* a connection, since this was last false */
};

/* Digits only, no leading zero: strtoul() would take signs and spaces. */
static int parse_port(const char *text, in_port_t *out)
{
	size_t len = strspn(text, "0123456789");
	unsigned long port;

	if (len == 0 || len > 5 || text[len] || text[0] == '0')
		return -EINVAL;
	port = strtoul(text, NULL, 10);
	if (port > UINT16_MAX)
		return -EINVAL;
	*out = htons((uint16_t)port);
	return 0;
}

int http_address_parse(const char *text, struct sockaddr_in *out)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = INADDR_ANY};
	const char *colon = strchr(text, ':');
	char host[INET_ADDRSTRLEN] = "";
	size_t len = colon ? (size_t)(colon - text) : sizeof(host);

	if (len >= sizeof(host) || parse_port(colon + 1, &addr.sin_port))
		return -EINVAL;
	memcpy(host, text, len);
	if (len && strcmp(host, "*") && inet_pton(AF_INET, host, &addr.sin_addr) != 1)
		return -EINVAL;
	*out = addr;
	return 0;
}

/* Connections. */

static void expire(void *arg)
{
	struct http_server *server = arg;
	uint64_t now = clock_ms(), next = UINT64_MAX;

	for (size_t i = 0; i < HTTP_CONNECTIONS; i++) {
		const struct connection *c = &server->connections[i];

		if (c->fd < 0)
			continue;
		/* Which makes the descriptor ready, and the daemon close it. */
		if (c->deadline <= now)
			shutdown(c->fd, SHUT_RDWR);
		else if (c->deadline < next)
			next = c->deadline;
	}
	if (next != UINT64_MAX)
		loop_timer_arm(server->expiry, next - now, 0);
}

/* All live equally long, so the oldest is due first and later ones need not touch the timer. */
static void connection_begin(struct http_server *server, int fd)
{
	struct connection *slot = NULL;
	bool first = true;

	for (size_t i = 0; i < HTTP_CONNECTIONS; i++) {
		struct connection *c = &server->connections[i];

		if (c->fd < 0)
			slot = c;
		else
			first = false;
	}
	if (!slot) /* more than the daemon was told to accept */
		return;
	*slot = (struct connection){.fd = fd, .deadline = clock_ms() + HTTP_LIFETIME_MS};
	if (first)
		loop_timer_arm(server->expiry, HTTP_LIFETIME_MS, 0);
}

/* The daemon calls this before it closes fd. */
static void connection_end(struct http_server *server, int fd)
{
	for (size_t i = 0; i < HTTP_CONNECTIONS; i++)
		if (server->connections[i].fd == fd)
			server->connections[i].fd = -1;
	server->ended = true;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	(void)context;
	if (!info)
		return;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		connection_begin(arg, info->connect_fd);
	else
		connection_end(arg, info->connect_fd);
}

/* Requests. */

static void refuse(struct http_answer *answer, unsigned int status, const char *text)
{
	*answer = (struct http_answer){
		.status = status,
		.type = "text/plain; charset=utf-8",
		.body = strdup(text),
		.len = strlen(text),
	};
}

/* Takes the body. One answer a connection: a client that keeps it would keep a slot. */
static enum MHD_Result send_answer(struct MHD_Connection *connection, struct http_answer *answer)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!answer->body)
		return MHD_NO;
	response =
		MHD_create_response_from_buffer(answer->len, answer->body, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(answer->body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return result;
}

/* Called when the header is complete; answering at once leaves any body of a request unread. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_len, void **context)
{
	struct http_server *server = arg;
	struct http_answer answer = {};
	int err;

	(void)version;
	(void)upload;
	(void)upload_len;
	(void)context;
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD)) {
		refuse(&answer, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed\n");
		return send_answer(connection, &answer);
	}
	err = server->fn(path, &answer, server->arg);
	if (err == -ENOENT)
		refuse(&answer, MHD_HTTP_NOT_FOUND, "not found\n");
	else if (err)
		refuse(&answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of resources\n");
	return send_answer(connection, &answer);
}

/* Life cycle. */

/*
 * A daemon that was full does not look at its listening socket, and looks again at the beginning of
 * a run, but connections go at the end of one.
 */
static void turn(void *arg)
{
	struct http_server *server = arg;
	MHD_UNSIGNED_LONG_LONG ms;

	server->ended = false;
	MHD_run(server->daemon);
	if (MHD_get_timeout(server->daemon, &ms) == MHD_YES)
		loop_timer_arm(server->again, ms, 0);
	else if (server->ended)
		loop_timer_arm(server->again, 0, 0);
	else
		loop_timer_disarm(server->again);
}

/* Our own, as the daemon would not say why it cannot have one. */
static int listen_on(const struct sockaddr_in *addr)
{
	_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) || listen(fd, HTTP_BACKLOG))
		return -errno;
	return take_fd(&fd);
}

/* listen_fd is the daemon's afterwards. */
static int start_daemon(struct http_server *server, int listen_fd)
{
	const union MHD_DaemonInfo *info;

	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET,
		listen_fd, MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, HTTP_PER_ADDRESS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
	if (!server->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -EOPNOTSUPP;
	server->epoll_fd = info->epoll_fd;
	return loop_add(server->loop, server->epoll_fd, turn, server);
}

static int start(struct http_server *server, const struct sockaddr_in *addr)
{
	int err = loop_timer_new(server->loop, turn, server, &server->again);
	_close_ int fd = -1;

	if (err == 0)
		err = loop_timer_new(server->loop, expire, server, &server->expiry);
	if (err)
		return err;
	fd = listen_on(addr);
	return fd < 0 ? fd : start_daemon(server, take_fd(&fd));
}

int http_server_open(struct loop *loop, const struct sockaddr_in *addr, http_fn fn, void *arg,
		     struct http_server **out)
{
	struct http_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return -ENOMEM;
	*server = (struct http_server){.loop = loop, .epoll_fd = -1, .fn = fn, .arg = arg};
	for (size_t i = 0; i < HTTP_CONNECTIONS; i++)
		server->connections[i].fd = -1;
	err = start(server, addr);
	if (err) {
		http_server_close(server);
		return err;
	}
	*out = server;
	return 0;
}

void http_server_close(struct http_server *server)
{
	if (!server)
		return;
	loop_timer_disarm(server->again);
	loop_timer_disarm(server->expiry);
	if (server->epoll_fd >= 0)
		loop_remove(server->loop, server->epoll_fd);
	if (server->daemon)
		MHD_stop_daemon(server->daemon);
	free(server);
}
