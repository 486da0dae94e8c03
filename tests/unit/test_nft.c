/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tells one state of a table from another, in a network namespace of the test's own. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nft.h"
#include "util.h"

#define MANY 500 /* elements */

static struct nft_ctx *nft;

static int own_namespace(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) || system("ip link set lo up"))
		return -1;
	nft = nft_open();
	return nft ? 0 : -1;
}

static int leave(void **state)
{
	(void)state;
	nft_ctx_free(nft);
	return 0;
}

/* Counts pings; some elements are devices' numbers, of which 1 is lo. */
static int make_table(void **state)
{
	(void)state;
	assert_int_equal(nft_run(nft, "add table ip t\ndelete table ip t\n"
				      "table ip t {\n"
				      "	counter pings { }\n"
				      "	set ports { typeof iif; elements = { 1, 4711 } }\n"
				      "	set ends { typeof iif . ip saddr; }\n"
				      "	chain in {\n"
				      "		type filter hook input priority 0;\n"
				      "		counter name pings comment \"of all\"\n"
				      "	}\n"
				      "}\n"),
			 0);
	return 0;
}

static char *list(void)
{
	char *text = nft_list_table(nft, "ip", "t");

	assert_non_null(text);
	return text;
}

static bool is_listed_as(const char *before)
{
	_free_ char *now = list();

	return strcmp(now, before) == 0;
}

static json_int_t pings(void)
{
	json_t *answer = nft_list_json(nft, "list counters table ip t");
	json_int_t n = -1;

	json_unpack(answer, "{s:[{},{s:{s:I}}]}", "nftables", "counter", "packets", &n);
	json_decref(answer);
	return n;
}

static void counting_is_no_change(void **state)
{
	_free_ char *before = list();

	(void)state;
	assert_int_equal(pings(), 0);
	assert_int_equal(system("ping -q -c 1 127.0.0.1 > /dev/null"), 0);
	assert_true(is_listed_as(before));
	assert_int_equal(pings(), 2);
}

static void name_of_a_device_is_no_change(void **state)
{
	_free_ char *before = list();

	(void)state;
	assert_non_null(strstr(before, "{ 1, 4711 }"));
	assert_non_null(strstr(before, "comment \"of all\""));
	assert_int_equal(system("ip link set lo down && ip link set lo name low"), 0);
	assert_true(is_listed_as(before));
	assert_int_equal(system("ip link set low name lo && ip link set lo up"), 0);
	assert_true(is_listed_as(before));
}

/* However the kernel's table of them has grown */
static void order_of_elements_is_no_change(void **state)
{
	_free_ char *before = NULL;

	(void)state;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(nft_run(nft, "add element ip t ends { 1 . 10.244.%d.%d }", i / 250,
					 i % 250),
				 0);
	before = list();
	assert_int_equal(nft_run(nft, "flush set ip t ends"), 0);
	assert_false(is_listed_as(before));
	for (int i = MANY; i--;)
		assert_int_equal(nft_run(nft, "add element ip t ends { 1 . 10.244.%d.%d }", i / 250,
					 i % 250),
				 0);
	assert_true(is_listed_as(before));
}

static void all_else_is_a_change(void **state)
{
	static const char *const changes[] = {
		"delete element ip t ports { 4711 }",
		"add element ip t ends { 1 . 10.244.1.2 }",
		"flush chain ip t in",
		"add rule ip t in drop",
		"add chain ip t in { policy drop; }",
		"add table ip t { flags dormant; }",
		"add chain ip t other",
	};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		_free_ char *before = NULL;

		make_table(state);
		before = list();
		assert_int_equal(nft_run(nft, "%s", changes[i]), 0);
		assert_false(is_listed_as(before));
	}
	assert_int_equal(nft_run(nft, "delete table ip t"), 0);
	assert_null(nft_list_table(nft, "ip", "t"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(counting_is_no_change, make_table),
		cmocka_unit_test_setup(name_of_a_device_is_no_change, make_table),
		cmocka_unit_test_setup(order_of_elements_is_no_change, make_table),
		cmocka_unit_test(all_else_is_a_change),
	};

	return cmocka_run_group_tests_name("nft", tests, own_namespace, leave);
}
