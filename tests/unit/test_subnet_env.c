/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* subnet.env: flannel's bytes exactly, and never a half-written file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "subnet_env.h"
#include "util.h"

static const struct prefix4 network = {10u << 24 | 244u << 16, 16};
static const struct prefix4 subnet = {10u << 24 | 244u << 16 | 17u << 8, 24};

static const char golden[] = "FLANNEL_NETWORK=10.244.0.0/16\n"
			     "FLANNEL_SUBNET=10.244.17.1/24\n"
			     "FLANNEL_MTU=1472\n"
			     "FLANNEL_IPMASQ=false\n";

static char dir[32];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/weft-env.XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	assert_int_equal(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void expect_file(const char *path, const char *text)
{
	_fclose_ FILE *f = fopen(path, "re");
	char got[512] = "";

	assert_non_null(f);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	assert_string_equal(got, text);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void test_flannels_bytes(void **state)
{
	const struct prefix4 odd = {172u << 24 | 16u << 16 | 4, 30};

	(void)state;
	assert_int_equal(subnet_env_write("env", network, subnet, 1472, false), 0);
	expect_file("env", golden);
	assert_int_equal(subnet_env_write("env", (struct prefix4){172u << 24 | 16u << 16, 28}, odd,
					  8972, true),
			 0);
	expect_file("env", "FLANNEL_NETWORK=172.16.0.0/28\n"
			   "FLANNEL_SUBNET=172.16.0.5/30\n"
			   "FLANNEL_MTU=8972\n"
			   "FLANNEL_IPMASQ=true\n");
}

static void test_modes_whatever_the_umask(void **state)
{
	mode_t old = umask(0077);
	int err = subnet_env_write("a/b/env", network, subnet, 1472, false);

	(void)state;
	umask(0);
	err |= subnet_env_write("c/env", network, subnet, 1472, false);
	umask(old);
	assert_int_equal(err, 0);
	assert_int_equal(mode_of("a"), 0755);
	assert_int_equal(mode_of("a/b"), 0755);
	assert_int_equal(mode_of("a/b/env"), 0644);
	assert_int_equal(mode_of("c"), 0755);
	assert_int_equal(mode_of("c/env"), 0644);
	expect_file("a/b/env", golden);
}

static void test_absolute_path_and_existing_parent(void **state)
{
	char path[64];

	(void)state;
	assert_int_equal(mkdir("run", 0700), 0);
	snprintf(path, sizeof(path), "%s//run/env", dir);
	assert_int_equal(subnet_env_write(path, network, subnet, 1472, false), 0);
	expect_file("run/env", golden);
	assert_int_equal(mode_of("run"), 0700);
}

/* A reader that has the old file open keeps it whole: the new one is another inode. */
static void test_replaces_atomically(void **state)
{
	char old[16] = "";
	int fd;

	(void)state;
	fd = open("env", O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "old", 3), 3);
	assert_int_equal(subnet_env_write("env", network, subnet, 1472, false), 0);
	assert_int_equal(pread(fd, old, sizeof(old), 0), 3);
	assert_string_equal(old, "old");
	close(fd);
	expect_file("env", golden);
	assert_int_equal(mode_of("env"), 0644);
	assert_int_equal(access("env.tmp", F_OK), -1);
}

/* What lies at the temporary name is removed, not written through, and a FIFO does not block. */
static void test_leftovers_at_temporary_name(void **state)
{
	(void)state;
	alarm(10);
	assert_int_equal(symlink("victim", "env.tmp"), 0);
	assert_int_equal(subnet_env_write("env", network, subnet, 1472, false), 0);
	assert_int_equal(access("victim", F_OK), -1);
	expect_file("env", golden);
	assert_int_equal(mkfifo("env.tmp", 0644), 0);
	assert_int_equal(subnet_env_write("env", network, subnet, 1472, false), 0);
	alarm(0);
}

static void test_failures_leave_nothing(void **state)
{
	(void)state;
	assert_int_equal(mkdir("env", 0755), 0);
	assert_int_equal(subnet_env_write("env", network, subnet, 1472, false), -EISDIR);
	assert_int_equal(access("env.tmp", F_OK), -1);
	assert_int_equal(close(open("file", O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(subnet_env_write("file/env", network, subnet, 1472, false), -ENOTDIR);
	assert_int_equal(subnet_env_write("", network, subnet, 1472, false), -ENOENT);
}

/* A full disk: the old file stays, whole. */
static void test_failed_write_keeps_old_file(void **state)
{
	struct rlimit old, tiny;
	int err;

	(void)state;
	assert_int_equal(subnet_env_write("env", network, subnet, 1472, false), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN);
	tiny = (struct rlimit){.rlim_cur = 10, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
	err = subnet_env_write("env", network, subnet, 9000, true);
	tiny.rlim_cur = 0;
	setrlimit(RLIMIT_FSIZE, &tiny);
	if (err == -ENOSPC)
		err = subnet_env_write("env", network, subnet, 9000, true);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(err, -EFBIG);
	expect_file("env", golden);
	assert_int_equal(access("env.tmp", F_OK), -1);
}

static int read_text(const char *text, struct prefix4 *out)
{
	int fd = open("env", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return subnet_env_read("env", out);
}

/* As a shell reads it: this key's value, whatever the quotes and what stands around it. */
static void test_reads_what_a_shell_would(void **state)
{
	static const char *const good[] = {
		"FLANNEL_SUBNET=10.244.17.1/24\n",
		"FLANNEL_MTU=1\n  FLANNEL_SUBNET=\"10.244.17.1/24\" # ours\n",
		"FLANNEL_SUBNET='10.244.17.1/24'",
		"FLANNEL_SUBNET:10.9.9.1/24\nFLANNEL_SUBNET=10.244.17.1/24\n",
		"FLANNEL_SUBNETS=10.9.9.1/24\nFLANNEL_SUBNET=x\nFLANNEL_SUBNET=10.244.17.1/24\n",
	};
	static const char *const bad[] = {
		"",
		"FLANNEL_SUBNET",
		"FLANNEL_SUBNET=",
		"FLANNEL_SUBNET:10.244.17.1/24\n",
		"#FLANNEL_SUBNET=10.244.17.1/24\n",
		"FLANNEL_SUBNET=10.244.17.1/33\n",
	};
	struct prefix4 out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		out = (struct prefix4){0};
		print_message("%s\n", good[i]);
		assert_int_equal(read_text(good[i], &out), 0);
		assert_int_equal(out.addr, 10u << 24 | 244u << 16 | 17u << 8);
		assert_int_equal(out.len, 24);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(read_text(bad[i], &out), -ENOENT);
	unlink("env");
	assert_int_equal(subnet_env_read("env", &out), -ENOENT);
	assert_int_equal(symlink("target", "env"), 0);
	assert_int_equal(subnet_env_read("env", &out), -ENOENT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_flannels_bytes),
		T(test_modes_whatever_the_umask),
		T(test_absolute_path_and_existing_parent),
		T(test_replaces_atomically),
		T(test_leftovers_at_temporary_name),
		T(test_failures_leave_nothing),
		T(test_reads_what_a_shell_would),
		T(test_failed_write_keeps_old_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
