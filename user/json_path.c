/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "json_path.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int json_refuse(const struct json_place *at, const char *key, const char *fmt, ...)
{
	char index[24] = "", text[JSON_ERROR_LEN / 2];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (at->index >= 0)
		snprintf(index, sizeof(index), "[%zd]", at->index);
	snprintf(at->error, JSON_ERROR_LEN, "%s%s%s%s: %s", at->path, index, key ? "." : "",
		 key ? key : "", text);
	return -EINVAL;
}

json_t *json_member(const struct json_place *at, const char *key)
{
	/* jansson's iterators want a mutable object, although they change nothing. */
	json_t *object = (json_t *)at->object, *value, *found = NULL;
	const char *name;

	json_object_foreach (object, name, value) {
		if (!json_is_null(value) && strcasecmp(name, key) == 0)
			found = value;
	}
	return found;
}

static const char *type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction or exponent";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		break;
	}
	return "null";
}

int json_member_string(const struct json_place *at, const char *key, const char **out)
{
	const json_t *value = json_member(at, key);

	if (!value)
		return 0;
	if (!json_is_string(value))
		return json_refuse(at, key, "must be a string, not %s", type_name(value));
	*out = json_string_value(value);
	return 1;
}

int json_member_bool(const struct json_place *at, const char *key, bool *out)
{
	const json_t *value = json_member(at, key);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return json_refuse(at, key, "must be a boolean, not %s", type_name(value));
	*out = json_is_true(value);
	return 1;
}

int json_member_int(const struct json_place *at, const char *key, json_int_t min, json_int_t max,
		    json_int_t *out)
{
	const json_t *value = json_member(at, key);
	json_int_t number;

	if (!value)
		return 0;
	if (!json_is_integer(value))
		return json_refuse(at, key, "must be an integer, not %s", type_name(value));
	number = json_integer_value(value);
	if (number < min || number > max)
		return json_refuse(at, key,
				   "%" JSON_INTEGER_FORMAT " is not in %" JSON_INTEGER_FORMAT
				   "..%" JSON_INTEGER_FORMAT,
				   number, min, max);
	*out = number;
	return 1;
}

const char *json_quote(const char *text, char buf[JSON_QUOTE_LEN])
{
	const char *ellipsis = strlen(text) > JSON_QUOTE_LEN - 3 ? "..." : "";
	size_t room = JSON_QUOTE_LEN - 3 - strlen(ellipsis), n = strnlen(text, room);

	buf[0] = '"';
	for (size_t i = 0; i < n; i++)
		buf[i + 1] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
	snprintf(buf + 1 + n, JSON_QUOTE_LEN - 1 - n, "%s\"", ellipsis);
	return buf;
}
