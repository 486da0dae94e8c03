/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "util.h"

#define CONNECT_MS 2000L
/* A peer that is gone without a word is noticed after 10 + 3 * 3 s. */
#define KEEPALIVE_IDLE_S 10L
#define KEEPALIVE_INTERVAL_S 3L

struct text {
	char *data; /* 0-terminated once there is any */
	size_t len, room, most;
	bool overflow;
};

struct transfer {
	CURL *easy; /* NULL: none */
	struct curl_slist *headers;
	struct text text;
	char reason[CURL_ERROR_SIZE];
	bool ended;
	CURLcode result;
};

struct http {
	struct http_config config;
	CURLM *multi;
	struct transfer post, stream;
	http_line_fn fn;
	void *arg;
};

static bool text_grow(struct text *text, size_t len)
{
	size_t room = text->room ? text->room : 4096;
	char *data;

	while (room < len + 1)
		room *= 2;
	if (room == text->room)
		return true;
	data = realloc(text->data, room);
	if (!data)
		return false;
	text->data = data;
	text->room = room;
	return true;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct text *text = arg;

	n *= size;
	text->overflow = text->len + n > text->most;
	if (text->overflow || !text_grow(text, text->len + n))
		return 0;
	memcpy(text->data + text->len, data, n);
	text->len += n;
	text->data[text->len] = '\0';
	return n;
}

static void transfer_end(struct http *http, struct transfer *t)
{
	if (t->easy) {
		curl_multi_remove_handle(http->multi, t->easy);
		curl_easy_cleanup(t->easy);
	}
	curl_slist_free_all(t->headers);
	free(t->text.data);
	*t = (struct transfer){};
}

static bool add_header(struct transfer *t, const char *name, const char *value)
{
	struct curl_slist *longer;
	_free_ char *line = NULL;

	if (asprintf(&line, "%s: %s", name, value) < 0) {
		line = NULL;
		return false;
	}
	longer = curl_slist_append(t->headers, line);
	if (longer)
		t->headers = longer;
	return longer;
}

static void set_tls(const struct http_config *config, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->ca_file) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
		/* Else the directory of the system's store would be trusted as well. */
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (config->cert_file)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, config->cert_file);
	if (config->key_file)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, config->key_file);
}

static void set_request(struct transfer *t, const struct http_request *request)
{
	CURL *easy = t->easy;

	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &t->text);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->reason);
	/* An answer comes from whom we asked, and not by way of a proxy of the environment. */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	/* etcd takes HTTP/2 for its own protocol. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
}

static int transfer_begin(struct http *http, struct transfer *t, const struct http_request *request)
{
	bool ok;

	transfer_end(http, t);
	t->easy = curl_easy_init();
	t->text.most = request->most;
	/* No "Expect: 100-continue": a round trip for nothing. */
	ok = t->easy && add_header(t, "Content-Type", "application/json") &&
	     add_header(t, "Expect", "") &&
	     (!request->authorization || add_header(t, "Authorization", request->authorization));
	if (ok) {
		set_request(t, request);
		set_tls(&http->config, t->easy);
		ok = curl_multi_add_handle(http->multi, t->easy) == CURLM_OK;
	}
	if (ok)
		return 0;
	transfer_end(http, t);
	return -ENOMEM;
}

static void note_ends(struct http *http)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(http->multi, &left))) {
		struct transfer *t =
			msg->easy_handle == http->post.easy ? &http->post : &http->stream;

		if (msg->msg != CURLMSG_DONE)
			continue;
		t->ended = true;
		t->result = msg->data.result;
	}
}

/* One round of whatever is under way. -ECANCELED when the thread is to end. */
static int perform(struct http *http, int timeout_ms)
{
	struct curl_waitfd wake = {.fd = http->config.wake_fd, .events = CURL_WAIT_POLLIN};
	int running;

	curl_multi_perform(http->multi, &running);
	note_ends(http);
	if (http->post.ended || http->stream.ended)
		return 0;
	if (curl_multi_poll(http->multi, &wake, 1, timeout_ms, NULL) != CURLM_OK)
		return -ENOMEM;
	if (wake.revents)
		return -ECANCELED;
	curl_multi_perform(http->multi, &running);
	note_ends(http);
	return 0;
}

