/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "etcd.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "clock.h"
#include "http.h"
#include "util.h"

#define PAGE 1000
#define URL_MAX 512
#define TOKEN_MAX 4096 /* a JWT signed with a large RSA key has some 1,500 bytes */

struct watch {
	int64_t revision; /* of the first change asked for */
	etcd_kv_fn fn;
	void *arg;
	bool created;
	int err; /* why it is over */
	uint64_t started; /* by clock_ms() */
};

struct etcd {
	struct etcd_config config;
	struct http *http;
	char *list; /* config.endpoints, cut */
	const char *endpoints[ETCD_ENDPOINTS_MAX];
	size_t n, at;
	char token[TOKEN_MAX];
	char error[HTTP_ERROR_LEN + URL_MAX];
	uint64_t cluster;
	int64_t revision;
	struct watch watch;
};

/* JSON of protobuf: 64-bit numbers are strings, zero values are left out. */

static int64_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_integer(value))
		return json_integer_value(value);
	return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10) : 0;
}

static json_t *number_json(int64_t value)
{
	return json_sprintf("%" PRId64, value);
}

static json_t *bytes_json(const void *data, size_t len)
{
	_free_ char *text = base64_encode(data, len);

	return text ? json_string(text) : NULL;
}

static json_t *text_json(const char *text)
{
	return bytes_json(text, strlen(text));
}

/* The first key behind all that begin with prefix. */
static json_t *prefix_end_json(const char *prefix)
{
	size_t len = strlen(prefix);
	_free_ char *end = strdup(prefix);

	if (!end)
		return NULL;
	end[len - 1]++;
	return text_json(end);
}

/* Errors */

__attribute__((format(printf, 3, 4))) static int fail(struct etcd *e, int err, const char *format,
						      ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(e->error, sizeof(e->error), format, args);
	va_end(args);
	for (char *c = e->error; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	return err;
}

const char *etcd_error(const struct etcd *e)
{
	return e->error;
}

const char *etcd_endpoint(const struct etcd *e)
{
	return e->endpoints[e->at];
}

uint64_t etcd_cluster(const struct etcd *e)
{
	return e->cluster;
}

int64_t etcd_revision(const struct etcd *e)
{
	return e->revision;
}

static void next_endpoint(struct etcd *e)
{
	e->at = (e->at + 1) % e->n;
	e->token[0] = '\0';
}

/* No revision is the last one there could be: callers ask for the next. */
static void note_header(struct etcd *e, const json_t *answer)
{
	const json_t *header = json_object_get(answer, "header");
	int64_t revision = number(header, "revision");
	const char *id = json_string_value(json_object_get(header, "cluster_id"));

	if (!header)
		return;
	e->cluster = id ? strtoull(id, NULL, 10) : 0;
	if (revision > 0 && revision < INT64_MAX)
		e->revision = revision;
}

/* Calls */

/* "error", of a stream an object with "message"; since 3.6 there is "message" alone. */
static const char *message_of(const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");

	if (json_is_string(error))
		return json_string_value(error);
	return json_string_value(
		json_object_get(json_is_object(error) ? error : answer, "message"));
}

/* Status 400 is a missing user, too. */
static int refusal(struct etcd *e, int status, const json_t *answer)
{
	const char *message = message_of(answer);
	bool denied = status == 401 || status == 403 || (message && strstr(message, "user name"));

	return fail(e, denied ? -EACCES : -EIO, "%s: HTTP status %d: %.200s", etcd_endpoint(e),
		    status, message ? message : "no reason given");
}

static int interpret(struct etcd *e, int status, const char *text, json_t **out)
{
	json_error_t where;
	json_t *answer = json_loads(text, 0, &where);
	int err = 0;

	if (status != 200)
		err = refusal(e, status, answer);
	else if (!json_is_object(answer))
		err = fail(e, -EPROTO, "%s: the answer is not etcd's", etcd_endpoint(e));
	if (err) {
		json_decref(answer);
		return err;
	}
	note_header(e, answer);
	*out = answer;
	return 0;
}

static int post(struct etcd *e, const char *path, const char *body, json_t **out)
{
	char url[URL_MAX], reason[HTTP_ERROR_LEN];
	_free_ char *text = NULL;
	const struct http_request request = {
		.url = url,
		.body = body,
		.authorization = e->token[0] ? e->token : NULL,
		.most = ETCD_ANSWER_MAX,
	};
	int status;

	snprintf(url, sizeof(url), "%s%s", etcd_endpoint(e), path);
	status = http_post(e->http, &request, ETCD_REQUEST_MS, &text, reason);
	if (status < 0)
		return fail(e, status, "%s: %s", etcd_endpoint(e), reason);
	return interpret(e, status, text, out);
}

/* It goes into a header as it is. */
static bool is_token(const char *text)
{
	size_t len = strlen(text), i = 0;

	while (i < len && text[i] > 0x20 && text[i] < 0x7f)
		i++;
	return len && i == len;
}

static int authenticate(struct etcd *e)
{
	_free_ char *body = NULL;
	json_t *answer, *request;
	const char *token;
	int err;

	request = json_pack("{s:s, s:s}", "name", e->config.user, "password",
			    e->config.password ? e->config.password : "");
	body = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!body)
		return fail(e, -ENOMEM, "out of memory, or user or password are not UTF-8");
	err = post(e, "/v3/auth/authenticate", body, &answer);
	explicit_bzero(body, strlen(body));
	if (err)
		return err;
	token = json_string_value(json_object_get(answer, "token"));
	if (!token || !is_token(token))
		err = fail(e, -EPROTO, "%s: no token in the answer", etcd_endpoint(e));
	else if (strlen(token) >= TOKEN_MAX)
		err = fail(e, -EPROTO, "%s: the token has more than %d bytes", etcd_endpoint(e),
			   TOKEN_MAX - 1);
	else
		strcpy(e->token, token);
	json_decref(answer);
	return err;
}

