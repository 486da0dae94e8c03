/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A small HTTP server on the agent's own loop, for GET and HEAD of a few short documents. Made for
 * clients that nobody vouches for: at most 16 connections, 8 of them from one address, each with
 * 8 KB for its request, one answer and 10 seconds to live, whatever it does meanwhile. Those beyond
 * are closed, or wait in the kernel's queue; nothing that a client does makes the loop wait.
 */
#ifndef WEFT_USER_HTTP_SERVER_H
#define WEFT_USER_HTTP_SERVER_H

#include <netinet/in.h>
#include <stddef.h>

#include "loop.h"

struct http_server;

struct http_answer {
	unsigned int status; /* of HTTP */
	const char *type; /* of the content; static */
	char *body; /* from malloc(), the server's from then on */
	size_t len;
};

/*
 * Answers a path, which comes without its query. -ENOENT: there is no such document (404); another
 * error is answered with status 500. The answer counts on success only.
 */
typedef int (*http_fn)(const char *path, struct http_answer *answer, void *arg);

/* ADDR:PORT, port 1 to 65535; no ADDR or * means every IPv4 address. -EINVAL for all else. */
int http_address_parse(const char *text, struct sockaddr_in *out);

/* Requests are answered as soon as the loop runs. The error of bind() if the address is taken. */
int http_server_open(struct loop *loop, const struct sockaddr_in *addr, http_fn fn, void *arg,
		     struct http_server **out);
/* Drops the connections. NULL is allowed. */
void http_server_close(struct http_server *server);

#endif
