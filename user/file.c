/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_file(const char *path, const char *text, mode_t mode)
{
	_close_ int fd = -1;
	int err;

	/* What a crash left behind, or anything else by that name, is not written through. */
	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	err = write_all(fd, text, strlen(text));
	return err || (!fchmod(fd, mode) && !fsync(fd)) ? err : -errno;
}

int file_replace(const char *path, const char *text, mode_t mode)
{
	_free_ char *tmp = NULL;
	int err;

	if (asprintf(&tmp, "%s.tmp", path) < 0) {
		tmp = NULL;
		return -ENOMEM;
	}
	err = write_file(tmp, text, mode);
	if (err == 0 && rename(tmp, path))
		err = -errno;
	if (err)
		unlink(tmp);
	return err;
}

static bool is_trusted(const struct stat *st, uid_t owner, mode_t others)
{
	return (st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == owner) &&
	       !(st->st_mode & others);
}

int file_open_own(const char *path, uid_t owner, FILE **out)
{
	_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *file;

	if (fd < 0)
		return errno == ELOOP ? -EPERM : -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || !is_trusted(&st, owner, S_IWGRP | S_IWOTH))
		return -EPERM;
	file = fdopen(fd, "r");
	if (!file)
		return -ENOMEM;
	take_fd(&fd);
	*out = file;
	return 0;
}

/* Where all may write, as in /tmp, the sticky bit keeps each from the others' files. */
int file_check_dir(const char *dir)
{
	struct stat st;

	if (stat(dir, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return is_trusted(&st, 0, st.st_mode & S_ISVTX ? 0 : S_IWGRP | S_IWOTH) ? 0 : -EPERM;
}
