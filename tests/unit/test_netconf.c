/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The configuration document: flannel's golden values, and each way to be wrong with its place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "netconf.h"
#include "util.h"

#define NET "\"Network\":\"10.3.0.0/16\""
#define LEASE(subnet, ip) "{\"Subnet\":\"" subnet "\",\"PublicIP\":\"" ip "\"}"
#define LEASES(list) "{" NET ",\"Leases\":[" list "]}"
#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static int parse(const char *text, struct netconf *out, char *error)
{
	size_t len = strlen(text);
	/* An exact copy without a terminator: the sanitizer sees one byte too many. */
	_free_ char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	strcpy(error, "untouched");
	return netconf_parse(copy, len, out, error);
}

static struct netconf parse_good(const char *text)
{
	char error[NETCONF_ERROR_LEN];
	struct netconf conf;
	int err = parse(text, &conf, error);

	if (err)
		fail_msg("%s: %s", text, error);
	return conf;
}

/* flannel.md 1.4. */
static void test_golden_values(void **state)
{
	static const struct {
		const char *text;
		uint32_t network, min, max;
		uint8_t network_len, subnet_len;
	} rows[] = {
		{"{" NET "}", IP4(10, 3, 0, 0), IP4(10, 3, 1, 0), IP4(10, 3, 255, 0), 16, 24},
		{"{\"Network\":\"10.3.7.9/16\"}", IP4(10, 3, 0, 0), IP4(10, 3, 1, 0),
		 IP4(10, 3, 255, 0), 16, 24},
		{"{" NET ",\"SubnetLen\":28,\"SubnetMin\":\"10.3.5.0\",\"SubnetMax\":\"10.3.8.0\"}",
		 IP4(10, 3, 0, 0), IP4(10, 3, 5, 0), IP4(10, 3, 8, 0), 16, 28},
		{"{" NET ",\"SubnetLen\":0,\"SubnetMin\":\"0.0.0.0\",\"SubnetMax\":null}",
		 IP4(10, 3, 0, 0), IP4(10, 3, 1, 0), IP4(10, 3, 255, 0), 16, 24},
		{"{" NET ",\"SubnetMin\":\"10.3.9.0\",\"SubnetMax\":\"10.3.2.0\"}",
		 IP4(10, 3, 0, 0), IP4(10, 3, 9, 0), IP4(10, 3, 2, 0), 16, 24},
		{"{" NET ",\"SubnetMin\":\"10.3.0.0\"}", IP4(10, 3, 0, 0), IP4(10, 3, 0, 0),
		 IP4(10, 3, 255, 0), 16, 24},
		{"{\"Network\":\"10.0.0.0/8\"}", IP4(10, 0, 0, 0), IP4(10, 0, 1, 0),
		 IP4(10, 255, 255, 0), 8, 24},
		{"{\"Network\":\"10.0.0.0/22\"}", IP4(10, 0, 0, 0), IP4(10, 0, 1, 0),
		 IP4(10, 0, 3, 0), 22, 24},
		{"{\"Network\":\"10.0.0.0/23\"}", IP4(10, 0, 0, 0), IP4(10, 0, 0, 128),
		 IP4(10, 0, 1, 128), 23, 25},
		{"{\"Network\":\"10.0.0.0/28\"}", IP4(10, 0, 0, 0), IP4(10, 0, 0, 4),
		 IP4(10, 0, 0, 12), 28, 30},
		{"{" NET ",\"SubnetLen\":18}", IP4(10, 3, 0, 0), IP4(10, 3, 64, 0),
		 IP4(10, 3, 192, 0), 16, 18},
		{"{" NET ",\"SubnetLen\":30}", IP4(10, 3, 0, 0), IP4(10, 3, 0, 4),
		 IP4(10, 3, 255, 252), 16, 30},
		{"{\"Network\":\"255.255.0.0/16\"}", IP4(255, 255, 0, 0), IP4(255, 255, 1, 0),
		 IP4(255, 255, 255, 0), 16, 24},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct netconf conf = parse_good(rows[i].text);

		print_message("%s\n", rows[i].text);
		assert_int_equal(conf.network.addr, rows[i].network);
		assert_int_equal(conf.network.len, rows[i].network_len);
		assert_int_equal(conf.subnet_len, rows[i].subnet_len);
		assert_int_equal(conf.subnet_min, rows[i].min);
		assert_int_equal(conf.subnet_max, rows[i].max);
		assert_int_equal(conf.port, 8285);
		assert_int_equal(conf.n_leases, 0);
		netconf_free(&conf);
	}
}