/* A token does not last: one more try with a new one. */
static int post_authorized(struct etcd *e, const char *path, const char *body, json_t **out)
{
	bool fresh = !e->token[0];
	int err = 0;

	if (e->config.user && fresh)
		err = authenticate(e);
	if (err == 0)
		err = post(e, path, body, out);
	if (err == -EACCES && e->config.user && !fresh) {
		e->token[0] = '\0';
		return post_authorized(e, path, body, out);
	}
	return err;
}

/* Takes request. */
static int call(struct etcd *e, const char *path, json_t *request, json_t **out)
{
	_free_ char *body = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int err;

	json_decref(request);
	if (!body)
		return fail(e, -ENOMEM, "out of memory");
	err = post_authorized(e, path, body, out);
	if (err && err != -ECANCELED && err != -EFBIG)
		next_endpoint(e);
	return err;
}

/* Keys */

/* A zero byte ends no name: what only begins like a key is not that key. */
static void show_zeros(char *key, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!key[i])
			key[i] = '?';
}

static int take_kv(struct etcd *e, const json_t *object, bool removed, etcd_kv_fn fn, void *arg)
{
	const char *key64 = json_string_value(json_object_get(object, "key"));
	const char *value64 = json_string_value(json_object_get(object, "value"));
	_free_ char *key = NULL, *value = NULL;
	size_t key_len = 0;
	struct etcd_kv kv = {
		.create_revision = number(object, "create_revision"),
		.mod_revision = number(object, "mod_revision"),
		.lease = number(object, "lease"),
	};

	key = key64 ? base64_decode(key64, &key_len) : NULL;
	if (!removed)
		value = base64_decode(value64 ? value64 : "", &kv.value_len);
	if (!key || (!removed && !value))
		return fail(e, -EPROTO, "%s: a key or value is not base64", etcd_endpoint(e));
	show_zeros(key, key_len);
	kv.key = key;
	kv.value = value;
	return fn(&kv, arg);
}

