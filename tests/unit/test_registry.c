/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flannel's keys and values, and what a table of them does with the good and the bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry.h"
#include "registry_cache.h"
#include "util.h"

#define A 0xc0000201 /* 192.0.2.1 */
#define B 0xc0000202
#define SUBNET(n) ((struct prefix4){0x0af40000 + ((uint32_t)(n) << 8), 24})
#define VALUE_A "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null}"
#define VALUE_B "{\"PublicIP\":\"192.0.2.2\",\"PublicIPv6\":null}"
#define NO_SUBNET ((struct prefix4){0})

struct fixture {
	struct registry *r;
	struct netconf conf;
	char error[NETCONF_ERROR_LEN];
};

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	const char *text = "{\"Network\":\"10.244.0.0/16\"}";

	assert_int_equal(netconf_parse_network(text, strlen(text), &fx->conf, fx->error), 0);
	assert_int_equal(registry_new(&fx->r), 0);
	registry_set_config(fx->r, &fx->conf);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	registry_free(fx->r);
	free(fx);
	return 0;
}

/* create: also the lease, as each new key has a new one. */
static int put(struct fixture *fx, const char *key, const char *value, int64_t create, int64_t mod,
	       int64_t lease)
{
	const struct etcd_kv kv = {.key = key,
				   .value = value,
				   .value_len = strlen(value),
				   .create_revision = create,
				   .mod_revision = mod,
				   .lease = lease};

	fx->error[0] = '\0';
	return registry_put(fx->r, &kv, fx->error);
}

static size_t count(const struct fixture *fx)
{
	const struct registry_entry *entry = NULL;
	size_t n = 0;

	while ((entry = registry_next(fx->r, entry)))
		n++;
	return n;
}

static void test_texts(void **state)
{
	char key[REGISTRY_KEY_LEN], value[REGISTRY_VALUE_LEN];
	struct lease lease = {.public_ip = A};

	(void)state;
	assert_string_equal(registry_key(SUBNET(17), key), "10.244.17.0-24");
	assert_string_equal(registry_key((struct prefix4){0xfffffffc, 30}, key),
			    "255.255.255.252-30");
	assert_string_equal(registry_value(&lease, value), VALUE_A);
	lease.public_ip = 0xfefefefe;
	assert_string_equal(registry_value(&lease, value),
			    "{\"PublicIP\":\"254.254.254.254\",\"PublicIPv6\":null}");
	lease = (struct lease){.public_ip = A, .format = WEFT_FORMAT_IPIP, .backend = "ipip"};
	assert_string_equal(
		registry_value(&lease, value),
		"{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null,\"BackendType\":\"ipip\"}");
	lease = (struct lease){.public_ip = A,
			       .format = WEFT_FORMAT_VXLAN,
			       .backend = "vxlan",
			       .vtep = {0xffffff, {0x4a, 0, 0, 0, 0xab, 7}}};
	assert_string_equal(registry_value(&lease, value),
			    "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null,"
			    "\"BackendType\":\"vxlan\",\"BackendData\":"
			    "{\"VNI\":16777215,\"VtepMAC\":\"4a:00:00:00:ab:07\"}}");
}

static void test_good_keys(void **state)
{
	static const char *const keys[] = {"/coreos.com/network/subnets/10.244.1.0-24",
					   "10.244.1.0-24", "10.244.1.0-24&fd00:9:17::-64",
					   "x//y/10.244.1.0-24&::-127"};
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		assert_int_equal(put(fx, keys[i], VALUE_A, 1, 1, 1), i == 0);
		assert_int_equal(count(fx), 1);
		assert_non_null(registry_find(fx->r, SUBNET(1)));
	}
	assert_int_equal(put(fx, "10.244.2.0-30", VALUE_A, 1, 1, 1), 1);
	assert_int_equal(put(fx, "10.244.128.0-17", VALUE_A, 1, 1, 1), 1);
}

