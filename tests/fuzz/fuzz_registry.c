/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flannel's registry, line by line:
 *   +C KEY VALUE   put, C makes create revision and lease
 *   -C KEY         removed, kept for C
 *   < > ~C #CONF   listing begins, ends, a sweep at C, another configuration
 * or the whole input is a cache file, if it begins with '{'. No lease is ever outside the network,
 * what is refused changes no lease, and what is known is the same when written and read again.
 */
#include "fuzz.h"

#include <errno.h>
#include <regex.h>

#include "registry_cache.c"

#define USUAL "{\"Network\":\"10.244.0.0/16\"}"
#define MOST 100

struct leases {
	struct lease lease[MOST];
	size_t n;
};

/* flannel's own (pkg/subnet/subnet.go), at the end of a path. */
#define KEY "(^|/)[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+-[0-9]+(&[a-f0-9:]+-[0-9]+)?$"

static regex_t key_grammar;
static int cache_fd;
static char cache_path[] = "/tmp/fuzz_registry.XXXXXX";

static void remove_cache(void)
{
	unlink(cache_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	CHECK(regcomp(&key_grammar, KEY, REG_EXTENDED | REG_NOSUB | REG_ICASE) == 0);
	cache_fd = mkstemp(cache_path); /* private, and no link, as the agent's own */
	CHECK(cache_fd >= 0);
	atexit(remove_cache);
	return 0;
}

static int read_cache(const void *text, size_t len, struct netconf *conf, struct registry *r)
{
	CHECK(ftruncate(cache_fd, 0) == 0);
	CHECK(pwrite(cache_fd, text, len, 0) == (ssize_t)len);
	return registry_cache_read(cache_path, conf, r);
}

static void remember(const struct registry *r, struct leases *out)
{
	const struct registry_entry *entry = NULL;

	out->n = 0;
	while ((entry = registry_next(r, entry)) && out->n < MOST)
		if (entry->lease.public_ip)
			out->lease[out->n++] = entry->lease;
}

/* How many of a are not in b. */
static size_t missing(const struct leases *a, const struct leases *b)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		size_t j = 0;

		while (j < b->n && !lease_equal(&a->lease[i], &b->lease[j]))
			j++;
		n += j == b->n;
	}
	return n;
}

#define KEY6 "&fd00::-64" /* of a key that has a second half, which one does not matter */

static void check_entry(struct registry *r, const struct netconf *conf,
			const struct registry_entry *entry)
{
	char name[REGISTRY_KEY_LEN], key[REGISTRY_KEY_LEN + sizeof(KEY6)];
	char value[REGISTRY_VALUE_LEN], error[NETCONF_ERROR_LEN];
	const struct lease *lease = &entry->lease;
	const struct lease was = entry->lease;
	const struct etcd_kv kv = {
		.key = key,
		.value = registry_value(lease, value),
		.value_len = strlen(value),
		.create_revision = entry->create_revision,
		.mod_revision = entry->mod_revision,
		.lease = entry->etcd_lease,
	};

	snprintf(key, sizeof(key), "%s%s", registry_key(lease->subnet, name),
		 entry->dual ? KEY6 : "");
	CHECK(lease->subnet.len > conf->network.len && lease->subnet.len <= 30);
	CHECK(prefix4_contains(conf->network, lease->subnet.addr));
	CHECK(!(lease->subnet.addr & ~prefix4_mask(lease->subnet.len)));
	CHECK(registry_find(r, lease->subnet) == entry);
	if (!lease->public_ip) {
		CHECK(entry->contested);
		return;
	}
	CHECK(netconf_is_node_address(lease->public_ip));
	CHECK(!prefix4_contains(conf->network, lease->public_ip));
	CHECK(strlen(value) < REGISTRY_VALUE_LEN - 1);
	/* But for what only format vxlan has, and a VNI of the network's, which may be new. */
	if (registry_put(r, &kv, error) == 0)
		return;
	CHECK(was.format != WEFT_FORMAT_VXLAN || was.vtep.vni != conf->vni);
	CHECK(lease->public_ip == was.public_ip && lease->format == was.format);
	CHECK(strcmp(lease->backend, was.backend) == 0);
}

static void check_entries(struct registry *r, const struct netconf *conf)
{
	const struct registry_entry *entry = NULL, *before = NULL;

	for (; (entry = registry_next(r, entry)); before = entry) {
		check_entry(r, conf, entry);
		if (!before)
			continue;
		CHECK(before->lease.subnet.addr < entry->lease.subnet.addr ||
		      (before->lease.subnet.addr == entry->lease.subnet.addr &&
		       before->lease.subnet.len < entry->lease.subnet.len));
	}
}

static bool overlap(struct prefix4 a, struct prefix4 b)
{
	return prefix4_contains(a, b.addr) || prefix4_contains(b, a.addr);
}