static int take_kvs(struct etcd *e, const json_t *kvs, etcd_kv_fn fn, void *arg)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < json_array_size(kvs); i++)
		err = take_kv(e, json_array_get(kvs, i), false, fn, arg);
	return err;
}

int etcd_get(struct etcd *e, const char *key, etcd_kv_fn fn, void *arg)
{
	json_t *answer;
	int err = call(e, "/v3/kv/range", json_pack("{s:o}", "key", text_json(key)), &answer);

	if (err)
		return err;
	err = take_kvs(e, json_object_get(answer, "kvs"), fn, arg);
	json_decref(answer);
	return err;
}

/* Base64 of the key that follows the last one of kvs. */
static json_t *key_behind(const json_t *kvs)
{
	const json_t *last = json_array_get(kvs, json_array_size(kvs) - 1);
	const char *key64 = json_string_value(json_object_get(last, "key"));
	_free_ char *key = NULL;
	size_t len;

	key = key64 ? base64_decode(key64, &len) : NULL;
	return key ? bytes_json(key, len + 1) : NULL;
}

/* What is left of a listing. */
struct listing {
	json_t *from; /* NULL: nothing */
	int64_t revision; /* 0: the latest */
	int page;
};

static int list_page(struct etcd *e, const char *prefix, struct listing *rest, etcd_kv_fn fn,
		     void *arg)
{
	json_t *answer, *kvs,
		*request = json_pack("{s:O, s:o, s:i, s:o}", "key", rest->from, "range_end",
				     prefix_end_json(prefix), "limit", rest->page, "revision",
				     number_json(rest->revision));
	int err = call(e, "/v3/kv/range", request, &answer);

	if (err == -EFBIG && rest->page > 1) {
		rest->page = 1 + rest->page / 8;
		return 0;
	}
	if (err)
		return err;
	kvs = json_object_get(answer, "kvs");
	err = take_kvs(e, kvs, fn, arg);
	rest->revision = rest->revision ? rest->revision : e->revision;
	json_decref(rest->from);
	rest->from = json_is_true(json_object_get(answer, "more")) ? key_behind(kvs) : NULL;
	json_decref(answer);
	return err;
}

int etcd_list(struct etcd *e, const char *prefix, int64_t *revision, etcd_kv_fn fn, void *arg)
{
	struct listing rest = {.from = text_json(prefix), .page = PAGE};
	int err = rest.from ? 0 : fail(e, -ENOMEM, "out of memory");

	while (err == 0 && rest.from)
		err = list_page(e, prefix, &rest, fn, arg);
	json_decref(rest.from);
	if (err == 0)
		*revision = rest.revision;
	return err;
}

/* Leases */

static int lease_call(struct etcd *e, const char *path, json_t *request, const char *key,
		      int64_t *out)
{
	json_t *answer;
	int err = call(e, path, request, &answer);
	const json_t *result;

	if (err)
		return err;
	result = json_object_get(answer, "result");
	if (result)
		note_header(e, result);
	*out = number(result ? result : answer, key);
	json_decref(answer);
	return 0;
}

int etcd_grant(struct etcd *e, int64_t ttl_s, int64_t *lease)
{
	int err = lease_call(e, "/v3/lease/grant", json_pack("{s:o}", "TTL", number_json(ttl_s)),
			     "ID", lease);

	return err == 0 && !*lease ? fail(e, -EPROTO, "%s: no lease granted", etcd_endpoint(e))
				   : err;
}

int etcd_keep_alive(struct etcd *e, int64_t lease, int64_t *ttl_s)
{
	return lease_call(e, "/v3/lease/keepalive", json_pack("{s:o}", "ID", number_json(lease)),
			  "TTL", ttl_s);
}

