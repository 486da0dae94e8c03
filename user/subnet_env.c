/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "subnet_env.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "util.h"

/* 0755 whatever the umask: the CNI plugin may run as somebody else. What exists stays as it is. */
static int make_dir(const char *path)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755) ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

static int make_parents(const char *path)
{
	_free_ char *dir = strdup(path);
	int err = 0;

	if (!dir)
		return -ENOMEM;
	for (char *p = dir + 1; err == 0 && dir[0] && (p = strchr(p, '/')); p++) {
		*p = '\0';
		err = make_dir(dir);
		*p = '/';
	}
	return err;
}

static int write_file(const char *path, const char *text)
{
	size_t len = strlen(text);
	_close_ int fd = -1;
	ssize_t n;

	/* What a crash left behind, or anything else by that name, is not written through. */
	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n >= 0 && (size_t)n != len)
		return -ENOSPC;
	return n < 0 || fchmod(fd, 0644) || fsync(fd) ? -errno : 0;
}

static int replace_file(const char *path, const char *tmp, const char *text)
{
	int err = write_file(tmp, text);

	if (err == 0 && rename(tmp, path))
		err = -errno;
	if (err)
		unlink(tmp);
	return err;
}

int subnet_env_write(const char *path, struct prefix4 network, struct prefix4 subnet, uint32_t mtu,
		     bool ip_masq)
{
	char net[PREFIX4_STRLEN], first[INET_ADDRSTRLEN], text[256];
	_free_ char *tmp = NULL;
	int err;

	if (asprintf(&tmp, "%s.tmp", path) < 0) {
		tmp = NULL;
		return log_err(-ENOMEM, "%s", path);
	}
	snprintf(text, sizeof(text),
		 "FLANNEL_NETWORK=%s\n"
		 "FLANNEL_SUBNET=%s/%u\n"
		 "FLANNEL_MTU=%u\n"
		 "FLANNEL_IPMASQ=%s\n",
		 prefix4_format(network, net), ip4_format(subnet.addr + 1, first), subnet.len, mtu,
		 ip_masq ? "true" : "false");
	err = make_parents(path);
	if (err == 0)
		err = replace_file(path, tmp, text);
	return err ? log_err(err, "%s", path) : 0;
}
