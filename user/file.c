/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
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