int etcd_time_to_live(struct etcd *e, int64_t lease, int64_t *ttl_s)
{
	int err = lease_call(e, "/v3/lease/timetolive",
			     json_pack("{s:o}", "ID", number_json(lease)), "TTL", ttl_s);

	if (err == 0 && *ttl_s < 0)
		*ttl_s = 0;
	return err;
}

int etcd_revoke(struct etcd *e, int64_t lease)
{
	int64_t ignored;

	return lease_call(e, "/v3/lease/revoke", json_pack("{s:o}", "ID", number_json(lease)), "ID",
			  &ignored);
}

static json_t *unchanged_json(const char *key, int64_t mod_revision)
{
	return json_pack("{s:s, s:s, s:o, s:o}", "target", "MOD", "result", "EQUAL", "key",
			 text_json(key), "mod_revision", number_json(mod_revision));
}

static json_t *put_json(const char *key, const char *value, int64_t lease)
{
	return json_pack("{s:{s:o, s:o, s:o}}", "request_put", "key", text_json(key), "value",
			 text_json(value), "lease", number_json(lease));
}

static json_t *delete_json(const char *key)
{
	return json_pack("{s:{s:o}}", "request_delete_range", "key", text_json(key));
}

/* Takes both arrays: operations are done if all comparisons hold. 1 or 0. */
static int transact(struct etcd *e, json_t *comparisons, json_t *operations)
{
	json_t *answer;
	int err = call(e, "/v3/kv/txn",
		       json_pack("{s:o, s:o}", "compare", comparisons, "success", operations),
		       &answer);

	if (err)
		return err;
	err = json_is_true(json_object_get(answer, "succeeded"));
	json_decref(answer);
	return err;
}

int etcd_put(struct etcd *e, const char *key, const char *value, int64_t lease,
	     int64_t mod_revision)
{
	return transact(e, json_pack("[o]", unchanged_json(key, mod_revision)),
			json_pack("[o]", put_json(key, value, lease)));
}

int etcd_delete(struct etcd *e, const char *key, int64_t mod_revision)
{
	return transact(e, json_pack("[o]", unchanged_json(key, mod_revision)),
			json_pack("[o]", delete_json(key)));
}

/* In this order: for readers who go by the subnet alone the key that stays comes last. */
int etcd_move(struct etcd *e, const struct etcd_move *move)
{
	return transact(e,
			json_pack("[o, o]", unchanged_json(move->from, move->from_revision),
				  unchanged_json(move->to, move->to_revision)),
			json_pack("[o, o]", delete_json(move->from),
				  put_json(move->to, move->value, move->lease)));
}

static int call_only(struct etcd *e, const char *path, json_t *request)
{
	json_t *answer;
	int err = call(e, path, request, &answer);

	if (err == 0)
		json_decref(answer);
	return err;
}

int etcd_put_any(struct etcd *e, const char *key, const char *value, int64_t lease)
{
	return call_only(e, "/v3/kv/put",
			 json_pack("{s:o, s:o, s:o}", "key", text_json(key), "value",
				   text_json(value), "lease", number_json(lease)));
}

int etcd_delete_any(struct etcd *e, const char *key)
{
	return call_only(e, "/v3/kv/deleterange", json_pack("{s:o}", "key", text_json(key)));
}

/* Watch */

static int take_events(struct etcd *e, const json_t *events)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < json_array_size(events); i++) {
		const json_t *event = json_array_get(events, i);
		const char *type = json_string_value(json_object_get(event, "type"));

		err = take_kv(e, json_object_get(event, "kv"), type && !strcmp(type, "DELETE"),
			      e->watch.fn, e->watch.arg);
	}
	return err;
}

static int take_result(struct etcd *e, const json_t *result)
{
	const char *reason = json_string_value(json_object_get(result, "cancel_reason"));

	if (number(result, "compact_revision"))
		return fail(e, -ESTALE, "%s: the changes since have been compacted",
			    etcd_endpoint(e));
	if (json_is_true(json_object_get(result, "canceled")))
		return fail(e, -EIO, "%s: watch refused: %.200s", etcd_endpoint(e),
			    reason ? reason : "no reason given");
	note_header(e, result);
	/* It would wait in silence for a revision that is years away. */
	if (e->revision + 1 < e->watch.revision)
		return fail(e, -ESTALE, "%s: the registry went back", etcd_endpoint(e));
	e->watch.created = true;
	return take_events(e, json_object_get(result, "events"));
}