static void test_leases_are_sorted(void **state)
{
	struct netconf conf = parse_good("{" NET ",\"SubnetLen\":24,"
					 "\"Backend\":{\"Type\":\"UDP\",\"Port\":65535},"
					 "\"Leases\":[" LEASE("10.3.128.0/17", "192.0.2.3") "," //
					 LEASE("10.3.1.64/26", "192.0.2.2") "," //
					 LEASE("10.3.0.4/30", "223.255.255.255") "]}");

	(void)state;
	assert_int_equal(conf.port, 65535);
	assert_int_equal(conf.n_leases, 3);
	assert_int_equal(conf.leases[0].subnet.addr, IP4(10, 3, 0, 4));
	assert_int_equal(conf.leases[0].subnet.len, 30);
	assert_int_equal(conf.leases[0].public_ip, IP4(223, 255, 255, 255));
	assert_int_equal(conf.leases[1].subnet.addr, IP4(10, 3, 1, 64));
	assert_int_equal(conf.leases[1].subnet.len, 26);
	assert_int_equal(conf.leases[2].subnet.addr, IP4(10, 3, 128, 0));
	assert_int_equal(conf.leases[2].subnet.len, 17);
	assert_ptr_equal(netconf_lease_of(&conf, IP4(192, 0, 2, 2)), &conf.leases[1]);
	assert_null(netconf_lease_of(&conf, IP4(192, 0, 2, 4)));
	netconf_free(&conf);
	assert_null(conf.leases);
	assert_int_equal(conf.n_leases, 0);
}

/* One lease may be the whole network. */
static void test_lease_of_whole_network(void **state)
{
	struct netconf conf = parse_good(LEASES(LEASE("10.3.0.0/16", "192.0.2.1")));

	(void)state;
	assert_int_equal(conf.n_leases, 1);
	assert_int_equal(conf.leases[0].subnet.len, 16);
	netconf_free(&conf);
}

/* As Go's decoder: keys in any case, the last one wins, null is absent, the unknown is ignored. */
static void test_keys_as_in_go(void **state)
{
	static const char *const same[] = {
		"{\"network\":\"10.3.0.0/16\"}",
		"{\"Network\":\"10.9.0.0/16\",\"NETWORK\":\"10.3.0.0/16\"}",
		"{\"Network\":7,\"Network\":\"10.3.0.0/16\"}",
		"{" NET ",\"network\":null}",
		"{" NET ",\"Backend\":null,\"Leases\":null,\"EnableIPv6\":null}",
		"{" NET ",\"enableipv4\":true,\"EnableIPv6\":false,\"EnableNFTables\":true}",
		"{" NET ",\"IPv6Network\":\"fc00::/48\",\"x\":[{}],\"Leases\":[]}",
		"{" NET ",\"BACKEND\":{\"type\":\"Udp\",\"PORT\":8285,\"VNI\":1}}",
		" \r\n\t{" NET "}\n ",
	};
	struct netconf conf, expected = parse_good("{" NET "}");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		print_message("%s\n", same[i]);
		conf = parse_good(same[i]);
		assert_true(netconf_equal(&conf, &expected));
		netconf_free(&conf);
	}
	netconf_free(&expected);
}

struct refusal {
	const char *text;
	const char *error; /* the whole message */
};

static void check_refusals(const struct refusal *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct netconf conf, before;
		char error[NETCONF_ERROR_LEN];

		print_message("%s\n", rows[i].text);
		memset(&conf, 0x5a, sizeof(conf));
		before = conf;
		assert_int_equal(parse(rows[i].text, &conf, error), -EINVAL);
		assert_string_equal(error, rows[i].error);
		assert_memory_equal(&conf, &before, sizeof(conf));
	}
}

