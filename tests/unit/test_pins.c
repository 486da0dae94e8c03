/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Directories of versions, on any file system. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pins.h"
#include "util.h"

static char dir[] = "/tmp/weft-pins-XXXXXX";

static bool exists(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

/* A directory, with a file in it that stands for a pin. */
static void make(const char *name)
{
	char path[PATH_MAX];
	_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/state", dir, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void test_path(void **state)
{
	char path[PATH_MAX];

	(void)state;
	pins_map_path("/pins", 12, "peers", path);
	assert_string_equal(path, "/pins/maps-12/peers");
	pins_map_path("/pins", 12, "", path);
	assert_string_equal(path, "/pins/maps-12");
}

static void test_newest(void **state)
{
	(void)state;
	assert_int_equal(pins_newest(dir, UINT32_MAX), 0);
	assert_int_equal(pins_newest("/nonexistent", UINT32_MAX), 0);
	make("links");
	make("maps");
	make("maps-");
	make("maps-12x");
	assert_int_equal(pins_newest(dir, UINT32_MAX), 0);
	make("maps-3");
	make("maps-11");
	make("maps-4");
	assert_int_equal(pins_newest(dir, UINT32_MAX), 11);
	assert_int_equal(pins_newest(dir, 11), 4);
	assert_int_equal(pins_newest(dir, 4), 3);
	assert_int_equal(pins_newest(dir, 3), 0);
}

/* What has no version is older than all; what is no maps' directory stays. */
static void test_remove(void **state)
{
	(void)state;
	pins_remove_maps(dir, 4, 10);
	assert_false(exists("maps-4"));
	assert_true(exists("maps-3/state") && exists("maps-11/state") && exists("maps/state"));
	pins_remove_maps(dir, 0, 10);
	assert_false(exists("maps-3") || exists("maps"));
	assert_true(exists("maps-11/state"));
	pins_remove_maps(dir, 0, UINT32_MAX);
	assert_false(exists("maps-11"));
	assert_true(exists("links/state") && exists("maps-/state") && exists("maps-12x/state"));
	pins_remove_maps("/nonexistent", 0, UINT32_MAX);
}

static void test_private(void **state)
{
	char path[PATH_MAX], link[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s/private", dir);
	snprintf(link, sizeof(link), "%s/link", dir);
	assert_int_equal(pins_mkdir(path), 0);
	assert_int_equal(pins_mkdir(path), 0);
	assert_int_equal(chmod(path, 0750), 0);
	assert_int_equal(pins_mkdir(path), -EPERM);
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(pins_mkdir(link), -EPERM);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(rmdir(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_newest),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_private),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