/* Among them those of flannel's own tests. */
static void test_bad_keys(void **state)
{
	static const char *const keys[] = {
		"",
		"/",
		"-",
		"&",
		"10.244.1.0",
		"10.244.1.0-",
		"10.244.1.0-24hi",
		"10.244.1.0-024",
		"10.244.1.0--24",
		"10.244.1.0-33",
		"10.244.1.300-24",
		"10.244.1-24",
		"010.244.1.0-24",
		" 10.244.1.0-24",
		"10.244.1.0/24",
		"10.244.1.0-24/",
		"10.244.1.0-24&",
		"10.244.1.0-24&fd00::",
		"10.244.1.0-24&fd00::-128",
		"10.244.1.0-24&fd00::-64x",
		"10.244.1.0-24&fd00::-+5",
		"10.244.1.0-24&fd00::- 5",
		"10.244.1.0-24&fd00::-",
		"10.244.1.0-24&fd00::10.0.0.0-64",
		"10.244.1.0-24&10.244.1.0-24",
		"10.244.1.0-24?",
		"fd00:9:17::-64",
		"fd00:9:17::-64&10.244.1.0-24",
		"10.244.1.7-24",
		"10.244.1.0-31",
		"10.244.1.0-32",
		"10.245.1.0-24",
		"10.244.0.0-16",
		"10.0.0.0-8",
		"10.244.111.111111111111111111111111111111-24",
	};
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (put(fx, keys[i], VALUE_A, 1, 1, 1) != -EINVAL || !fx->error[0])
			fail_msg("accepted: %s", keys[i]);
		registry_remove(fx->r, keys[i], 1);
	}
	assert_int_equal(count(fx), 0);
}

#define VXLAN(data) \
	"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"vxlan\",\"BackendData\":" data "}"

static void test_values(void **state)
{
	static const struct {
		const char *value, *backend; /* NULL: refused with the error */
		const char *error;
	} cases[] = {
		{VALUE_A, "", NULL},
		{"{\"PublicIPv6\":null,\"x\":[1],\"PUBLICIP\":\"192.0.2.1\"}", "", NULL},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"\"}", "", NULL},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":null}", "", NULL},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"UDP\"}", "", NULL},
		{"{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\","
		 "\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"4a:00:00:00:00:07\"}}",
		 "vxlan", NULL},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"IPIP\"}", "ipip", NULL},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"host-gw\","
		 "\"BackendData\":{\"VtepMAC\":7}}",
		 "host-gw", NULL},
		{"", NULL, "the value is not JSON"},
		{"{", NULL, "the value is not JSON"},
		{VALUE_A "x", NULL, "the value is not JSON"},
		{"{\"PublicIP\":\"\xff\"}", NULL, "the value is not JSON"},
		{"[]", NULL, "$: must be an object"},
		{"{}", NULL, "$.PublicIP: missing"},
		{"{\"PublicIP\":1}", NULL, "$.PublicIP: must be a string, not an integer"},
		{"{\"PublicIP\":\"\"}", NULL, "$.PublicIP: \"\" is not an IPv4 address"},
		{"{\"PublicIP\":\"::1\"}", NULL, "$.PublicIP: \"::1\" is not an IPv4 address"},
		{"{\"PublicIP\":\"0.0.0.0\"}", NULL,
		 "$.PublicIP: \"0.0.0.0\" is not an address a node can have"},
		{"{\"PublicIP\":\"224.0.0.1\"}", NULL,
		 "$.PublicIP: \"224.0.0.1\" is not an address a node can have"},
		{"{\"PublicIP\":\"10.244.9.9\"}", NULL,
		 "$.PublicIP: \"10.244.9.9\" is not an address a node can have"},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":7}", NULL,
		 "$.BackendType: must be a string, not an integer"},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"a-very-long-name\"}", NULL,
		 "$.BackendType: longer than any that is known"},
		{"{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"a\\\"b\"}", NULL,
		 "$.BackendType: \"a\"b\" is no name"},
		{VXLAN("[]"), NULL, "$.BackendData: must be an object"},
		{VXLAN("{\"VNI\":16777216}"), NULL,
		 "$.BackendData.VNI: 16777216 is not in 0..16777215"},
		{VXLAN("{\"VtepMAC\":\"4a:00:00:00:00\"}"), NULL,
		 "$.BackendData.VtepMAC: \"4a:00:00:00:00\" is not a unicast MAC address"},
		{VXLAN("{\"VtepMAC\":\"01:00:00:00:00:07\"}"), NULL,
		 "$.BackendData.VtepMAC: \"01:00:00:00:00:07\" is not a unicast MAC address"},
		{VXLAN("{\"VtepMAC\":\"00:00:00:00:00:00\"}"), NULL,
		 "$.BackendData.VtepMAC: \"00:00:00:00:00:00\" is not a unicast MAC address"},
		{VXLAN("{\"VtepMAC\":\"4a:00:00:00:00:07x\"}"), NULL,
		 "$.BackendData.VtepMAC: \"4a:00:00:00:00:07x\" is not a unicast MAC address"},
	};
	struct fixture *fx = *state;
	char key[32];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct registry_entry *entry;
		int err;

		snprintf(key, sizeof(key), "10.244.%zu.0-24", i);
		err = put(fx, key, cases[i].value, 1, 1, 1);
		entry = registry_find(fx->r, SUBNET(i));
		assert_int_equal(err, cases[i].backend ? 1 : -EINVAL);
		assert_int_equal(entry->lease.public_ip != 0, cases[i].backend != NULL);
		if (cases[i].backend) {
			assert_string_equal(entry->lease.backend, cases[i].backend);
			assert_int_equal(entry->lease.public_ip, A);
			assert_int_equal(netconf_is_routed(&fx->conf, &entry->lease),
					 strcmp(cases[i].backend, "host-gw") != 0);
		} else {
			assert_string_equal(fx->error, cases[i].error);
		}
	}
}

