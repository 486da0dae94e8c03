/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP for one thread: requests that wait for their answer, and beside them at most one stream
 * whose answer never ends. Over libcurl; https by the URL.
 */
#ifndef WEFT_USER_HTTP_H
#define WEFT_USER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_ERROR_LEN 256

struct http;

struct http_config {
	const char *ca_file; /* instead of the system's; the three may be NULL */
	const char *cert_file;
	const char *key_file;
	int wake_fd; /* readable: give up, the thread is to end */
};

struct http_request {
	const char *url;
	const char *body; /* POSTed as JSON */
	const char *authorization; /* value of the header, or NULL */
	size_t most; /* bytes of an answer, or of a stream's line */
};

/* Strings of config must outlive it. -ENOMEM. */
int http_open(const struct http_config *config, struct http **out);
void http_close(struct http *http);

/*
 * Returns the HTTP status (200, 401, ...) with the answer in *out, 0-terminated and the caller's to
 * free. -ETIMEDOUT, -ECANCELED (wake_fd), -EFBIG, -ENOMEM, or -EIO with the reason in error, which
 * is filled for all of them.
 */
int http_post(struct http *http, const struct http_request *request, unsigned int timeout_ms,
	      char **out, char error[HTTP_ERROR_LEN]);

/* line is 0-terminated and without its newline; an error it returns ends the stream with it. */
typedef int (*http_line_fn)(char *line, size_t len, void *arg);

/* Replaces the stream there was. Nothing is sent before http_stream_wait(). */
int http_stream_start(struct http *http, const struct http_request *request, http_line_fn fn,
		      void *arg);
/*
 * Hands lines over for up to timeout_ms, but returns early after any. 0, or what ended the stream:
 * as http_post(), and -EPIPE when the other side has ended it.
 */
int http_stream_wait(struct http *http, unsigned int timeout_ms, char error[HTTP_ERROR_LEN]);
void http_stream_stop(struct http *http);

#endif
