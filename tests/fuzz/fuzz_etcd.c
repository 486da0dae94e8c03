/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers of etcd. The first line is what is asked for, a letter each; each other one is an answer
 * by a status letter and the body, or a line of the watch. Whatever comes, calls end, with an error
 * of etcd.h and its reason, and what reaches the registry is its usual fare.
 */
#include "fuzz.h"

#include <errno.h>
#include <jansson.h>

#include "base64.h"
#include "etcd.h"
#include "http.h"
#include "registry.h"
#include "util.h"

#define NETWORK "{\"Network\":\"10.244.0.0/16\"}"

static struct input answers;
static struct registry *registry;

/* In place of http.c. */
static struct {
	http_line_fn fn;
	void *arg;
} stream;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

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

static void check_request(const struct http_request *request)
{
	json_t *json = json_loads(request->body, 0, NULL);

	CHECK(json_is_object(json));
	json_decref(json);
	CHECK(strncmp(request->url, "http://", 7) == 0 && strstr(request->url, "/v3/"));
	for (const char *c = request->authorization; c && *c; c++)
		CHECK(*c > 0x20 && *c < 0x7f);
}

static int status_of(char letter)
{
	static const struct {
		char letter;
		int status;
	} all[] = {{'0', 400},	{'1', 401},	   {'3', 403},	  {'5', 503},
		   {'x', -EIO}, {'t', -ETIMEDOUT}, {'b', -EFBIG}, {'c', -ECANCELED}};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].letter == letter)
			return all[i].status;
	return 200;
}

int http_post(struct http *http, const struct http_request *request, unsigned int timeout_ms,
	      char **out, char error[HTTP_ERROR_LEN])
{
	_free_ char *line = NULL;
	size_t len;
	int status = -EIO;

	(void)http;
	(void)timeout_ms;
	check_request(request);
	line = take_line(&answers, &len);
	if (line && len)
		status = status_of(line[0]);
	if (status < 0)
		strcpy(error, "as the input has it");
	else
		*out = strdup(line + 1);
	return status;
}

int http_stream_start(struct http *http, const struct http_request *request, http_line_fn fn,
		      void *arg)
{
	(void)http;
	check_request(request);
	stream.fn = fn;
	stream.arg = arg;
	return 0;
}

int http_stream_wait(struct http *http, unsigned int timeout_ms, char error[HTTP_ERROR_LEN])
{
	_free_ char *line = NULL;
	size_t len;
	int err;

	(void)http;
	(void)timeout_ms;
	line = take_line(&answers, &len);
	err = line ? stream.fn(line, len, stream.arg) : -EPIPE;
	if (err)
		strcpy(error, "as the input has it");
	return err;
}

void http_stream_stop(struct http *http)
{
	(void)http;
}

static int take_kv(const struct etcd_kv *kv, void *arg)
{
	char error[NETCONF_ERROR_LEN];
	int err;

	(void)arg;
	CHECK(kv->key);
	if (!kv->value) {
		registry_remove(registry, kv->key, 1);
		return 0;
	}
	CHECK(kv->value[kv->value_len] == '\0');
	err = registry_put(registry, kv, error);
	CHECK(err >= -EINVAL || err == -ENOMEM);
	return 0;
}

static int list(struct etcd *e, int64_t *revision)
{
	int64_t now = -1;
	int err;

	registry_list_begin(registry);
	err = etcd_list(e, "/coreos.com/network/subnets/", &now, take_kv, NULL);
	registry_list_end(registry, 1);
	if (err == 0)
		*revision = now;
	CHECK(err == 0 || now == -1);
	return err;
}

/* As store_etcd.c does after a listing. */
static int watch(struct etcd *e, int64_t revision)
{
	int err = etcd_watch(e, "/coreos.com/network/subnets/", revision + 1, take_kv, NULL);

	for (int i = 0; err == 0 && i < 4; i++)
		err = etcd_watch_wait(e, 1000);
	return err;
}

static int ask_lease(struct etcd *e, char what)
{
	int64_t out = 0;
	int err;

	switch (what) {
	case 'G':
		err = etcd_grant(e, 60, &out);
		CHECK(err || out);
		return err;
	case 'k':
		return etcd_keep_alive(e, 7, &out);
	case 't':
		err = etcd_time_to_live(e, 7, &out);
		CHECK(err || out >= 0);
		return err;
	default:
		return etcd_revoke(e, 7);
	}
}

static int ask(struct etcd *e, char what, int64_t *revision)
{
	switch (what) {
	case 'g':
		return etcd_get(e, "/coreos.com/network/config", take_kv, NULL);
	case 'l':
		return list(e, revision);
	case 'w':
		return watch(e, *revision);
	case 'p':
		return etcd_put(e, "k", "v", 7, 3);
	case 'P':
		return etcd_put_any(e, "k", "v", 7);
	case 'd':
		return etcd_delete(e, "k", 3);
	case 'D':
		return etcd_delete_any(e, "k");
	default:
		return ask_lease(e, what);
	}
}

static void check_error(const struct etcd *e, int err)
{
	static const int known[] = {EACCES, ECANCELED, EPROTO, EFBIG,
				    ENOMEM, EIO,       ESTALE, ETIMEDOUT};
	size_t i = 0;

	if (err >= 0) {
		CHECK(err <= 1);
		return;
	}
	while (i < ARRAY_SIZE(known) && known[i] != -err)
		i++;
	CHECK(i < ARRAY_SIZE(known));
	check_reason(etcd_error(e), 4096);
}

/* Whatever decodes is made of whole bytes that encode to what decodes to the same. */
static void check_base64(const char *text, size_t size)
{
	size_t len = 0, again_len = 0;
	_free_ char *bytes = base64_decode(text, &len), *again_text = NULL, *again = NULL;

	if (!bytes)
		return;
	CHECK(strlen(text) % 4 == 0 && len <= size / 4 * 3);
	again_text = base64_encode(bytes, len);
	again = base64_decode(again_text, &again_len);
	CHECK(again && again_len == len && memcmp(again, bytes, len) == 0);
	CHECK(strncmp(again_text, text, len / 3 * 4) == 0);
}

static void run(const char *what, bool user)
{
	const struct etcd_config config = {
		.endpoints = "http://a:1,http://b:2/", .user = user ? "u" : NULL, .password = "p"};
	int64_t revision = 0;
	struct etcd *e;

	CHECK(etcd_open(&config, &e) == 0);
	for (int i = 0; what[i] && i < 16; i++)
		check_error(e, ask(e, what[i], &revision));
	CHECK(etcd_endpoint(e) && etcd_revision(e) >= 0);
	(void)etcd_cluster(e);
	etcd_close(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[NETCONF_ERROR_LEN];
	_free_ char *what = NULL;
	struct netconf conf;
	size_t len;

	answers = (struct input){data, size};
	what = take_line(&answers, &len);
	if (!what)
		return 0;
	check_base64(what, len);
	CHECK(netconf_parse_network(NETWORK, strlen(NETWORK), &conf, error) == 0);
	CHECK(registry_new(&registry) == 0);
	registry_set_config(registry, &conf);
	run(what, what[0] == 'u');
	registry_free(registry);
	return 0;
}