static void test_zero_in_value(void **state)
{
	struct fixture *fx = *state;
	const char value[] = VALUE_A "\0";
	const struct etcd_kv kv = {
		.key = "10.244.1.0-24", .value = value, .value_len = sizeof(value)};

	assert_int_equal(registry_put(fx->r, &kv, fx->error), -EINVAL);
}

static void test_bad_value_changes_nothing(void **state)
{
	struct fixture *fx = *state;
	const struct registry_entry *entry;

	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 5, 5, 7), 1);
	assert_int_equal(put(fx, "10.244.1.0-24", "{\"PublicIP\":3}", 5, 6, 8), -EINVAL);
	entry = registry_find(fx->r, SUBNET(1));
	assert_int_equal(entry->lease.public_ip, A);
	assert_int_equal(entry->etcd_lease, 7);
	assert_int_equal(entry->mod_revision, 6);
	assert_true(entry->contested);
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 5, 7, 9), 0);
	assert_false(registry_find(fx->r, SUBNET(1))->contested);
}

static void test_owner_changes(void **state)
{
	struct fixture *fx = *state;
	const struct registry_entry *entry;

	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 5, 5, 7), 1);
	/* Another lease, the same key: not believed, and not the second time either */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(put(fx, "10.244.1.0-24", VALUE_B, 5, 6 + i, 0), -EINVAL);
		assert_string_equal(fx->error, "192.0.2.2 claims what is 192.0.2.1's");
	}
	entry = registry_find(fx->r, SUBNET(1));
	assert_true(entry->contested);
	assert_int_equal(entry->lease.public_ip, A);
	assert_int_equal(entry->mod_revision, 7);
	/* Set right */
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 5, 8, 7), 0);
	assert_false(registry_find(fx->r, SUBNET(1))->contested);
	/* The lease goes along: a node that has moved */
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_B, 5, 9, 7), 1);
	assert_int_equal(registry_find(fx->r, SUBNET(1))->lease.public_ip, B);
	/* A new key: a new owner */
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 10, 10, 11), 1);
	/* Renewed by flannel's way, with another lease */
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 10, 12, 13), 0);
	assert_int_equal(registry_find(fx->r, SUBNET(1))->etcd_lease, 13);
}

