/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers that no etcd gives, by a transport that is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etcd.h"
#include "http.h"
#include "util.h"

#define LAST "9223372036854775807"
#define HEADER(revision) "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"" revision "\"}"

static const char *const *answers; /* of the calls to come; NULL ends them */
static int status = 200; /* of them */
static char authorization[5000]; /* that the last call brought along */

int http_open(const struct http_config *config, struct http **out)
{
	(void)config;
	*out = NULL;
	return 0;
}

void http_close(struct http *http)
{
	(void)http;
}

int http_post(struct http *http, const struct http_request *request, unsigned int timeout_ms,
	      char **out, char error[HTTP_ERROR_LEN])
{
	(void)http;
	(void)timeout_ms;
	snprintf(authorization, sizeof(authorization), "%s",
		 request->authorization ? request->authorization : "");
	if (!*answers) {
		snprintf(error, HTTP_ERROR_LEN, "no more");
		return -EIO;
	}
	*out = strdup(*answers++);
	return status;
}

static http_line_fn line_fn;
static void *line_arg;

int http_stream_start(struct http *http, const struct http_request *request, http_line_fn fn,
		      void *arg)
{
	(void)http;
	(void)request;
	line_fn = fn;
	line_arg = arg;
	return 0;
}

int http_stream_wait(struct http *http, unsigned int timeout_ms, char error[HTTP_ERROR_LEN])
{
	_free_ char *line = strdup(*answers++);

	(void)http;
	(void)timeout_ms;
	(void)error;
	return line_fn(line, strlen(line), line_arg);
}

void http_stream_stop(struct http *http)
{
	(void)http;
}

static struct etcd *open_etcd(const char *const *script, const char *user)
{
	const struct etcd_config config = {.endpoints = "http://a", .user = user};
	struct etcd *etcd;

	answers = script;
	assert_int_equal(etcd_open(&config, &etcd), 0);
	return etcd;
}

static int ignore(const struct etcd_kv *kv, void *arg)
{
	(void)kv;
	(void)arg;
	return 0;
}

/* Whoever lists asks for what comes after. */
static void there_is_a_revision_after_every_other(void **state)
{
	static const char *const script[] = {HEADER("41") "}", HEADER(LAST) "}",
					     "{\"result\":" HEADER(LAST) "}}", NULL};
	struct etcd *etcd = open_etcd(script, NULL);
	int64_t revision = 0;

	(void)state;
	assert_int_equal(etcd_list(etcd, "p/", &revision, ignore, NULL), 0);
	assert_int_equal(revision, 41);
	assert_int_equal(etcd_list(etcd, "p/", &revision, ignore, NULL), 0);
	assert_int_equal(revision, 41);
	assert_int_equal(etcd_watch(etcd, "p/", revision + 1, ignore, NULL), 0);
	assert_int_equal(etcd_watch_wait(etcd, 10), 0);
	assert_int_equal(etcd_revision(etcd), 41);
	etcd_close(etcd);
}

/* token NULL: refused for this reason */
static void expect_token(const char *const *script, const char *token, const char *reason)
{
	struct etcd *etcd = open_etcd(script, "root");
	int err = etcd_get(etcd, "k", ignore, NULL);

	assert_int_equal(err, token ? 0 : -EPROTO);
	assert_string_equal(authorization, token ? token : "");
	if (!token)
		assert_string_equal(etcd_error(etcd), reason);
	etcd_close(etcd);
}

static void a_token_is_one_word(void **state)
{
	static const char *const good[] = {"{\"token\":\"abc.12-_~\"}", "{}", NULL};
	static const char *const lines[] = {"{\"token\":\"a\\r\\nX-Y: z\"}", "{}", NULL};
	static const char *const space[] = {"{\"token\":\"a b\"}", "{}", NULL};
	static const char *const empty[] = {"{\"token\":\"\"}", "{}", NULL};
	static const char *const none[] = {"{\"token\":7}", "{}", NULL};
	const char *reason = "http://a: no token in the answer";

	(void)state;
	expect_token(good, "abc.12-_~", NULL);
	expect_token(lines, NULL, reason);
	expect_token(space, NULL, reason);
	expect_token(empty, NULL, reason);
	expect_token(none, NULL, reason);
}

/* A JWT that is signed with an RSA key of 16384 bits has some 3,000 bytes. */
static void a_token_is_so_long(void **state)
{
	char token[4097], answer[sizeof(token) + 16];
	const char *const script[] = {answer, "{}", NULL};

	(void)state;
	memset(token, 'a', sizeof(token));
	token[4095] = '\0';
	snprintf(answer, sizeof(answer), "{\"token\":\"%s\"}", token);
	expect_token(script, token, NULL);
	token[4095] = 'a';
	token[4096] = '\0';
	snprintf(answer, sizeof(answer), "{\"token\":\"%s\"}", token);
	expect_token(script, NULL, "http://a: the token has more than 4095 bytes");
}

/* As versions of etcd put it */
static void refusals_have_their_reason(void **state)
{
	static const char *const script[] = {
		"{\"error\":\"etcdserver: a\",\"code\":3,\"message\":\"etcdserver: b\"}",
		"{\"code\":3,\"message\":\"etcdserver: b\",\"details\":[]}",
		"{\"code\":3}",
		"{\"error\":{\"grpc_code\":3,\"message\":\"etcdserver: c\"}}",
		"{\"code\":3,\"message\":\"etcdserver: d\"}",
		NULL};
	struct etcd *etcd = open_etcd(script, NULL);
	int64_t revision;

	(void)state;
	status = 500;
	assert_int_equal(etcd_list(etcd, "p/", &revision, ignore, NULL), -EIO);
	assert_string_equal(etcd_error(etcd), "http://a: HTTP status 500: etcdserver: a");
	assert_int_equal(etcd_list(etcd, "p/", &revision, ignore, NULL), -EIO);
	assert_string_equal(etcd_error(etcd), "http://a: HTTP status 500: etcdserver: b");
	assert_int_equal(etcd_list(etcd, "p/", &revision, ignore, NULL), -EIO);
	assert_string_equal(etcd_error(etcd), "http://a: HTTP status 500: no reason given");
	status = 200;
	for (const char *reason = "cd"; *reason; reason++) {
		char expected[64];

		snprintf(expected, sizeof(expected), "http://a: watch: etcdserver: %c", *reason);
		assert_int_equal(etcd_watch(etcd, "p/", 1, ignore, NULL), 0);
		assert_int_equal(etcd_watch_wait(etcd, 10), -EPROTO);
		assert_string_equal(etcd_error(etcd), expected);
	}
	etcd_close(etcd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_is_a_revision_after_every_other),
		cmocka_unit_test(a_token_is_one_word),
		cmocka_unit_test(a_token_is_so_long),
		cmocka_unit_test(refusals_have_their_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
