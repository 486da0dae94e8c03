/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * etcd:URL with an etcd that is the test's, and a clock that goes on when the store waits for
 * changes: what takes a minute takes none here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "etcd.h"
#include "store.h"
#include "util.h"

#define SUBNETS "/w/subnets/"
#define OURS "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null}"
#define THEIRS "{\"PublicIP\":\"192.0.2.77\",\"PublicIPv6\":null}"
#define SELF 0xc0000201
#define SUBNET(n) ((struct prefix4){0x0af40000 + ((uint32_t)(n) << 8), 24})
#define TTL 86400

struct key {
	char name[64], value[256];
	int64_t created, changed, lease; /* created 0: there is no such key */
};

/* Of the store's thread, but before it starts and when it is done. */
static struct {
	struct key keys[8];
	struct key log[32]; /* of all changes */
	size_t n_log;
	int64_t revision, lease, watched;
	unsigned int fail; /* so many writes to come */
	etcd_kv_fn fn;
	void *arg;
	int wake_fd;
	bool (*script)(
		void); /* whenever the store waits; true: that was all. NULL: wait for ever */
	uint64_t now_ms;
	uint64_t written_ms[8]; /* when the store wrote a key */
	size_t n_written;
} world;

static sem_t done;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock != CLOCK_BOOTTIME)
		return (int)syscall(SYS_clock_gettime, clock, now);
	*now = (struct timespec){(time_t)(world.now_ms / 1000),
				 (long)(world.now_ms % 1000) * 1000000};
	return 0;
}

/* The registry */

static struct key *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(world.keys); i++)
		if (world.keys[i].created && strcmp(world.keys[i].name, name) == 0)
			return &world.keys[i];
	return NULL;
}

/* value NULL: it goes */
static void set(const char *name, const char *value, int64_t lease)
{
	struct key *key = find(name);

	for (size_t i = 0; !key; i++)
		key = world.keys[i].created ? NULL : &world.keys[i];
	snprintf(key->name, sizeof(key->name), "%s", name);
	snprintf(key->value, sizeof(key->value), "%s", value ? value : "");
	key->changed = world.revision;
	key->created = !value ? 0 : key->created ? key->created : key->changed;
	key->lease = lease;
	assert_true(world.n_log < ARRAY_SIZE(world.log));
	world.log[world.n_log++] = *key;
}

static void put(const char *name, const char *value, int64_t lease)
{
	world.revision++;
	set(name, value, lease);
}

static int64_t changed(const char *name)
{
	const struct key *key = find(name);

	return key ? key->changed : 0;
}

static bool is(const char *name, const char *value)
{
	const struct key *key = find(name);

	return key && strcmp(key->value, value) == 0;
}

static int tell(const struct key *key, etcd_kv_fn fn, void *arg)
{
	const struct etcd_kv kv = {.key = key->name,
				   .value = key->created ? key->value : NULL,
				   .value_len = strlen(key->value),
				   .create_revision = key->created,
				   .mod_revision = key->changed,
				   .lease = key->lease};

	return fn(&kv, arg);
}

/* etcd.h */

int etcd_open(const struct etcd_config *config, struct etcd **out)
{
	world.wake_fd = config->wake_fd;
	*out = NULL;
	return 0;
}

void etcd_close(struct etcd *etcd)
{
	(void)etcd;
}

const char *etcd_endpoint(const struct etcd *etcd)
{
	(void)etcd;
	return "http://a";
}

const char *etcd_error(const struct etcd *etcd)
{
	(void)etcd;
	return "out of order";
}

uint64_t etcd_cluster(const struct etcd *etcd)
{
	(void)etcd;
	return 7;
}

int64_t etcd_revision(const struct etcd *etcd)
{
	(void)etcd;
	return world.revision;
}

int etcd_get(struct etcd *etcd, const char *key, etcd_kv_fn fn, void *arg)
{
	(void)etcd;
	return find(key) ? tell(find(key), fn, arg) : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct key *)a)->name, ((const struct key *)b)->name);
}

int etcd_list(struct etcd *etcd, const char *prefix, int64_t *revision, etcd_kv_fn fn, void *arg)
{
	struct key keys[ARRAY_SIZE(world.keys)];
	int err = 0;

	(void)etcd;
	memcpy(keys, world.keys, sizeof(keys));
	qsort(keys, ARRAY_SIZE(keys), sizeof(*keys), by_name);
	for (size_t i = 0; err == 0 && i < ARRAY_SIZE(keys); i++)
		if (keys[i].created && strncmp(keys[i].name, prefix, strlen(prefix)) == 0)
			err = tell(&keys[i], fn, arg);
	*revision = world.revision;
	return err;
}