static void test_listing(void **state)
{
	struct fixture *fx = *state;
	uint64_t next;

	put(fx, "10.244.1.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.2.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.3.0-24", VALUE_A, 1, 1, 1);
	assert_int_equal(registry_sweep(fx->r, 1000, &next), 0);
	assert_true(next == UINT64_MAX);
	registry_list_begin(fx->r);
	put(fx, "10.244.1.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.2.0-24", "garbage", 1, 2, 1);
	/* What is there but cannot be read is there */
	registry_list_end(fx->r, 500);
	assert_int_equal(registry_find(fx->r, SUBNET(3))->gone_ms, 500);
	assert_int_equal(registry_sweep(fx->r, 499, &next), 0);
	assert_int_equal(next, 500);
	assert_int_equal(registry_sweep(fx->r, 500, &next), 1);
	assert_true(next == UINT64_MAX);
	assert_int_equal(count(fx), 2);
}

#define PLAIN "10.244.1.0-24"
#define DUAL PLAIN "&fd00:9:17::-64"

static void expect_key(const struct fixture *fx, uint32_t owner, bool dual, int64_t mod)
{
	const struct registry_entry *entry = registry_find(fx->r, SUBNET(1));

	assert_int_equal(entry->lease.public_ip, owner);
	assert_int_equal(entry->dual, dual);
	assert_int_equal(entry->mod_revision, mod);
	assert_int_equal(entry->gone_ms, 0);
	assert_false(entry->contested);
}

/* One owner: whichever key was written later, and it stays when the other goes. */
static void test_two_keys(void **state)
{
	struct fixture *fx = *state;

	put(fx, PLAIN, VALUE_A, 1, 1, 1);
	put(fx, DUAL, VALUE_A, 2, 2, 2);
	expect_key(fx, A, true, 2);
	registry_remove(fx->r, PLAIN, 100);
	expect_key(fx, A, true, 2);
	assert_int_equal(put(fx, PLAIN, VALUE_A, 3, 3, 3), 0);
	expect_key(fx, A, false, 3);
	/* In a listing they come in this order. */
	registry_list_begin(fx->r);
	put(fx, PLAIN, VALUE_A, 3, 3, 3);
	put(fx, DUAL, VALUE_A, 2, 2, 2);
	registry_list_end(fx->r, 100);
	expect_key(fx, A, false, 3);
	registry_remove(fx->r, DUAL, 100);
	expect_key(fx, A, false, 3);
	/* The other way round, and one that goes while nobody looks */
	put(fx, DUAL, VALUE_A, 4, 4, 4);
	registry_list_begin(fx->r);
	put(fx, PLAIN, VALUE_A, 3, 3, 3);
	put(fx, DUAL, VALUE_A, 4, 4, 4);
	registry_list_end(fx->r, 100);
	expect_key(fx, A, true, 4);
	registry_list_begin(fx->r);
	put(fx, PLAIN, VALUE_A, 3, 3, 3);
	registry_list_end(fx->r, 100);
	expect_key(fx, A, false, 3);
	/* As an agent replaces it */
	put(fx, DUAL, VALUE_A, 5, 5, 5);
	registry_remove(fx->r, DUAL, 100);
	assert_int_equal(put(fx, PLAIN, VALUE_A, 6, 6, 5), 0);
	expect_key(fx, A, false, 6);
}

static void test_two_keys_of_two(void **state)
{
	struct fixture *fx = *state;

	put(fx, DUAL, VALUE_A, 2, 2, 2);
	put(fx, PLAIN, VALUE_B, 3, 3, 3);
	expect_key(fx, A, true, 2);
	put(fx, PLAIN, "nonsense", 3, 4, 3);
	expect_key(fx, A, true, 2);
	registry_list_begin(fx->r);
	put(fx, PLAIN, "nonsense", 3, 4, 3);
	put(fx, DUAL, VALUE_A, 2, 2, 2);
	registry_list_end(fx->r, 100);
	expect_key(fx, A, true, 2);
	registry_list_begin(fx->r);
	put(fx, PLAIN, VALUE_B, 3, 5, 3);
	put(fx, DUAL, VALUE_A, 2, 2, 2);
	registry_list_end(fx->r, 100);
	expect_key(fx, A, true, 2);
}

