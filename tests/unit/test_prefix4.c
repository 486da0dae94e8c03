/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Text of addresses and prefixes: one spelling, and no other. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "netconf.h"
#include "prefix4.h"
#include "util.h"

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static void test_refuses(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"10.0.0.0",
		"10.0.0.0/",
		"/8",
		"10.0.0.0/08",
		"10.0.0.0/+8",
		"10.0.0.0/8 ",
		" 10.0.0.0/8",
		"10.0.0/8",
		"010.0.0.0/8",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/8/8",
		"10.0.0.0.0/8",
		"0x0a.0.0.0/8",
		"10.0.0.0/100",
		"::/0",
	};
	struct prefix4 p = {.addr = 7, .len = 7};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		print_message("'%s'\n", bad[i]);
		assert_int_equal(prefix4_parse(bad[i], &p), -EINVAL);
		assert_int_equal(p.addr, 7);
	}
}

static void test_formats_what_it_parsed(void **state)
{
	char text[PREFIX4_STRLEN];
	struct prefix4 p;

	(void)state;
	assert_int_equal(prefix4_parse("255.255.255.255/32", &p), 0);
	assert_string_equal(prefix4_format(p, text), "255.255.255.255/32");
	assert_int_equal(prefix4_parse("1.2.3.4/0", &p), 0);
	assert_string_equal(prefix4_format(p, text), "0.0.0.0/0");
	assert_int_equal(prefix4_parse("10.244.7.9/22", &p), 0);
	assert_string_equal(prefix4_format(p, text), "10.244.4.0/22");
	assert_string_equal(ip4_format(IP4(192, 0, 2, 254), text), "192.0.2.254");
}

static void test_keeps_host_bits_for_those_who_ask(void **state)
{
	uint32_t addr = 0;
	uint8_t len = 0;

	(void)state;
	assert_int_equal(prefix4_split("10.244.7.9/22", &addr, &len), 0);
	assert_int_equal(addr, IP4(10, 244, 7, 9));
	assert_int_equal(len, 22);
	assert_int_equal(prefix4_split("10.244.7.9/x", &addr, &len), -EINVAL);
	assert_int_equal(prefix4_parse_addr("10.244.7.9 ", &addr), -EINVAL);
	assert_int_equal(addr, IP4(10, 244, 7, 9));
	assert_int_equal(prefix4_parse_addr("192.0.2.1", &addr), 0);
	assert_int_equal(addr, IP4(192, 0, 2, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_formats_what_it_parsed),
		cmocka_unit_test(test_keeps_host_bits_for_those_who_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