int etcd_grant(struct etcd *etcd, int64_t ttl_s, int64_t *lease)
{
	(void)etcd;
	(void)ttl_s;
	*lease = ++world.lease;
	return 0;
}

int etcd_keep_alive(struct etcd *etcd, int64_t lease, int64_t *ttl_s)
{
	(void)etcd;
	(void)lease;
	*ttl_s = TTL;
	return 0;
}

int etcd_revoke(struct etcd *etcd, int64_t lease)
{
	(void)etcd;
	(void)lease;
	return 0;
}

/* 1: what the caller does is to be done */
static int begin(bool unchanged)
{
	if (world.fail) {
		world.fail--;
		return -EIO;
	}
	if (!unchanged)
		return 0;
	assert_true(world.n_written < ARRAY_SIZE(world.written_ms));
	world.written_ms[world.n_written++] = world.now_ms;
	world.revision++;
	return 1;
}

int etcd_put(struct etcd *etcd, const char *key, const char *value, int64_t lease,
	     int64_t mod_revision)
{
	int rc = begin(changed(key) == mod_revision);

	(void)etcd;
	if (rc == 1)
		set(key, value, lease);
	return rc;
}

int etcd_delete(struct etcd *etcd, const char *key, int64_t mod_revision)
{
	int rc = begin(changed(key) == mod_revision);

	(void)etcd;
	if (rc == 1)
		set(key, NULL, 0);
	return rc;
}

int etcd_move(struct etcd *etcd, const struct etcd_move *move)
{
	int rc = begin(changed(move->from) == move->from_revision &&
		       changed(move->to) == move->to_revision);

	(void)etcd;
	if (rc == 1) {
		set(move->from, NULL, 0);
		set(move->to, move->value, move->lease);
	}
	return rc;
}

int etcd_watch(struct etcd *etcd, const char *prefix, int64_t revision, etcd_kv_fn fn, void *arg)
{
	(void)etcd;
	(void)prefix;
	world.watched = revision;
	world.fn = fn;
	world.arg = arg;
	return 0;
}

/* 1: something had happened */
static int tell_news(void)
{
	int64_t from = world.watched;

	world.watched = world.revision + 1;
	for (size_t i = 0; i < world.n_log; i++)
		if (world.log[i].changed >= from)
			tell(&world.log[i], world.fn, world.arg);
	return from <= world.revision;
}

int etcd_watch_wait(struct etcd *etcd, unsigned int timeout_ms)
{
	struct pollfd wake = {.fd = world.wake_fd, .events = POLLIN};

	(void)etcd;
	if (poll(&wake, 1, world.script ? 0 : -1) > 0)
		return -ECANCELED;
	if (tell_news())
		return 0;
	if (world.script()) {
		world.script = NULL;
		sem_post(&done);
	} else if (!tell_news()) {
		world.now_ms += timeout_ms;
	}
	return 0;
}

/* The node */

static const struct store_options options = {
	.prefix = "/w", .format = WEFT_FORMAT_MAX, .lease_ttl = TTL, .renew_margin = 3600};
static struct store *store;

static int setup(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.now_ms = 1000000;
	world.lease = 100;
	assert_int_equal(sem_init(&done, 0, 0), 0);
	put("/w/config", "{\"Network\":\"10.244.0.0/16\"}", 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	store_close(store);
	store = NULL;
	return 0;
}

/* Until script says that it is done, for some seconds at most; false: it was not */
static bool run(bool (*script)(void))
{
	const struct store_node node = {.public_ip = SELF, .previous = SUBNET(9)};
	char error[NETCONF_ERROR_LEN];
	struct timespec end;

	world.script = script;
	assert_int_equal(store_open("etcd:http://a", &options, &store, error), 0);
	store_join(store, &node);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 10;
	return sem_timedwait(&done, &end) == 0;
}

/* Of so many leases, and n.0/24 is our own */
static void expect_state(unsigned int n, size_t leases)
{
	char error[NETCONF_ERROR_LEN];
	struct netconf conf;

	assert_int_equal(store_read(store, &conf, error), 0);
	assert_int_equal(conf.own.addr, SUBNET(n).addr);
	assert_int_equal(conf.n_leases, leases);
	netconf_free(&conf);
}

#define KEY SUBNETS "10.244.9.0-24"

static bool has_key(void)
{
	return is(KEY, OURS);
}

static void the_previous_subnet_is_taken_again(void **state)
{
	(void)state;
	assert_true(run(has_key));
	expect_state(9, 1);
}

static bool has_other_key(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(world.keys); i++)
		if (world.keys[i].created && strcmp(world.keys[i].value, OURS) == 0)
			return true;
	return false;
}