static void test_removal(void **state)
{
	struct fixture *fx = *state;
	uint64_t next;

	put(fx, "10.244.1.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.2.0-24", VALUE_A, 1, 1, 1);
	registry_remove(fx->r, "/a/10.244.1.0-24", 100);
	registry_remove(fx->r, "/a/10.244.2.0-24", 100);
	/* Back in time, and what is gone stays gone when a listing lacks it, too */
	assert_int_equal(put(fx, "10.244.2.0-24", VALUE_A, 3, 3, 3), 0);
	registry_list_begin(fx->r);
	put(fx, "10.244.2.0-24", VALUE_A, 3, 3, 3);
	registry_list_end(fx->r, 60000);
	assert_int_equal(registry_sweep(fx->r, 100, &next), 1);
	assert_null(registry_find(fx->r, SUBNET(1)));
	assert_non_null(registry_find(fx->r, SUBNET(2)));
}

static void test_other_network(void **state)
{
	struct fixture *fx = *state;
	const char *text = "{\"Network\":\"10.244.128.0/17\"}";
	struct netconf conf;

	put(fx, "10.244.1.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.200.0-24", VALUE_A, 1, 1, 1);
	assert_int_equal(netconf_parse_network(text, strlen(text), &conf, fx->error), 0);
	registry_set_config(fx->r, &conf);
	assert_int_equal(count(fx), 1);
	assert_non_null(registry_find(fx->r, SUBNET(200)));
}

/* The subnets of a snapshot as text. */
static const char *snapshot(struct fixture *fx, struct prefix4 own, size_t refused, char *out)
{
	char name[PREFIX4_STRLEN];
	struct netconf conf;
	size_t n = 99;

	out[0] = '\0';
	assert_int_equal(registry_snapshot(fx->r, &fx->conf, own, &conf, &n), 0);
	assert_int_equal(n, refused);
	assert_int_equal(conf.own.addr, own.addr);
	assert_int_equal(conf.network.addr, fx->conf.network.addr);
	for (size_t i = 0; i < conf.n_leases; i++)
		sprintf(out + strlen(out), "%s ", prefix4_format(conf.leases[i].subnet, name));
	netconf_free(&conf);
	return out;
}

static void test_overlaps(void **state)
{
	struct fixture *fx = *state;
	char text[512];

	assert_string_equal(snapshot(fx, NO_SUBNET, 0, text), "");
	put(fx, "10.244.2.0-24", VALUE_A, 20, 1, 1);
	put(fx, "10.244.2.0-23", VALUE_B, 30, 1, 1);
	put(fx, "10.244.5.0-24", VALUE_B, 10, 1, 1);
	assert_string_equal(snapshot(fx, NO_SUBNET, 1, text), "10.244.2.0/24 10.244.5.0/24 ");
	/* The oldest is the widest */
	put(fx, "10.244.0.0-21", VALUE_B, 5, 1, 1);
	assert_string_equal(snapshot(fx, NO_SUBNET, 3, text), "10.244.0.0/21 ");
	/* But nobody takes our own */
	assert_string_equal(snapshot(fx, SUBNET(5), 3, text), "10.244.5.0/24 ");
	put(fx, "10.244.5.0-25", VALUE_B, 1, 1, 1);
	assert_string_equal(snapshot(fx, SUBNET(5), 4, text), "10.244.5.0/24 ");
}

static void test_owners(void **state)
{
	struct fixture *fx = *state;
	const struct registry_entry *entry;

	put(fx, "10.244.9.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.1.0-24", VALUE_B, 1, 1, 1);
	put(fx, "10.244.4.0-24", VALUE_A, 1, 1, 1);
	entry = registry_of_owner(fx->r, A, NULL);
	assert_int_equal(entry->lease.subnet.addr, SUBNET(4).addr);
	entry = registry_of_owner(fx->r, A, entry);
	assert_int_equal(entry->lease.subnet.addr, SUBNET(9).addr);
	assert_null(registry_of_owner(fx->r, A, entry));
	assert_null(registry_of_owner(fx->r, 77, NULL));
}

static size_t unused(struct fixture *fx, const char *config, struct prefix4 *out, size_t max)
{
	struct netconf conf;

	assert_int_equal(netconf_parse_network(config, strlen(config), &conf, fx->error), 0);
	registry_set_config(fx->r, &conf);
	return registry_unused(fx->r, &conf, out, max);
}

