/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "subnet_env.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "util.h"

static int make_parent(const char *path)
{
	_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	return mkdir(dirname(copy), 0755) && errno != EEXIST ? -errno : 0;
}

static int write_file(const char *path, const char *text)
{
	_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	size_t len = strlen(text);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0644) || write(fd, text, len) != (ssize_t)len || fsync(fd))
		return errno ? -errno : -EIO;
	return 0;
}

int subnet_env_write(const char *path, struct prefix4 network, struct prefix4 subnet, uint32_t mtu,
		     bool ip_masq)
{
	char net[PREFIX4_STRLEN], first[INET_ADDRSTRLEN];
	_free_ char *text = NULL, *tmp = NULL;
	int err;

	if (asprintf(
		    &text,
		    "FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s/%u\nFLANNEL_MTU=%u\nFLANNEL_IPMASQ=%s\n",
		    prefix4_format(network, net), ip4_format(subnet.addr + 1, first), subnet.len,
		    mtu, ip_masq ? "true" : "false") < 0 ||
	    asprintf(&tmp, "%s.tmp", path) < 0)
		return -ENOMEM;
	err = make_parent(path);
	if (err == 0)
		err = write_file(tmp, text);
	if (err == 0 && rename(tmp, path))
		err = -errno;
	return err ? log_err(err, "%s", path) : 0;
}
