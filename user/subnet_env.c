/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "subnet_env.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "log.h"
#include "util.h"

/* 0755 whatever the umask: the CNI plugin may run as somebody else. What exists stays as it is. */
static int make_dir(const char *path)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755) ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

/* Pods get the addresses that are read from there, so nobody else may have it in hand. */
static int make_parents(const char *path)
{
	_free_ char *dir = strdup(path);
	char *slash;
	int err = 0;

	if (!dir)
		return -ENOMEM;
	for (char *p = dir + 1; err == 0 && dir[0] && (p = strchr(p, '/')); p++) {
		*p = '\0';
		err = make_dir(dir);
		*p = '/';
	}
	slash = strrchr(dir, '/');
	if (err || !slash || slash == dir)
		return err;
	*slash = '\0';
	err = file_check_dir(dir);
	return err == -EPERM ? log_err(err, "%s: others may write there", dir) : err;
}

int subnet_env_write(const char *path, struct prefix4 network, struct prefix4 subnet, uint32_t mtu,
		     bool ip_masq)
{
	char net[PREFIX4_STRLEN], first[INET_ADDRSTRLEN], text[256];
	int err;

	snprintf(text, sizeof(text),
		 "FLANNEL_NETWORK=%s\n"
		 "FLANNEL_SUBNET=%s/%u\n"
		 "FLANNEL_MTU=%u\n"
		 "FLANNEL_IPMASQ=%s\n",
		 prefix4_format(network, net), ip4_format(subnet.addr + 1, first), subnet.len, mtu,
		 ip_masq ? "true" : "false");
	err = make_parents(path);
	if (err == 0)
		err = file_replace(path, text, 0644);
	return err ? log_err(err, "%s", path) : 0;
}

/* KEY=VALUE as a shell would take it: maybe quoted, with a comment behind. NULL: another key. */
static char *value_of(char *line, const char *key)
{
	size_t n = strlen(key);
	char *value = line + strspn(line, " \t");

	if (strncmp(value, key, n) || value[n] != '=')
		return NULL;
	value += n + 1;
	value += strspn(value, "\"' \t");
	value[strcspn(value, "\"' \t\r\n#,")] = '\0';
	return value;
}

int subnet_env_read(const char *path, struct prefix4 *subnet)
{
	_fclose_ FILE *file = NULL;
	_free_ char *line = NULL;
	size_t size = 0;
	int err = file_open_own(path, 0, &file);

	if (err && err != -ENOENT)
		log_warn("%s: not read: %s", path, strerror(-err));
	while (file && getline(&line, &size, file) >= 0) {
		const char *value = value_of(line, "FLANNEL_SUBNET");

		if (value && prefix4_parse(value, subnet) == 0)
			return 0;
	}
	return -ENOENT;
}