/* The leases that agree: none overlaps another, and each is one of the table's. */
static void check_snapshot(const struct registry *r, const struct netconf *conf)
{
	struct prefix4 own = {0}, unused[4];
	const struct registry_entry *first = registry_next(r, NULL), *owned = first;
	struct netconf out;
	size_t refused, n;

	while (owned && !owned->lease.public_ip)
		owned = registry_next(r, owned);
	if (owned)
		own = owned->lease.subnet;
	CHECK(registry_snapshot(r, conf, own, &out, &refused) == 0);
	for (size_t i = 0; i < out.n_leases; i++) {
		CHECK(i == 0 || !overlap(out.leases[i - 1].subnet, out.leases[i].subnet));
		CHECK(registry_find(r, out.leases[i].subnet)->lease.public_ip);
	}
	CHECK(!own.len || netconf_find_lease(&out, own));
	netconf_free(&out);
	n = registry_unused(r, conf, unused, 4);
	for (size_t i = 0; i < n; i++)
		for (const struct registry_entry *e = first; e; e = registry_next(r, e))
			CHECK(!overlap(e->lease.subnet, unused[i]));
}

static void check_cache(const struct registry *r, const struct netconf *conf)
{
	static struct leases before, after;
	_free_ char *text = cache_text(conf, r);
	struct registry *again;
	struct netconf read;

	CHECK(text && registry_new(&again) == 0);
	CHECK(read_cache(text, strlen(text), &read, again) == 0);
	CHECK(netconf_equal(conf, &read));
	remember(r, &before);
	remember(again, &after);
	CHECK(before.n == after.n && missing(&before, &after) == 0);
	registry_free(again);
}

static void put(struct registry *r, char *line, size_t len)
{
	static struct leases before, after;
	static int64_t revision;
	char error[NETCONF_ERROR_LEN];
	char *key = line + 3, *space = len > 3 ? memchr(key, ' ', len - 3) : NULL;
	struct etcd_kv kv = {.key = key};
	int changed;

	if (!space)
		return;
	*space = '\0';
	kv.value = space + 1;
	kv.value_len = len - (size_t)(kv.value - line);
	kv.create_revision = line[1] & 7;
	kv.lease = line[1] >> 3 & 3;
	kv.mod_revision = ++revision;
	memset(error, 0xff, sizeof(error));
	remember(r, &before);
	changed = registry_put(r, &kv, error);
	remember(r, &after);
	CHECK(changed == 1 || changed == 0 || changed == -EINVAL);
	if (changed < 0)
		check_reason(error, sizeof(error));
	else
		CHECK(regexec(&key_grammar, key, 0, NULL, 0) == 0);
	if (before.n == MOST)
		return;
	CHECK(missing(&after, &before) == (size_t)(changed == 1));
	CHECK(missing(&before, &after) <= (size_t)(changed == 1 && before.n == after.n));
}

static void set_config(struct registry *r, struct netconf *conf, const char *text, size_t len)
{
	char error[NETCONF_ERROR_LEN];

	if (netconf_parse_network(text, len, conf, error) == 0)
		registry_set_config(r, conf);
}

static void step(struct registry *r, struct netconf *conf, char *line, size_t len)
{
	uint64_t next;

	if (line[0] == '+')
		put(r, line, len);
	else if (line[0] == '-' && len > 3)
		registry_remove(r, line + 3, (uint8_t)line[1]);
	else if (line[0] == '<')
		registry_list_begin(r);
	else if (line[0] == '>')
		registry_list_end(r, (uint8_t)line[1]);
	else if (line[0] == '~')
		registry_sweep(r, (uint8_t)line[1], &next);
	else if (line[0] == '#')
		set_config(r, conf, line + 1, len - 1);
}

static void run_lines(struct registry *r, struct input in)
{
	struct netconf conf;
	size_t len;

	set_config(r, &conf, USUAL, strlen(USUAL));
	for (int i = 0; in.left && i < MOST; i++) {
		_free_ char *line = take_line(&in, &len);

		step(r, &conf, line, len);
		check_entries(r, &conf);
	}
	check_snapshot(r, &conf);
	check_cache(r, &conf);
}

/* One that is refused leaves no lease behind. */
static void run_cache(struct registry *r, struct input in)
{
	struct netconf conf;
	int err = read_cache(in.at, in.left, &conf, r);

	if (err) {
		CHECK(err == -EINVAL && !registry_next(r, NULL));
		return;
	}
	check_entries(r, &conf);
	check_snapshot(r, &conf);
	check_cache(r, &conf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct registry *r;

	CHECK(registry_new(&r) == 0);
	if (size && data[0] == '{')
		run_cache(r, in);
	else
		run_lines(r, in);
	registry_free(r);
	return 0;
}
