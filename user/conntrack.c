/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "conntrack.h"

#include <errno.h>
#include <fcntl.h>

#include "log.h"
#include "util.h"

#define LIBERAL "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"

bool conntrack_is_strict(void)
{
	char value = '1';
	_close_ int fd = open(LIBERAL, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && read(fd, &value, 1) == 1 && value == '0';
}

int conntrack_set_liberal(bool on)
{
	_close_ int fd = open(LIBERAL, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : log_err(-errno, "%s", LIBERAL);
	return write(fd, on ? "1" : "0", 1) == 1 ? 0 : log_err(-errno, "%s", LIBERAL);
}
