/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "util.h"

#define STRICT 1
#define LOOSE 2

static int open_setting(const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sysctl_get(const char *name)
{
	_close_ int fd = open_setting(name, O_RDONLY);
	char text[16] = "";
	long value;

	if (fd < 0)
		return fd;
	if (read(fd, text, sizeof(text) - 1) < 1)
		return -EIO;
	value = *text >= '0' && *text <= '9' ? strtol(text, NULL, 10) : -1;
	return value >= 0 && value <= INT_MAX ? (int)value : -EINVAL;
}

int sysctl_set(const char *name, int value)
{
	_close_ int fd = open_setting(name, O_WRONLY);
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", value);

	if (fd < 0)
		return fd;
	return write(fd, text, (size_t)len) == len ? 0 : -errno;
}

void sysctl_enable_forwarding(void)
{
	int err;

	if (sysctl_get("ipv4/ip_forward") != 0)
		return;
	err = sysctl_set("ipv4/ip_forward", 1);
	if (err)
		log_warn("net.ipv4.ip_forward is 0 and cannot be set (%s): the host forwards "
			 "nothing",
			 strerror(-err));
	else
		log_info("net.ipv4.ip_forward was 0: switched on");
}

void sysctl_disable_ipv6(const char *ifname)
{
	static const struct {
		const char *name;
		int value;
	} settings[] = {{"accept_ra", 0}, {"disable_ipv6", 1}};
	char name[64 + IF_NAMESIZE];

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		int err;

		snprintf(name, sizeof(name), "ipv6/conf/%s/%s", ifname, settings[i].name);
		err = sysctl_set(name, settings[i].value);
		if (err)
			log_debug("net.%s: %s", name, strerror(-err));
	}
}

void sysctl_loosen_rp_filter(const char *ifname)
{
	char name[64 + IF_NAMESIZE];
	int own, all = sysctl_get("ipv4/conf/all/rp_filter");

	snprintf(name, sizeof(name), "ipv4/conf/%s/rp_filter", ifname);
	own = sysctl_get(name);
	if (own < 0 || (own > all ? own : all) != STRICT)
		return;
	if (sysctl_set(name, LOOSE) == 0)
		log_info("net.ipv4.conf.%s.rp_filter was strict: loose now", ifname);
	else
		log_warn("net.ipv4.conf.%s.rp_filter is strict and cannot be set", ifname);
}