static int on_line(char *line, size_t len, void *arg)
{
	struct etcd *e = arg;
	json_t *answer = json_loadb(line, len, 0, NULL);
	const json_t *result = json_object_get(answer, "result");
	const char *message = message_of(answer);

	if (result)
		e->watch.err = take_result(e, result);
	else
		e->watch.err = fail(e, -EPROTO, "%s: watch: %.200s", etcd_endpoint(e),
				    message ? message : line);
	json_decref(answer);
	return e->watch.err;
}

int etcd_watch(struct etcd *e, const char *prefix, int64_t revision, etcd_kv_fn fn, void *arg)
{
	char url[URL_MAX];
	_free_ char *body = NULL;
	struct http_request http = {.url = url, .most = ETCD_ANSWER_MAX};
	json_t *request = json_pack("{s:{s:o, s:o, s:o}}", "create_request", "key",
				    text_json(prefix), "range_end", prefix_end_json(prefix),
				    "start_revision", number_json(revision));

	body = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!body)
		return fail(e, -ENOMEM, "out of memory");
	snprintf(url, sizeof(url), "%s/v3/watch", etcd_endpoint(e));
	http.body = body;
	http.authorization = e->token[0] ? e->token : NULL;
	e->watch =
		(struct watch){.revision = revision, .fn = fn, .arg = arg, .started = clock_ms()};
	return http_stream_start(e->http, &http, on_line, e);
}

int etcd_watch_wait(struct etcd *e, unsigned int timeout_ms)
{
	char reason[HTTP_ERROR_LEN];
	int err;

	if (!e->watch.created && timeout_ms > ETCD_REQUEST_MS)
		timeout_ms = ETCD_REQUEST_MS;
	err = http_stream_wait(e->http, timeout_ms, reason);
	if (err && err != e->watch.err)
		fail(e, err, "%s: %s", etcd_endpoint(e), reason);
	if (err == 0 && !e->watch.created && clock_ms() - e->watch.started >= ETCD_REQUEST_MS)
		err = fail(e, -ETIMEDOUT, "%s: no answer to the watch", etcd_endpoint(e));
	if (err == 0)
		return 0;
	http_stream_stop(e->http);
	if (err != -ECANCELED && err != -ESTALE)
		next_endpoint(e);
	return err == -EPIPE ? -EIO : err;
}

/* Opening */

static int cut_endpoints(struct etcd *e)
{
	char *rest = e->list, *one;

	while ((one = strsep(&rest, ","))) {
		size_t len = strlen(one);

		while (len && one[len - 1] == '/')
			one[--len] = '\0';
		if (len && e->n < ETCD_ENDPOINTS_MAX)
			e->endpoints[e->n++] = one;
	}
	return e->n ? 0 : -EINVAL;
}

int etcd_open(const struct etcd_config *config, struct etcd **out)
{
	const struct http_config http = {
		.ca_file = config->ca_file,
		.cert_file = config->cert_file,
		.key_file = config->key_file,
		.wake_fd = config->wake_fd,
	};
	struct etcd *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->config = *config;
	e->list = strdup(config->endpoints);
	err = e->list ? cut_endpoints(e) : -ENOMEM;
	if (err == 0)
		err = http_open(&http, &e->http);
	if (err) {
		etcd_close(e);
		return err;
	}
	*out = e;
	return 0;
}

void etcd_close(struct etcd *e)
{
	if (!e)
		return;
	http_close(e->http);
	explicit_bzero(e->token, sizeof(e->token));
	free(e->list);
	free(e);
}