static int fail(int err, const char *reason, char *error)
{
	snprintf(error, HTTP_ERROR_LEN, "%s", reason);
	return err;
}

/* What became of a transfer that has ended; 0 when it went well. */
static int outcome(const struct transfer *t, char *error)
{
	if (t->result == CURLE_OK)
		return 0;
	if (t->text.overflow)
		return fail(-EFBIG, "the answer is too large", error);
	if (t->result == CURLE_OPERATION_TIMEDOUT)
		return fail(-ETIMEDOUT, t->reason[0] ? t->reason : "no answer", error);
	return fail(t->result == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EIO,
		    t->reason[0] ? t->reason : curl_easy_strerror(t->result), error);
}

static int post_wait(struct http *http, unsigned int timeout_ms, char *error)
{
	uint64_t end = clock_ms() + timeout_ms;

	while (!http->post.ended) {
		int left = clock_left_ms(end), err;

		if (left == 0)
			return fail(-ETIMEDOUT, "no answer", error);
		err = perform(http, left);
		if (err)
			return fail(err, strerror(-err), error);
		/* The stream's end waits for http_stream_wait(), but must not keep us spinning. */
		if (http->stream.ended && !http->post.ended)
			curl_multi_poll(http->multi, NULL, 0, 1, NULL);
	}
	return outcome(&http->post, error);
}

int http_post(struct http *http, const struct http_request *request, unsigned int timeout_ms,
	      char **out, char error[HTTP_ERROR_LEN])
{
	struct transfer *t = &http->post;
	long status = 0;
	int err = transfer_begin(http, t, request);

	if (err)
		return fail(err, "out of memory", error);
	err = post_wait(http, timeout_ms, error);
	if (err == 0 && !text_grow(&t->text, t->text.len))
		err = fail(-ENOMEM, "out of memory", error);
	if (err == 0) {
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		t->text.data[t->text.len] = '\0';
		*out = take_ptr(t->text.data);
	}
	transfer_end(http, t);
	return err ? err : (int)status;
}

int http_stream_start(struct http *http, const struct http_request *request, http_line_fn fn,
		      void *arg)
{
	http->fn = fn;
	http->arg = arg;
	return transfer_begin(http, &http->stream, request);
}

/* 0 when there was none, 1 after some. */
static int hand_over_lines(struct http *http)
{
	struct text *text = &http->stream.text;
	char *line = text->data, *end;
	int err = 0, some = 0;

	while (err == 0 && line &&
	       (end = memchr(line, '\n', text->len - (size_t)(line - text->data)))) {
		*end = '\0';
		some = 1;
		err = http->fn(line, (size_t)(end - line), http->arg);
		line = end + 1;
	}
	if (some) {
		text->len -= (size_t)(line - text->data);
		memmove(text->data, line, text->len);
	}
	return err ? err : some;
}

static int stream_end(struct http *http, char *error)
{
	int err = outcome(&http->stream, error);

	return err ? err : fail(-EPIPE, "the watch was ended by the other side", error);
}

int http_stream_wait(struct http *http, unsigned int timeout_ms, char error[HTTP_ERROR_LEN])
{
	uint64_t end = clock_ms() + timeout_ms;
	int left, err;

	do {
		err = hand_over_lines(http);
		if (err < 0)
			return fail(err, strerror(-err), error);
		if (err > 0)
			return 0;
		if (http->stream.ended)
			return stream_end(http, error);
		left = clock_left_ms(end);
		err = perform(http, left);
		if (err)
			return fail(err, strerror(-err), error);
	} while (left > 0);
	return 0;
}

void http_stream_stop(struct http *http)
{
	transfer_end(http, &http->stream);
}

int http_open(const struct http_config *config, struct http **out)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return -ENOMEM;
	http->config = *config;
	http->multi = curl_multi_init();
	if (!http->multi) {
		free(http);
		return -ENOMEM;
	}
	*out = http;
	return 0;
}

void http_close(struct http *http)
{
	if (!http)
		return;
	transfer_end(http, &http->post);
	transfer_end(http, &http->stream);
	curl_multi_cleanup(http->multi);
	free(http);
}