static void test_refused_network(void **state)
{
	static const struct refusal rows[] = {
		{"[]", "$: must be an object"},
		{"{}", "$.Network: missing"},
		{"{\"Network\":null}", "$.Network: missing"},
		{"{\"Network\":10}", "$.Network: must be a string, not an integer"},
		{"{\"Network\":\"\"}", "$.Network: \"\" is not an IPv4 prefix (a.b.c.d/len)"},
		{"{\"Network\":\"10.3.0.0\"}",
		 "$.Network: \"10.3.0.0\" is not an IPv4 prefix (a.b.c.d/len)"},
		{"{\"Network\":\"10.3.0.0/33\"}",
		 "$.Network: \"10.3.0.0/33\" is not an IPv4 prefix (a.b.c.d/len)"},
		{"{\"Network\":\"10.3.0.256/16\"}",
		 "$.Network: \"10.3.0.256/16\" is not an IPv4 prefix (a.b.c.d/len)"},
		{"{\"Network\":\"fc00::/48\"}",
		 "$.Network: \"fc00::/48\" is not IPv4, and weft is IPv4 only"},
		{"{\"Network\":\"\\u001b[2J\\n\\u00e4\"}",
		 "$.Network: \"?[2J???\" is not an IPv4 prefix (a.b.c.d/len)"},
		{"{\"Network\":\"10.3.0.0/29\"}", "$.Network: /29 is too small: at most /28"},
		{"{\"Network\":\"0.0.0.0/0\"}",
		 "$.Network: \"0.0.0.0/0\" contains addresses no pod can have"},
		{"{\"Network\":\"127.1.0.0/16\"}",
		 "$.Network: \"127.1.0.0/16\" contains addresses no pod can have"},
		{"{\"Network\":\"230.0.0.0/16\"}",
		 "$.Network: \"230.0.0.0/16\" contains addresses no pod can have"},
		{"{" NET ",\"EnableIPv4\":false}",
		 "$.EnableIPv4: false is not possible: weft is IPv4 only"},
		{"{" NET ",\"enableIPv6\":true}",
		 "$.EnableIPv6: true is not available yet: weft is IPv4 only"},
		{"{" NET ",\"EnableIPv6\":\"no\"}",
		 "$.EnableIPv6: must be a boolean, not a string"},
	};

	(void)state;
	check_refusals(rows, ARRAY_SIZE(rows));
}

static void test_refused_subnet_rules(void **state)
{
	static const struct refusal rows[] = {
		{"{" NET ",\"SubnetLen\":31}", "$.SubnetLen: 31 is not in 0..30"},
		{"{" NET ",\"SubnetLen\":-24}", "$.SubnetLen: -24 is not in 0..30"},
		{"{" NET ",\"SubnetLen\":9223372036854775807}",
		 "$.SubnetLen: 9223372036854775807 is not in 0..30"},
		{"{" NET ",\"SubnetLen\":17}",
		 "$.SubnetLen: 17 leaves no room for four subnets in a /16 network"},
		{"{" NET ",\"SubnetLen\":24.0}",
		 "$.SubnetLen: must be an integer, not a number with a fraction or exponent"},
		{"{" NET ",\"SubnetLen\":\"24\"}", "$.SubnetLen: must be an integer, not a string"},
		{"{" NET ",\"SubnetLen\":true}", "$.SubnetLen: must be an integer, not a boolean"},
		{"{" NET ",\"SubnetMin\":\"10.4.0.0\"}",
		 "$.SubnetMin: \"10.4.0.0\" is outside Network"},
		{"{" NET ",\"SubnetMin\":\"10.3.1.128\"}",
		 "$.SubnetMin: \"10.3.1.128\" is not the start of a /24 subnet"},
		{"{" NET ",\"SubnetMax\":\"10.2.255.0\"}",
		 "$.SubnetMax: \"10.2.255.0\" is outside Network"},
		{"{" NET ",\"SubnetMax\":\"10.3.1.0/24\"}",
		 "$.SubnetMax: \"10.3.1.0/24\" is not an IPv4 address"},
		{"{" NET ",\"SubnetMax\":[]}", "$.SubnetMax: must be a string, not an array"},
		{"{" NET ",\"Backend\":\"udp\"}", "$.Backend: must be an object"},
		{"{" NET ",\"Backend\":{}}", "$.Backend.Type: missing"},
		{"{" NET ",\"Backend\":{\"Type\":\"wireguard\"}}",
		 "$.Backend.Type: \"wireguard\" is not available: udp, vxlan and ipip are"},
		{"{" NET ",\"Backend\":{\"Type\":\"vxlan\",\"VNI\":16777216}}",
		 "$.Backend.VNI: 16777216 is not in 0..16777215"},
		{"{" NET ",\"Backend\":{\"Type\":\"vxlan\",\"Port\":65536}}",
		 "$.Backend.Port: 65536 is not in 0..65535"},
		{"{" NET ",\"Backend\":{\"Type\":\"vxlan\",\"Port\":8285}}",
		 "$.Backend.Port: 8285 is that of format udp"},
		{"{" NET ",\"Backend\":{\"Type\":\"udp\",\"Port\":8472}}",
		 "$.Backend.Port: 8472 is that of format vxlan"},
		{"{" NET ",\"Backend\":{\"Type\":{}}}",
		 "$.Backend.Type: must be a string, not an object"},
		{"{" NET ",\"Backend\":{\"Type\":\"udp\",\"Port\":0}}",
		 "$.Backend.Port: 0 is not in 1..65535"},
		{"{" NET ",\"Backend\":{\"Type\":\"udp\",\"Port\":65536}}",
		 "$.Backend.Port: 65536 is not in 1..65535"},
		{"{" NET ",\"Backend\":{\"Type\":\"udp\",\"Port\":-1}}",
		 "$.Backend.Port: -1 is not in 1..65535"},
		{"{" NET ",\"Backend\":{\"Type\":\"udp\",\"Port\":8285.5}}",
		 "$.Backend.Port: must be an integer, not a number with a fraction or exponent"},
	};

	(void)state;
	check_refusals(rows, ARRAY_SIZE(rows));
}

