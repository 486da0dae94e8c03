/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files that somebody else had in hand: links, FIFOs, strangers' files and directories. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "file.h"
#include "util.h"

#define NOBODY 65534

static char dir[64];
static char path[128], target[128];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/weft-file-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(target, sizeof(target), "%s/target", dir);
	assert_int_equal(file_replace(target, "theirs\n", 0644), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(target);
	/* Fails if a temporary file was left behind. */
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

static const char *text_of(const char *name)
{
	static char text[64];
	_fclose_ FILE *file = fopen(name, "re");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[n] = '\0';
	return text;
}

static int opens(const char *name, uid_t owner)
{
	_fclose_ FILE *file = NULL;
	int err = file_open_own(name, owner, &file);

	assert_int_equal(err == 0, file != NULL);
	return err;
}

static void test_open_plain(void **state)
{
	(void)state;
	assert_int_equal(opens(target, 0), 0);
	assert_int_equal(opens(path, 0), -ENOENT);
}

static void test_open_link(void **state)
{
	(void)state;
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(opens(path, 0), -EPERM);
}

/* Whoever waits for a writer waits for ever. */
static void test_open_fifo(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(opens(path, 0), -EPERM);
	assert_int_equal(opens(dir, 0), -EPERM);
}

static void test_open_writable(void **state)
{
	static const mode_t open_to[] = {0620, 0602, 0666};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(open_to); i++) {
		assert_int_equal(chmod(target, open_to[i]), 0);
		assert_int_equal(opens(target, 0), -EPERM);
	}
	assert_int_equal(chmod(target, 0644), 0);
	assert_int_equal(opens(target, 0), 0);
}

static void test_open_strangers(void **state)
{
	(void)state;
	if (geteuid())
		return;
	assert_int_equal(chown(target, NOBODY, NOBODY), 0);
	assert_int_equal(opens(target, 0), -EPERM);
	assert_int_equal(opens(target, NOBODY), 0);
}

/* A link or a FIFO in the file's place, or in that of its temporary one, is replaced. */
static void test_replace(void **state)
{
	_free_ char *tmp = NULL;

	(void)state;
	assert_true(asprintf(&tmp, "%s.tmp", path) > 0);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(symlink(target, tmp), 0);
	assert_int_equal(file_replace(path, "ours\n", 0600), 0);
	assert_string_equal(text_of(target), "theirs\n");
	assert_string_equal(text_of(path), "ours\n");
	assert_int_equal(opens(path, 0), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0666), 0);
	assert_int_equal(mkfifo(tmp, 0666), 0);
	assert_int_equal(file_replace(path, "ours\n", 0600), 0);
	assert_string_equal(text_of(path), "ours\n");
}

static void test_check_dir(void **state)
{
	static const struct {
		mode_t mode;
		int err;
	} modes[] = {{0700, 0}, {0755, 0}, {01777, 0}, {0775, -EPERM}, {0777, -EPERM}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		assert_int_equal(chmod(dir, modes[i].mode), 0);
		assert_int_equal(file_check_dir(dir), modes[i].err);
	}
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(file_check_dir(path), 0);
	assert_int_equal(file_check_dir(target), -ENOTDIR);
	if (geteuid())
		return;
	assert_int_equal(chown(dir, NOBODY, NOBODY), 0);
	assert_int_equal(file_check_dir(dir), -EPERM);
	assert_int_equal(chmod(dir, 01755), 0);
	assert_int_equal(file_check_dir(dir), -EPERM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_plain),	  TEST(test_open_link),	     TEST(test_open_fifo),
		TEST(test_open_writable), TEST(test_open_strangers), TEST(test_replace),
		TEST(test_check_dir),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
