/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading an untrusted JSON document: typed members by case-insensitive key, and errors that start
 * with the JSON path of the offender. A member that is null counts as absent, as in Go.
 */
#ifndef WEFT_USER_JSON_PATH_H
#define WEFT_USER_JSON_PATH_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#define JSON_ERROR_LEN 512
#define JSON_QUOTE_LEN 64

/* An object and where it stands: "$", "$.Backend", or "$.Leases" with an index. */
struct json_place {
	const json_t *object;
	const char *path;
	ssize_t index; /* -1: not an element of an array */
	char *error; /* JSON_ERROR_LEN bytes, the reader's */
};

/* Writes "PATH.key: text" (or "PATH: text" for a NULL key) into error and returns -EINVAL. */
int json_refuse(const struct json_place *at, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The last member whose key matches in any case; NULL when absent or null. Borrowed. */
json_t *json_member(const struct json_place *at, const char *key);

/* 1 when found, 0 when absent (out untouched), -EINVAL on another type or value. Borrowed. */
int json_member_string(const struct json_place *at, const char *key, const char **out);
int json_member_bool(const struct json_place *at, const char *key, bool *out);
int json_member_int(const struct json_place *at, const char *key, json_int_t min, json_int_t max,
		    json_int_t *out);

/* text in double quotes, cut to fit, anything but printable ASCII replaced. Returns buf. */
const char *json_quote(const char *text, char buf[JSON_QUOTE_LEN]);

#endif
