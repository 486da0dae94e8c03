/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whatever the bytes are: what is shown is UTF-8, without control characters, and valid in JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "text.h"
#include "util.h"

static const struct {
	const char *text, *clean;
} rows[] = {
	{"", ""},
	{"eth0: 7 \"q\" \\ ~", "eth0: 7 \"q\" \\ ~"},
	{"h\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80.", "h\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80."},
	/* The first and the last of each length */
	{"\xc2\xa0\xdf\xbf", "\xc2\xa0\xdf\xbf"},
	{"\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf"},
	{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
	/* Controls: of ASCII, and of Unicode */
	{"a\nb\x1b[2J\x7f\x01", "a?b?[2J??"},
	{"\xc2\x80\xc2\x9b\xc2\x9f", "??????"},
	/* Not UTF-8: lone bytes, overlong forms, a surrogate, too large, cut off */
	{"\xff\xfe\x80\xbf.", "????."},
	{"\xc0\x80\xc1\xbf\xe0\x9f\xbf\xf0\x8f\xbf\xbf", "???????????"},
	{"\xed\xa0\x80\xf4\x90\x80\x80\xf5", "????????"},
	{"\xc3", "?"},
	{"\xe2\x82", "??"},
	{"\xf0\x9f\x98", "???"},
	{"\xe2\x82z", "??z"},
};

static void test_rows(void **state)
{
	char text[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		strcpy(text, rows[i].text);
		assert_ptr_equal(text_clean(text), text);
		assert_string_equal(text, rows[i].clean);
	}
}

/* All that three bytes can be. */
static void test_always_valid(void **state)
{
	char text[4] = "";

	(void)state;
	for (uint32_t bytes = 1; bytes < 1 << 24; bytes += 37) {
		json_t *json;

		memcpy(text, &bytes, 3);
		json = json_string(text_clean(text));
		assert_non_null(json);
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_always_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
