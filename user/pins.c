/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "log.h"
#include "util.h"

#define BPFFS "/sys/fs/bpf"
/* The bpffs of the initial mount namespace, also from within `ip netns exec`. */
#define INIT_BPFFS "/proc/1/root" BPFFS
#define INIT_MNT_NS "/proc/1/ns/mnt"

/* 0, or why not: -EACCES where nobody may look. */
static int look_for_bpffs(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return -errno;
	return fs.f_type == BPF_FS_MAGIC ? 0 : -ENOENT;
}

static bool is_bpffs(const char *path)
{
	return look_for_bpffs(path) == 0;
}

static bool in_init_mount_ns(void)
{
	struct stat own, init;

	return stat("/proc/self/ns/mnt", &own) == 0 && stat(INIT_MNT_NS, &init) == 0 &&
	       own.st_dev == init.st_dev && own.st_ino == init.st_ino;
}

static int mount_bpffs(void)
{
	return mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") ? -errno
											 : 0;
}

/* A mount made in our own namespace would vanish with it, so a child makes it in the first one. */
static int mount_bpffs_in_init_ns(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int fd = open(INIT_MNT_NS, O_RDONLY | O_CLOEXEC);

		_exit(fd >= 0 && setns(fd, CLONE_NEWNS) == 0 && mount_bpffs() == 0 ? 0 : 1);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static const char *find_bpffs(void)
{
	if (in_init_mount_ns())
		return is_bpffs(BPFFS) || mount_bpffs() == 0 ? BPFFS : NULL;
	if (is_bpffs(INIT_BPFFS))
		return INIT_BPFFS;
	if (mount_bpffs_in_init_ns() == 0 && is_bpffs(INIT_BPFFS))
		return INIT_BPFFS;
	/* A container: whatever bpffs it was given, else one that lives as long as it does. */
	if (is_bpffs(BPFFS))
		return BPFFS;
	if (mount_bpffs())
		return NULL;
	log_warn("bpffs is mounted in this mount namespace only: the datapath will end with it");
	return BPFFS;
}

bool pins_has_bpffs(void)
{
	return is_bpffs(BPFFS) || (!in_init_mount_ns() && is_bpffs(INIT_BPFFS));
}

static int path_below(const char *root, const char *state_dir, char *out, size_t len)
{
	bool usual = strcmp(state_dir, "/run/weft") == 0;
	int n = snprintf(out, len, "%s/weft%s%s", root, usual || state_dir[0] == '/' ? "" : "-",
			 usual ? "" : state_dir);

	if (n < 0 || (size_t)n >= len)
		return -ENAMETOOLONG;
	/* bpffs allows no dots; slashes would nest. */
	for (char *c = out + strlen(root) + 1; *c; c++)
		if (*c == '/' || *c == '.')
			*c = '-';
	return 0;
}

int pins_find(const char *state_dir, char *out, size_t len)
{
	static const char *const roots[] = {BPFFS, INIT_BPFFS};
	int found[ARRAY_SIZE(roots)];
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		int err = path_below(roots[i], state_dir, path, len < PATH_MAX ? len : PATH_MAX);

		if (err)
			return err;
		found[i] = look_for_bpffs(path);
		if (found[i] == 0) {
			strcpy(out, path);
			return 0;
		}
	}
	/* The first process's may be closed to root, too, with nothing of ours behind it. */
	return found[0] == -EACCES ? -EACCES : -ENOENT;
}

/* A directory that is there already may be all that we are given of a bpffs. */
int pins_locate(const char *state_dir, char *out, size_t len)
{
	const char *root;

	if (pins_find(state_dir, out, len) == 0)
		return 0;
	root = find_bpffs();
	return root ? path_below(root, state_dir, out, len) : -ENODEV;
}

int pins_mkdir(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return log_err(-errno, "%s", path);
	if (lstat(path, &st))
		return log_err(-errno, "%s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
		return log_err(-EPERM, "%s: not a private directory of ours", path);
	return 0;
}

DIR *pins_opendir(const char *path)
{
	_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir)
		take_fd(&fd);
	return dir;
}

bool pins_is_dir(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

void pins_map_path(const char *pin_dir, uint32_t version, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/maps-%u%s%s", pin_dir, version, name[0] ? "/" : "", name);
}

/* "maps" without a number is of a time before there were versions. */
static bool parse_version(const char *name, uint32_t *version)
{
	char end;

	*version = 0;
	return strcmp(name, "maps") == 0 || sscanf(name, "maps-%u%c", version, &end) == 1;
}

uint32_t pins_newest(const char *pin_dir, uint32_t below)
{
	uint32_t version, newest = 0;
	struct dirent *entry;
	DIR *dir = pins_opendir(pin_dir);

	while (dir && (entry = readdir(dir)) != NULL)
		if (parse_version(entry->d_name, &version) && version < below && version > newest)
			newest = version;
	if (dir)
		closedir(dir);
	return newest;
}

static void remove_files(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(fd, entry->d_name, 0);
	if (dir)
		closedir(dir);
	else
		cleanup_close(&fd);
}

void pins_remove_maps(const char *pin_dir, uint32_t first, uint32_t last)
{
	DIR *dir = pins_opendir(pin_dir);
	struct dirent *entry;
	uint32_t version;

	while (dir && (entry = readdir(dir)) != NULL) {
		if (!parse_version(entry->d_name, &version) || version < first || version > last)
			continue;
		remove_files(dirfd(dir), entry->d_name);
		unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	if (dir)
		closedir(dir);
}