static void test_unused(void **state)
{
	struct fixture *fx = *state;
	struct prefix4 out[300];

	assert_int_equal(unused(fx, "{\"Network\":\"10.244.0.0/16\"}", out, 300), 255);
	assert_int_equal(out[0].addr, SUBNET(1).addr);
	assert_int_equal(out[0].len, 24);
	assert_int_equal(out[254].addr, SUBNET(255).addr);
	put(fx, "10.244.1.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.4.0-22", VALUE_A, 1, 1, 1); /* four of them */
	put(fx, "10.244.8.128-25", VALUE_A, 1, 1, 1); /* half of one */
	assert_int_equal(unused(fx, "{\"Network\":\"10.244.0.0/16\"}", out, 3), 3);
	assert_int_equal(out[0].addr, SUBNET(2).addr);
	assert_int_equal(out[1].addr, SUBNET(3).addr);
	assert_int_equal(out[2].addr, SUBNET(9).addr);
	assert_int_equal(unused(fx,
				"{\"Network\":\"10.244.0.0/16\",\"SubnetMin\":\"10.244.9.0\","
				"\"SubnetMax\":\"10.244.8.0\"}",
				out, 3),
			 0);
	/* At the upper end of all addresses */
	assert_int_equal(unused(fx,
				"{\"Network\":\"223.255.255.0/24\",\"SubnetLen\":26,"
				"\"SubnetMin\":\"223.255.255.128\"}",
				out, 9),
			 2);
	assert_int_equal(out[1].addr, 0xdfffffc0);
}

/* A key with a bad value: nobody's lease, but no free subnet either */
static void test_no_owner(void **state)
{
	static const char config[] = "{\"Network\":\"10.244.0.0/16\"}";
	struct fixture *fx = *state;
	const struct registry_entry *entry;
	struct prefix4 out[300];
	char text[512];
	uint64_t next;

	assert_int_equal(put(fx, "10.244.1.0-24", "{\"PublicIP\":\"10.244.9.9\"}", 5, 5, 7),
			 -EINVAL);
	assert_int_equal(put(fx, "10.244.2.0-25", "", 6, 6, 0), -EINVAL);
	entry = registry_find(fx->r, SUBNET(1));
	assert_int_equal(entry->lease.public_ip, 0);
	assert_int_equal(entry->mod_revision, 5);
	assert_true(entry->contested);
	assert_int_equal(registry_unused(fx->r, &fx->conf, out, 300), 253);
	assert_int_equal(out[0].addr, SUBNET(3).addr);
	assert_string_equal(snapshot(fx, NO_SUBNET, 0, text), "");
	/* It is in the way of no lease, and becomes one as soon as it has an owner */
	put(fx, "10.244.2.0-24", VALUE_B, 7, 7, 7);
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 5, 8, 9), 1);
	assert_string_equal(snapshot(fx, NO_SUBNET, 0, text), "10.244.1.0/24 10.244.2.0/24 ");
	assert_int_equal(registry_find(fx->r, SUBNET(1))->etcd_lease, 9);
	registry_remove(fx->r, "10.244.2.0-25", 100);
	registry_remove(fx->r, "10.244.2.0-24", 100);
	registry_sweep(fx->r, 100, &next);
	assert_int_equal(unused(fx, config, out, 300), 254);
}

/* Order and search, against the simplest of models */
static void test_many(void **state)
{
	struct fixture *fx = *state;
	const struct registry_entry *entry = NULL;
	bool model[256] = {};
	unsigned int seed = 1;
	char key[32];
	uint64_t next;
	size_t n = 0;

	for (int i = 0; i < 20000; i++) {
		unsigned int at = (unsigned int)rand_r(&seed) % 256;

		snprintf(key, sizeof(key), "10.244.%u.0-24", at);
		if (rand_r(&seed) % 3 == 0) {
			registry_remove(fx->r, key, 1);
			registry_sweep(fx->r, 1, &next);
			model[at] = false;
		} else {
			assert_int_equal(put(fx, key, VALUE_A, 1, 1, 1), !model[at]);
			model[at] = true;
		}
		assert_int_equal(registry_find(fx->r, SUBNET(at)) != NULL, model[at]);
	}
	for (unsigned int at = 0; at < 256; at++) {
		if (!model[at])
			continue;
		entry = registry_next(fx->r, entry);
		assert_int_equal(entry->lease.subnet.addr, SUBNET(at).addr);
		n++;
	}
	assert_int_equal(count(fx), n);
}

