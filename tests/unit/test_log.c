/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Messages: one line each, valid JSON whatever they quote. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "log.h"
#include "util.h"

struct capture {
	FILE *file;
	int saved;
	char text[8192];
};

static void capture_start(struct capture *c)
{
	c->file = tmpfile();
	assert_non_null(c->file);
	c->saved = dup(STDERR_FILENO);
	assert_true(c->saved >= 0);
	assert_int_equal(dup2(fileno(c->file), STDERR_FILENO), STDERR_FILENO);
}

static const char *capture_end(struct capture *c)
{
	dup2(c->saved, STDERR_FILENO);
	close(c->saved);
	rewind(c->file);
	c->text[fread(c->text, 1, sizeof(c->text) - 1, c->file)] = '\0';
	fclose(c->file);
	return c->text;
}

static void test_levels(void **state)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	enum log_level level;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(log_level_parse(names[i], &level), 0);
		assert_int_equal(level, i);
	}
	level = LOG_LEVEL_WARN;
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	assert_int_equal(log_level_parse("INFO", &level), -EINVAL);
	assert_int_equal(log_level_parse("warning", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_WARN);
}

static void test_plain_lines(void **state)
{
	struct capture c;

	(void)state;
	log_setup(LOG_LEVEL_WARN, false);
	capture_start(&c);
	log_info("not shown");
	log_warn("%s has %d", "eth0", 7);
	assert_int_equal(log_err(-ENOENT, "/run/%s", "x"), -ENOENT);
	log_warn("a\nweft: error: forged\x1b[2J");
	assert_string_equal(capture_end(&c), "weft: warn: eth0 has 7\n"
					     "weft: error: /run/x: No such file or directory\n"
					     "weft: warn: a?weft: error: forged?[2J\n");
}

static void expect_json(const char *line, const char *level, const char *message)
{
	json_t *object = json_loads(line, 0, NULL);
	const char *time, *got_level, *got_message;

	assert_non_null(object);
	assert_int_equal(json_unpack(object, "{s:s, s:s, s:s !}", "time", &time, "level",
				     &got_level, "message", &got_message),
			 0);
	assert_string_equal(got_level, level);
	assert_string_equal(got_message, message);
	assert_int_equal(strlen(time), strlen("2024-01-02T03:04:05.678Z"));
	assert_int_equal(time[10], 'T');
	assert_int_equal(time[23], 'Z');
	json_decref(object);
}

static void test_json_lines(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{"plain", "plain"},
		{"\"q\" \\ \b\n\r\t\x01\x7f", "\"q\" \\ \b\n\r\t\x01\x7f"},
		{"h\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "h\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
		/* Not UTF-8: a lone byte, an overlong form, a surrogate, a cut-off character. */
		{"\xff.", "\xef\xbf\xbd."},
		{"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
	};
	struct capture c;

	(void)state;
	log_setup(LOG_LEVEL_DEBUG, true);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *line;

		capture_start(&c);
		log_debug("%s", rows[i].text);
		line = capture_end(&c);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		expect_json(line, "debug", rows[i].message);
	}
}

/* Longer than any message: cut, but still one valid line. */
static void test_long_message(void **state)
{
	char text[5000];
	struct capture c;

	(void)state;
	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_setup(LOG_LEVEL_INFO, true);
	capture_start(&c);
	log_info("%s", text);
	text[1023] = '\0';
	expect_json(capture_end(&c), "info", text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_plain_lines),
		cmocka_unit_test(test_json_lines),
		cmocka_unit_test(test_long_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