/* Of another size than ours */
static void not_where_another_node_is(void **state)
{
	static const char *const theirs[] = {SUBNETS "10.244.8.0-23", SUBNETS "10.244.9.128-25"};

	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
		put(theirs[i], THEIRS, 8);
		assert_true(run(has_other_key));
		assert_null(find(KEY));
		teardown(state);
		setup(state);
	}
}

#define DUAL KEY "&fd00:9:17::-64"
#define OURS_DUAL "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":\"fd00::1\"}"

static bool has_one_key(void)
{
	return has_key() && !find(DUAL);
}

/* As flannel leaves it, under its lease */
static void a_key_with_ipv6_is_replaced(void **state)
{
	(void)state;
	put(DUAL, OURS_DUAL, 8);
	assert_true(run(has_one_key));
	assert_int_equal(find(KEY)->lease, 8);
	assert_int_equal(world.n_written, 1);
	expect_state(9, 1);
}

static void and_so_it_is_beside_one_without(void **state)
{
	(void)state;
	put(KEY, OURS, 7);
	put(DUAL, OURS_DUAL, 8);
	assert_true(run(has_one_key));
	assert_int_equal(find(KEY)->lease, 8);
	expect_state(9, 1);
}

/* flannel's once more, and the agent has not ended */
static bool written_beside_ours(void)
{
	if (world.n_written == 1 && !find(DUAL))
		put(DUAL, OURS_DUAL, 8);
	return world.n_written == 2 && has_one_key();
}

static void also_while_it_is_known(void **state)
{
	(void)state;
	assert_true(run(written_beside_ours));
	expect_state(9, 1);
}

/* Ours has gone, and a key that is bad stands for it. */
static bool replaced_by_a_bad_one(void)
{
	if (world.n_written == 1 && !find(DUAL)) {
		put(KEY, NULL, 0);
		put(DUAL, "nonsense", 8);
	}
	return world.n_written > 1 && has_one_key();
}

static void a_bad_one_gives_way(void **state)
{
	(void)state;
	assert_true(run(replaced_by_a_bad_one));
	expect_state(9, 1);
}

#define MISFIT SUBNETS "10.244.64.0-20&fd00:9:17::-64"

static bool has_fitting_key(void)
{
	return has_key() && !find(MISFIT);
}

static void one_that_does_not_fit_is_given_back(void **state)
{
	(void)state;
	put(MISFIT, OURS_DUAL, 8);
	assert_true(run(has_fitting_key));
}

/* Written over as soon as it is ours, twice; then it stays as it is. */
static bool written_over_twice(void)
{
	if (!is(KEY, OURS))
		return world.now_ms > 10000000;
	if (world.n_written == 3)
		return true;
	put(KEY, THEIRS, 0);
	return false;
}

static void a_key_is_set_right_once_a_minute(void **state)
{
	(void)state;
	assert_true(run(written_over_twice));
	assert_true(is(KEY, OURS));
	assert_int_equal(world.n_written, 3);
	assert_int_equal(world.written_ms[1], world.written_ms[0]);
	assert_int_equal(world.written_ms[2], world.written_ms[1] + 60000);
	expect_state(9, 1);
}

static bool written_over_and_out_of_order(void)
{
	if (world.n_written == 1 && is(KEY, OURS)) {
		put(KEY, THEIRS, 0);
		world.fail = 1;
		return false;
	}
	return is(KEY, OURS) || world.now_ms > 10000000;
}

static void an_attempt_that_failed_is_none(void **state)
{
	(void)state;
	assert_true(run(written_over_and_out_of_order));
	assert_true(is(KEY, OURS));
	assert_int_equal(world.fail, 0);
	assert_in_range(world.written_ms[1], world.written_ms[0], world.written_ms[0] + 10000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_previous_subnet_is_taken_again),
		T(not_where_another_node_is),
		T(a_key_with_ipv6_is_replaced),
		T(and_so_it_is_beside_one_without),
		T(also_while_it_is_known),
		T(a_bad_one_gives_way),
		T(one_that_does_not_fit_is_given_back),
		T(a_key_is_set_right_once_a_minute),
		T(an_attempt_that_failed_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
