/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* static:FILE: every way a file changes is noticed; only a sound regular file is read. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "store.h"
#include "store_static.h"
#include "util.h"

#define GOOD(third) "{\"Network\":\"10." #third ".0.0/16\"}"
#define SETTLE_MS 30 /* beyond the tick in which a second change could look like the first */
#define SOON_MS 1000
/* inotify is silent: wait for the timer, with room for a busy machine. */
#define RECHECK_MS (STORE_STATIC_RECHECK_S * 1000 + SOON_MS)

/* Tests run in a directory of their own and use relative names. */
static const struct store_options options;

struct fixture {
	char dir[32];
	struct store *store;
	char error[NETCONF_ERROR_LEN];
};

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) < 0, 0);
	assert_int_equal(fclose(f), 0);
}

static void settle(void)
{
	usleep(SETTLE_MS * 1000);
}

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	strcpy(fx->dir, "/tmp/weft-store.XXXXXX");
	assert_non_null(mkdtemp(fx->dir));
	assert_int_equal(chdir(fx->dir), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;
	char command[64];

	store_close(fx->store);
	assert_int_equal(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", fx->dir);
	assert_int_equal(system(command), 0);
	free(fx);
	return 0;
}

static void open_store(struct fixture *fx, const char *url)
{
	assert_int_equal(store_open(url, &options, &fx->store, fx->error), 0);
}

/* Reads and expects 10.<third>.0.0/16. */
static void expect_read(struct fixture *fx, unsigned int third)
{
	struct netconf conf;
	int err = store_read(fx->store, &conf, fx->error);

	if (err)
		fail_msg("%s", fx->error);
	assert_int_equal(conf.network.addr, 10u << 24 | third << 16);
	netconf_free(&conf);
}

static void expect_refused(struct fixture *fx, int err, const char *error)
{
	struct netconf conf, before;

	memset(&conf, 0x5a, sizeof(conf));
	before = conf;
	assert_int_equal(store_read(fx->store, &conf, fx->error), err);
	assert_string_equal(fx->error, error);
	assert_memory_equal(&conf, &before, sizeof(conf));
}

/* Waits until an acknowledged event says that a read is worth it. */
static bool changed_within(struct fixture *fx, int timeout_ms)
{
	struct pollfd fd = {.fd = store_fd(fx->store), .events = POLLIN};
	struct timespec start, now;
	int left = timeout_ms;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (left > 0 && poll(&fd, 1, left) == 1) {
		if (store_ack(fx->store))
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = timeout_ms - (int)((now.tv_sec - start.tv_sec) * 1000 +
					  (now.tv_nsec - start.tv_nsec) / 1000000);
	}
	return false;
}

static bool pending(struct fixture *fx)
{
	struct pollfd fd = {.fd = store_fd(fx->store), .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

/* The file holds 10.1, is read and old enough; whatever was queued is acknowledged. */
static void start(struct fixture *fx)
{
	put("conf", GOOD(1));
	open_store(fx, "static:conf");
	settle();
	expect_read(fx, 1);
	assert_false(store_ack(fx->store));
}

static void test_urls(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(store_open("conf", &options, &fx->store, fx->error), -EINVAL);
	assert_string_equal(fx->error, "conf: not a store: must be static:FILE or etcd:URL");
	assert_int_equal(store_open("", &options, &fx->store, fx->error), -EINVAL);
	assert_string_equal(fx->error, ": not a store: must be static:FILE or etcd:URL");
	assert_int_equal(store_open("etcd:a:2379", &options, &fx->store, fx->error), -EINVAL);
	assert_string_equal(fx->error, "etcd:URL: a:2379 is not http://... or https://...");
	assert_int_equal(store_open("etcd:http://u:p@a", &options, &fx->store, fx->error), -EINVAL);
	assert_string_equal(fx->error, "etcd:URL: no user or password: see weft(8)");
	assert_int_equal(store_open("stat:conf", &options, &fx->store, fx->error), -EINVAL);
	assert_int_equal(store_open("static:", &options, &fx->store, fx->error), -EINVAL);
	assert_string_equal(fx->error, "static:FILE: the file's name is missing");
	assert_null(fx->store);
	store_close(NULL);
}

static void test_first_ack_wants_a_read(void **state)
{
	struct fixture *fx = *state;

	open_store(fx, "static:conf");
	assert_true(store_ack(fx->store));
}

static void test_reads_by_absolute_path(void **state)
{
	struct fixture *fx = *state;
	char url[64];

	put("conf", GOOD(1));
	snprintf(url, sizeof(url), "static:%s/conf", fx->dir);
	open_store(fx, url);
	settle();
	expect_read(fx, 1);
	put("conf", GOOD(2));
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
}

static void test_rename_over(void **state)
{
	struct fixture *fx = *state;

	start(fx);
	put("new", GOOD(2));
	assert_int_equal(rename("new", "conf"), 0);
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
	/* From another directory only the arrival is seen. */
	assert_int_equal(mkdir("d", 0755), 0);
	put("d/new", GOOD(3));
	settle();
	expect_read(fx, 2);
	assert_false(store_ack(fx->store));
	assert_int_equal(rename("d/new", "conf"), 0);
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 3);
}

static void test_written_in_place(void **state)
{
	struct fixture *fx = *state;

	start(fx);
	put("conf", GOOD(2));
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
}

/* Same inode, same size, within one tick of the file system's clock. */
static void test_rewritten_at_once(void **state)
{
	struct fixture *fx = *state;

	start(fx);
	for (int i = 0; i < 50; i++) {
		put("conf", GOOD(2));
		expect_read(fx, 2);
		put("conf", GOOD(3));
		assert_true(changed_within(fx, SOON_MS));
		expect_read(fx, 3);
	}
}

static void test_deleted_and_made_again(void **state)
{
	struct fixture *fx = *state;

	start(fx);
	assert_int_equal(unlink("conf"), 0);
	assert_true(changed_within(fx, SOON_MS));
	expect_refused(fx, -ENOENT, "conf: No such file or directory");
	assert_false(store_ack(fx->store));
	put("conf", GOOD(2));
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
}

/* Kubernetes: conf -> ..data/conf, ..data -> a directory per version, swapped by rename. */
static void test_configmap_swap(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(mkdir("..v1", 0755) | mkdir("..v2", 0755), 0);
	put("..v1/conf", GOOD(1));
	put("..v2/conf", GOOD(2));
	assert_int_equal(symlink("..v1", "..data") | symlink("..data/conf", "conf"), 0);
	open_store(fx, "static:conf");
	settle();
	expect_read(fx, 1);
	assert_int_equal(symlink("..v2", "..tmp") | rename("..tmp", "..data"), 0);
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
}

static void test_other_files_are_no_change(void **state)
{
	struct fixture *fx = *state;

	start(fx);
	put("other", GOOD(2));
	assert_true(pending(fx));
	assert_false(store_ack(fx->store));
	assert_false(pending(fx));
}

/* A writer that is not done: nothing until it closes, then the file as it is. */
static void test_half_written(void **state)
{
	struct fixture *fx = *state;
	FILE *f;

	start(fx);
	f = fopen("conf", "we");
	assert_non_null(f);
	fputs("{\"Network\":", f);
	fflush(f);
	assert_false(pending(fx));
	expect_refused(fx, -EINVAL, "conf: line 1, column 11: unexpected token near end of file");
	fputs("\"10.2.0.0/16\"}", f);
	fclose(f);
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
}

static void test_bad_then_good(void **state)
{
	struct fixture *fx = *state;

	start(fx);
	put("conf", "{\"Network\":\"10.2.0.0/16\",\"Leases\":[{\"Subnet\":\"10.2.0.1/24\"}]}");
	assert_true(changed_within(fx, SOON_MS));
	settle();
	expect_refused(fx, -EINVAL,
		       "conf: $.Leases[0].Subnet: \"10.2.0.1/24\" has host bits set: "
		       "write 10.2.0.0/24");
	assert_false(store_ack(fx->store));
	put("conf", GOOD(2));
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 2);
}

/* What is good needs no change to be read once there are descriptors again. */
static void test_no_descriptors(void **state)
{
	struct fixture *fx = *state;
	struct rlimit before, none;

	start(fx);
	put("conf", GOOD(2));
	assert_true(changed_within(fx, SOON_MS));
	settle();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	expect_refused(fx, -EMFILE, "conf: Too many open files");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(changed_within(fx, RECHECK_MS));
	expect_read(fx, 2);
	assert_false(store_ack(fx->store));
}

static void test_directory_replaced(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(mkdir("d", 0755), 0);
	put("d/conf", GOOD(1));
	open_store(fx, "static:d/conf");
	settle();
	expect_read(fx, 1);
	assert_int_equal(rename("d", "old") | mkdir("d", 0755), 0);
	put("d/conf", GOOD(2));
	assert_true(changed_within(fx, RECHECK_MS));
	settle();
	expect_read(fx, 2);
	/* And the new directory is the watched one. */
	put("d/conf", GOOD(3));
	assert_true(changed_within(fx, SOON_MS));
	expect_read(fx, 3);
}

static void test_link_to_other_directory(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(mkdir("d", 0755), 0);
	put("d/target", GOOD(1));
	assert_int_equal(symlink("d/target", "conf"), 0);
	open_store(fx, "static:conf");
	settle();
	expect_read(fx, 1);
	put("d/target", GOOD(2));
	assert_true(changed_within(fx, RECHECK_MS));
	expect_read(fx, 2);
}

static void test_directory_appears_later(void **state)
{
	struct fixture *fx = *state;

	open_store(fx, "static:d/conf");
	expect_refused(fx, -ENOENT, "d/conf: No such file or directory");
	assert_int_equal(mkdir("d", 0755), 0);
	put("d/conf", GOOD(1));
	assert_true(changed_within(fx, RECHECK_MS));
	expect_read(fx, 1);
}

/* None of these may block: alarm() ends the test if one does. */
static void test_not_regular(void **state)
{
	struct fixture *fx = *state;

	alarm(10);
	assert_int_equal(mkfifo("conf", 0644), 0);
	open_store(fx, "static:conf");
	expect_refused(fx, -EINVAL, "conf: not a regular file");
	assert_int_equal(unlink("conf") | mkdir("conf", 0755), 0);
	expect_refused(fx, -EINVAL, "conf: not a regular file");
	assert_int_equal(rmdir("conf") | symlink("/dev/zero", "conf"), 0);
	expect_refused(fx, -EINVAL, "conf: not a regular file");
	assert_int_equal(unlink("conf") | symlink("conf", "conf"), 0);
	expect_refused(fx, -ELOOP, "conf: Too many levels of symbolic links");
	alarm(0);
}

static void test_too_large(void **state)
{
	struct fixture *fx = *state;

	/* Sparse: refused by its size, so nobody waits for 100 GB of zeros. */
	put("conf", "");
	assert_int_equal(truncate("conf", 100LL << 30), 0);
	open_store(fx, "static:conf");
	alarm(10);
	expect_refused(fx, -EINVAL, "conf: larger than 16 MiB");
	assert_int_equal(truncate("conf", NETCONF_MAX_SIZE + 1), 0);
	expect_refused(fx, -EINVAL, "conf: larger than 16 MiB");
	assert_int_equal(truncate("conf", 0), 0);
	expect_refused(fx, -EINVAL, "conf: line 1, column 1: the document is empty");
	alarm(0);
}

/* The reason survives a path longer than the message. */
static void test_long_path(void **state)
{
	struct fixture *fx = *state;
	char url[1024];

	memset(url, 'x', sizeof(url));
	memcpy(url, "static:", 7);
	for (size_t i = 100; i < sizeof(url) - 1; i += 100)
		url[i] = '/';
	url[sizeof(url) - 1] = '\0';
	open_store(fx, url);
	assert_int_equal(store_read(fx->store, &(struct netconf){}, fx->error), -ENOENT);
	assert_memory_equal(fx->error, "...xxx", 6);
	assert_non_null(strstr(fx->error, "xxx: No such file or directory"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_urls),
		T(test_first_ack_wants_a_read),
		T(test_reads_by_absolute_path),
		T(test_rename_over),
		T(test_written_in_place),
		T(test_rewritten_at_once),
		T(test_deleted_and_made_again),
		T(test_configmap_swap),
		T(test_other_files_are_no_change),
		T(test_half_written),
		T(test_bad_then_good),
		T(test_no_descriptors),
		T(test_directory_replaced),
		T(test_link_to_other_directory),
		T(test_directory_appears_later),
		T(test_not_regular),
		T(test_too_large),
		T(test_long_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