static void test_refused_leases(void **state)
{
	static const struct refusal rows[] = {
		{"{" NET ",\"Leases\":{}}", "$.Leases: must be an array"},
		{LEASES("7"), "$.Leases[0]: must be an object"},
		{LEASES("{}"), "$.Leases[0].Subnet: missing"},
		{LEASES("{\"Subnet\":\"10.3.1.0/24\"}"), "$.Leases[0].PublicIP: missing"},
		{LEASES("{\"Subnet\":1}"), "$.Leases[0].Subnet: must be a string, not an integer"},
		{LEASES("{\"Subnet\":\"10.3.1.0/24\",\"PublicIP\":[]}"),
		 "$.Leases[0].PublicIP: must be a string, not an array"},
		{LEASES(LEASE("10.3.1.1/24", "192.0.2.1")),
		 "$.Leases[0].Subnet: \"10.3.1.1/24\" has host bits set: write 10.3.1.0/24"},
		{LEASES(LEASE("10.3.1.0/31", "192.0.2.1")),
		 "$.Leases[0].Subnet: \"10.3.1.0/31\" is too small: at most /30"},
		{LEASES(LEASE("10.2.0.0/15", "192.0.2.1")),
		 "$.Leases[0].Subnet: \"10.2.0.0/15\" is outside Network 10.3.0.0/16"},
		{"{\"Network\":\"10.2.0.0/16\",\"Leases\":[" LEASE("10.2.0.0/15", "192.0.2.1") "]}",
		 "$.Leases[0].Subnet: \"10.2.0.0/15\" is outside Network 10.2.0.0/16"},
		{LEASES(LEASE("10.4.1.0/24", "192.0.2.1")),
		 "$.Leases[0].Subnet: \"10.4.1.0/24\" is outside Network 10.3.0.0/16"},
		{LEASES(LEASE("10.3.1.0-24", "192.0.2.1")),
		 "$.Leases[0].Subnet: \"10.3.1.0-24\" is not an IPv4 prefix (a.b.c.d/len)"},
		{LEASES(LEASE("10.3.1.0/24", "192.0.2")),
		 "$.Leases[0].PublicIP: \"192.0.2\" is not an IPv4 address"},
		{LEASES(LEASE("10.3.1.0/24", "0.1.2.3")),
		 "$.Leases[0].PublicIP: \"0.1.2.3\" is not an address a node can have"},
		{LEASES(LEASE("10.3.1.0/24", "127.0.0.1")),
		 "$.Leases[0].PublicIP: \"127.0.0.1\" is not an address a node can have"},
		{LEASES(LEASE("10.3.1.0/24", "224.0.0.1")),
		 "$.Leases[0].PublicIP: \"224.0.0.1\" is not an address a node can have"},
		{LEASES(LEASE("10.3.1.0/24", "240.0.0.1")),
		 "$.Leases[0].PublicIP: \"240.0.0.1\" is not an address a node can have"},
		{LEASES(LEASE("10.3.1.0/24", "255.255.255.255")),
		 "$.Leases[0].PublicIP: \"255.255.255.255\" is not an address a node can have"},
		{LEASES(LEASE("10.3.1.0/24", "10.3.200.1")),
		 "$.Leases[0].PublicIP: \"10.3.200.1\" is inside Network 10.3.0.0/16"},
		{LEASES(LEASE("10.3.1.0/24", "192.0.2.1") "," LEASE("10.3.1.0/24", "192.0.2.2")),
		 "$.Leases[1].Subnet: 10.3.1.0/24 overlaps 10.3.1.0/24 of $.Leases[0].Subnet"},
		{LEASES(LEASE("10.3.1.128/25", "192.0.2.1") "," //
			LEASE("10.3.9.0/24", "192.0.2.2") "," LEASE("10.3.0.0/20", "192.0.2.3")),
		 "$.Leases[2].Subnet: 10.3.0.0/20 overlaps 10.3.1.128/25 of $.Leases[0].Subnet"},
		{LEASES(LEASE("10.3.9.0/24", "192.0.2.1") "," LEASE("10.3.5.0/24",
								    "192.0.2.2") "," //
			LEASE("10.3.1.0/24", "192.0.2.1")),
		 "$.Leases[2].PublicIP: 192.0.2.1 is already the owner of $.Leases[0]"},
		{LEASES(LEASE("10.3.9.0/24", "192.0.2.1") ",null"),
		 "$.Leases[1]: must be an object"},
	};

	(void)state;
	check_refusals(rows, ARRAY_SIZE(rows));
}