static void test_cache(void **state)
{
	char path[] = "/tmp/registry-XXXXXX", text[256];
	struct fixture *fx = *state;
	struct registry *again;
	struct netconf conf = {};
	int fd = mkstemp(path);

	put(fx, "10.244.1.0-24", VALUE_A, 1, 1, 1);
	put(fx, "10.244.2.0-24", "{\"PublicIP\":\"192.0.2.2\",\"BackendType\":\"vxlan\"}", 2, 2, 2);
	put(fx, "10.244.3.0-24", "no lease", 3, 3, 3);
	assert_int_equal(registry_cache_write(path, &fx->conf, fx->r), 0);
	assert_int_equal(registry_new(&again), 0);
	assert_int_equal(registry_cache_read(path, &conf, again), 0);
	assert_true(netconf_equal(&conf, &fx->conf));
	assert_string_equal(registry_find(again, SUBNET(2))->lease.backend, "vxlan");
	assert_int_equal(registry_find(again, SUBNET(1))->lease.public_ip, A);
	registry_free(fx->r);
	fx->r = again;
	assert_string_equal(snapshot(fx, NO_SUBNET, 0, text), "10.244.1.0/24 10.244.2.0/24 ");
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(registry_new(&again), 0);
	assert_int_equal(registry_cache_read(path, &conf, again), -EINVAL);
	assert_null(registry_next(again, NULL));
	unlink(path);
	assert_int_equal(registry_cache_read(path, &conf, again), -ENOENT);
	registry_free(again);
	close(fd);
}

/* Of a node with another address since the cache was written, and with another lease, too. */
static void test_cache_is_no_claim(void **state)
{
	static const char old[] =
		"{\"config\":\"{\\\"Network\\\":\\\"10.244.0.0/16\\\"}\",\"leases\":["
		"{\"key\":\"10.244.1.0-24\",\"value\":\"{\\\"PublicIP\\\":"
		"\\\"192.0.2.1\\\"}\",\"created\":5}]}";
	char path[] = "/tmp/registry-XXXXXX";
	struct fixture *fx = *state;
	struct netconf conf = {};
	int fd = mkstemp(path);

	put(fx, "10.244.1.0-24", VALUE_A, 5, 5, 7);
	for (int64_t lease = 7; lease <= 8; lease++) {
		assert_int_equal(registry_cache_write(path, &fx->conf, fx->r), 0);
		registry_free(fx->r);
		assert_int_equal(registry_new(&fx->r), 0);
		assert_int_equal(registry_cache_read(path, &conf, fx->r), 0);
		assert_int_equal(registry_find(fx->r, SUBNET(1))->etcd_lease, 7);
		assert_int_equal(put(fx, "10.244.1.0-24", VALUE_B, 5, 6, lease), 1);
		/* From then on it is as any other */
		assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 5, 7, 9), -EINVAL);
		assert_int_equal(put(fx, "10.244.1.0-24", VALUE_A, 6, 8, 7), 1);
		put(fx, "10.244.1.0-24", VALUE_A, 5, 5, 7);
	}
	registry_free(fx->r);
	assert_int_equal(registry_new(&fx->r), 0);
	close(fd);
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, old, sizeof(old) - 1), sizeof(old) - 1);
	assert_int_equal(registry_cache_read(path, &conf, fx->r), 0);
	assert_int_equal(registry_find(fx->r, SUBNET(1))->etcd_lease, -1);
	assert_int_equal(put(fx, "10.244.1.0-24", VALUE_B, 5, 6, 7), 1);
	unlink(path);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test_setup_teardown(test_good_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zero_in_value, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_value_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_keys_of_two, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_network, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owners, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cache_is_no_claim, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
