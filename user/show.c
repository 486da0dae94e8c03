/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent answers is rendered by its shape, not by its meaning: new keys need no code. */
#include "show.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "state_dir.h"
#include "text.h"
#include "util.h"

/* A copy for the terminal. Heap; NULL when out of memory. */
static char *printable_copy(const char *text)
{
	char *copy = strdup(text);

	return copy ? text_clean(copy) : NULL;
}

/* One value as a word for people. Heap; NULL when out of memory. */
static char *cell_text(const json_t *value)
{
	char *text;

	if (!value || json_is_null(value) || (json_is_string(value) && !json_string_length(value)))
		text = strdup("-");
	else if (json_is_string(value))
		text = strdup(json_string_value(value));
	else if (json_is_boolean(value))
		text = strdup(json_is_true(value) ? "yes" : "no");
	else
		text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	return text ? text_clean(text) : NULL;
}

static int column_width(const json_t *rows, const char *key)
{
	size_t width = strlen(key);
	const json_t *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		_free_ char *text = cell_text(json_object_get(row, key));

		if (text && strlen(text) > width)
			width = strlen(text);
	}
	return (int)width;
}

/* Names left, numbers right; nothing is padded at the end of a line. */
static void print_cell(const char *text, int width, bool right, bool last)
{
	printf("%*s%s", right ? width : last ? 0 : -width, text, last ? "\n" : "  ");
}

struct column {
	const char *key;
	int width;
	bool right;
};

static void print_rows(const json_t *rows, const struct column *columns, size_t n)
{
	const json_t *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		for (size_t c = 0; c < n; c++) {
			_free_ char *text = cell_text(json_object_get(row, columns[c].key));

			print_cell(text ? text : "?", columns[c].width, columns[c].right,
				   c + 1 == n);
		}
	}
}

/* An array of flat objects; the first one's keys, in their order, are the columns. */
static int print_table(const json_t *rows)
{
	json_t *first = json_array_get(rows, 0);
	size_t n = json_object_size(first), c = 0;
	_free_ struct column *columns = calloc(n + 1, sizeof(*columns));
	const char *key;
	json_t *value;

	if (!columns)
		return -ENOMEM;
	json_object_foreach (first, key, value) {
		_free_ char *header = printable_copy(key);

		if (!header)
			return -ENOMEM;
		columns[c] = (struct column){key, column_width(rows, key), json_is_number(value)};
		print_cell(header, columns[c].width, columns[c].right, c + 1 == n);
		c++;
	}
	print_rows(rows, columns, n);
	return 0;
}

static bool is_table(const json_t *value)
{
	return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

/* "key: value" lines, then a table for each array of objects. */
static int print_object(json_t *object)
{
	const char *key;
	json_t *value;
	int err = 0;

	json_object_foreach (object, key, value) {
		_free_ char *text = is_table(value) ? NULL : cell_text(value);
		_free_ char *name = printable_copy(key);

		if (text && name)
			printf("%s: %s\n", name, text);
	}
	json_object_foreach (object, key, value) {
		_free_ char *name = is_table(value) ? printable_copy(key) : NULL;

		if (!name)
			continue;
		printf("\n%s:\n", name);
		err = print_table(value);
		if (err)
			return err;
	}
	return 0;
}

static int print_list(const json_t *rows, const char *verb)
{
	if (!json_array_size(rows)) {
		printf("no %s\n", verb);
		return 0;
	}
	return print_table(rows);
}

static int print_answer(json_t *answer, const char *verb)
{
	if (is_table(answer) || (json_is_array(answer) && !json_array_size(answer)))
		return print_list(answer, verb);
	if (json_is_object(answer))
		return print_object(answer);
	return -EPROTO;
}

/* People want to see what happened, not the product of all hooks and reasons. */
static int print_stats(json_t *answer, const char *verb)
{
	const json_t *counters = json_object_get(answer, "counters");
	json_t *rows = json_array();
	json_t *counter;
	size_t i;
	int err;

	if (!json_is_array(counters)) {
		json_decref(rows);
		return -EPROTO;
	}
	json_array_foreach (counters, i, counter) {
		if (json_integer_value(json_object_get(counter, "packets")))
			json_array_append(rows, counter);
	}
	err = print_list(rows, verb);
	json_decref(rows);
	return err;
}

static int print_json(json_t *answer)
{
	int err = json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);

	putchar('\n');
	return err ? -EIO : 0;
}

/* The text of an answer that is nothing but {"error": "..."}, or NULL. */
static const char *answer_error(const json_t *answer)
{
	if (json_object_size(answer) != 1)
		return NULL;
	return json_string_value(json_object_get(answer, "error"));
}

void show_refusal(const char *refusal)
{
	_free_ char *text = printable_copy(refusal);

	fprintf(stderr, "weft: the agent refused: %s\n", text ? text : "?");
}

enum weft_exit show_failure(const struct options *options, int err)
{
	bool none = err == -ENOENT || err == -ECONNREFUSED;
	pid_t pid = none ? state_dir_holder(options->state_dir) : 0;

	if (pid) {
		fprintf(stderr, "weft: " STATE_DIR_STARTING "\n", pid);
		return EXIT_RUNTIME;
	}
	if (none) {
		fprintf(stderr, "weft: no agent in %s (%s)\n", options->state_dir, strerror(-err));
		return EXIT_RUNTIME;
	}
	fprintf(stderr, "weft: cannot ask the agent in %s: %s\n", options->state_dir,
		strerror(-err));
	return err == -EACCES || err == -EPERM ? EXIT_PRIVILEGE : EXIT_RUNTIME;
}

static enum weft_exit show(const struct options *options, const char *verb,
			   int (*print)(json_t *answer, const char *verb))
{
	json_t *answer;
	const char *refusal;
	int err;

	err = ctl_query(options->state_dir, verb, &answer);
	if (err)
		return show_failure(options, err);
	refusal = answer_error(answer);
	if (refusal)
		show_refusal(refusal);
	else
		err = options->json ? print_json(answer) : print(answer, verb);
	json_decref(answer);
	if (err)
		return show_failure(options, err);
	if (!refusal && (fflush(stdout) || ferror(stdout))) {
		perror("weft: standard output");
		return EXIT_RUNTIME;
	}
	return refusal ? EXIT_RUNTIME : EXIT_STOPPED;
}

int show_rows(const struct options *options, json_t *rows, const char *verb)
{
	return options->json ? print_json(rows) : print_list(rows, verb);
}

enum weft_exit show_status(const struct options *options)
{
	return show(options, "status", print_answer);
}

enum weft_exit show_peers(const struct options *options)
{
	return show(options, "peers", print_answer);
}

enum weft_exit show_routes(const struct options *options)
{
	return show(options, "routes", print_answer);
}

enum weft_exit show_endpoints(const struct options *options)
{
	return show(options, "endpoints", print_answer);
}

enum weft_exit show_stats(const struct options *options)
{
	return show(options, "stats", print_stats);
}