/* jansson words these; what is ours is the place, one line, printable. */
static void test_refused_syntax(void **state)
{
	static const struct refusal rows[] = {
		{"", "line 1, column 1: the document is empty"},
		{" \n\t", "line 1, column 1: the document is empty"},
		{"\xef\xbb\xbf{}",
		 "line 1, column 1: starts with a byte order mark; JSON has none"},
		{"{", "line 1, column 1: "},
		{"{\n\"Network\": NaN}", "line 2, column 14: "},
		{"{\"Network\": 1e999}", "line 1, column 17: "},
		{"{\"a\": 99999999999999999999}", "line 1, column 26: too big integer"},
		{"{\"a\": 01}", "line 1, column 7: "},
		{"{\"a\": 'b'}", "line 1, column 7: "},
		{"{\"a\": 1,}", "line 1, column 9: "},
		{"{\"a\": 1} x", "line 1, column 10: end of file expected"},
		{"{\"a\": \"\\u0000\"}", "line 1, column 14: \\u0000 is not allowed"},
		{"{\"a\": \"\\ud800\"}", "line 1, column 14: "},
		{"{\"a\": \"\xff\"}", "line 1, column 7: unable to decode byte 0xff"},
		{"{\"a\": \"x\ny\"}", "line 1, column 8: unexpected newline"},
		{"5", "line 1, column 1: "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char error[NETCONF_ERROR_LEN];
		struct netconf conf;

		assert_int_equal(parse(rows[i].text, &conf, error), -EINVAL);
		print_message("%s\n", error);
		assert_memory_equal(error, rows[i].error, strlen(rows[i].error));
		for (const char *c = error; *c; c++)
			assert_in_range(*c, 0x20, 0x7e);
	}
}

static void test_embedded_nul(void **state)
{
	static const char inside[] = "{\"Network\":\"10.3.0.0/16\0\"}";
	static const char behind[] = "{\"Network\":\"10.3.0.0/16\"}\0";
	char error[NETCONF_ERROR_LEN];
	struct netconf conf;

	(void)state;
	assert_int_equal(netconf_parse(inside, sizeof(inside) - 1, &conf, error), -EINVAL);
	assert_memory_equal(error, "line 1, column ", 15);
	assert_int_equal(netconf_parse(behind, sizeof(behind) - 1, &conf, error), -EINVAL);
	assert_memory_equal(error, "line 1, column ", 15);
	assert_int_equal(netconf_parse("\0", 1, &conf, error), -EINVAL);
	assert_memory_equal(error, "line 1, column ", 15);
}

static void test_deep_and_large(void **state)
{
	size_t size = NETCONF_MAX_SIZE + 1;
	_free_ char *text = malloc(size);
	char error[NETCONF_ERROR_LEN];
	struct netconf conf;

	(void)state;
	assert_non_null(text);
	memset(text, '[', size);
	assert_int_equal(netconf_parse(text, 100000, &conf, error), -EINVAL);
	assert_non_null(strstr(error, "maximum parsing depth reached"));
	assert_int_equal(netconf_parse(text, size, &conf, error), -EINVAL);
	assert_string_equal(error, "larger than 16 MiB");
}

/* 10.0.0.0/8 cut into n /24, in an order that is neither up nor down. */
static char *many_leases(size_t n)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	fprintf(out, "{\"Network\":\"10.0.0.0/8\",\"Leases\":[");
	for (size_t i = 0; i < n; i++) {
		size_t k = i * 40503 % 65536;

		fprintf(out, "%s{\"Subnet\":\"10.%zu.%zu.0/24\",\"PublicIP\":\"172.%zu.%zu.%zu\"}",
			i ? "," : "", k >> 8, k & 255, 16 + (i >> 16), i >> 8 & 255, i & 255);
	}
	fprintf(out, "]}");
	assert_int_equal(fclose(out), 0);
	return text;
}

static void test_most_leases(void **state)
{
	_free_ char *text = many_leases(65536);
	clock_t start = clock();
	struct netconf conf = parse_good(text);

	(void)state;
	/* A quadratic check would take minutes. */
	assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
	assert_int_equal(conf.n_leases, 65536);
	for (size_t i = 0; i < conf.n_leases; i++)
		assert_int_equal(conf.leases[i].subnet.addr, IP4(10, i >> 8, i & 255, 0));
	netconf_free(&conf);
}

static void test_one_lease_too_many(void **state)
{
	_free_ char *text = many_leases(65537);
	char error[NETCONF_ERROR_LEN];
	struct netconf conf;

	(void)state;
	assert_int_equal(parse(text, &conf, error), -EINVAL);
	assert_string_equal(error, "$.Leases: 65537 leases, at most 65536");
}

static void test_equal_sees_each_field(void **state)
{
	static const char *const other[] = {
		"{\"Network\":\"10.2.0.0/16\",\"Leases\":[]}",
		LEASES(LEASE("10.3.1.0/24", "192.0.2.1")),
		LEASES(LEASE("10.3.1.0/24", "192.0.2.9") "," LEASE("10.3.2.0/24", "192.0.2.2")),
		LEASES(LEASE("10.3.1.0/25", "192.0.2.1") "," LEASE("10.3.2.0/24", "192.0.2.2")),
		"{" NET ",\"Backend\":{\"Type\":\"udp\",\"Port\":1},\"Leases\":[" LEASE(
			"10.3.1.0/24", "192.0.2.1") "," LEASE("10.3.2.0/24", "192.0.2.2") "]}",
		"{" NET ",\"SubnetMin\":\"10.3.2.0\",\"Leases\":[" LEASE(
			"10.3.1.0/24", "192.0.2.1") "," LEASE("10.3.2.0/24", "192.0.2.2") "]}",
		"{" NET ",\"SubnetMax\":\"10.3.2.0\",\"Leases\":[" LEASE(
			"10.3.1.0/24", "192.0.2.1") "," LEASE("10.3.2.0/24", "192.0.2.2") "]}",
	};
	struct netconf conf = parse_good(LEASES(LEASE("10.3.1.0/24", "192.0.2.1") "," //
						LEASE("10.3.2.0/24", "192.0.2.2")));
	struct netconf again = parse_good(LEASES(LEASE("10.3.2.0/24", "192.0.2.2") "," //
						 LEASE("10.3.1.0/24", "192.0.2.1")));

	(void)state;
	assert_true(netconf_equal(&conf, &again));
	netconf_free(&again);
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		again = parse_good(other[i]);
		print_message("%s\n", other[i]);
		assert_false(netconf_equal(&conf, &again));
		assert_false(netconf_equal(&again, &conf));
		netconf_free(&again);
	}
	netconf_free(&conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_values),
		cmocka_unit_test(test_leases_are_sorted),
		cmocka_unit_test(test_lease_of_whole_network),
		cmocka_unit_test(test_keys_as_in_go),
		cmocka_unit_test(test_refused_network),
		cmocka_unit_test(test_refused_subnet_rules),
		cmocka_unit_test(test_refused_leases),
		cmocka_unit_test(test_refused_syntax),
		cmocka_unit_test(test_embedded_nul),
		cmocka_unit_test(test_deep_and_large),
		cmocka_unit_test(test_most_leases),
		cmocka_unit_test(test_one_lease_too_many),
		cmocka_unit_test(test_equal_sees_each_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
