/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rules_legacy.h"

#include <errno.h>
#include <limits.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

#define TABLES "/proc/net/ip_tables_names"
#define MODULES "/sys/module/"
/* FNV-1a, 64 bits (draft-eastlake-fnv). */
#define FNV_BASIS 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ byte[i]) * FNV_PRIME;
	return hash;
}

/* Counters move with every packet; everything else of an entry is its rule. */
static uint64_t hash_entries(uint64_t hash, const struct ipt_get_entries *table)
{
	const char *start = (const char *)table->entrytable;

	for (size_t at = 0; at + sizeof(struct ipt_entry) <= table->size;) {
		struct ipt_entry entry;

		memcpy(&entry, start + at, sizeof(entry));
		if (entry.next_offset < sizeof(entry) || entry.next_offset > table->size - at)
			break;
		memset(&entry.counters, 0, sizeof(entry.counters));
		hash = hash_bytes(hash, &entry, sizeof(entry));
		hash = hash_bytes(hash, start + at + sizeof(entry),
				  entry.next_offset - sizeof(entry));
		at += entry.next_offset;
	}
	return hash;
}

/* The kernel refuses when the table has changed its size since it was asked: a change, too. */
static uint64_t hash_table(uint64_t hash, int fd, const char name[XT_TABLE_MAXNAMELEN])
{
	struct ipt_getinfo info = {};
	socklen_t len = sizeof(info);
	_free_ struct ipt_get_entries *table = NULL;

	memcpy(info.name, name, sizeof(info.name));
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &len))
		return hash;
	len = sizeof(*table) + info.size;
	table = calloc(1, len);
	if (!table)
		return hash;
	memcpy(table->name, name, sizeof(table->name));
	table->size = info.size;
	hash = hash_bytes(hash, name, strlen(name) + 1);
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, table, &len))
		return hash;
	return hash_entries(hash, table);
}

static uint64_t hash_listed(uint64_t hash, int fd, FILE *list)
{
	char name[XT_TABLE_MAXNAMELEN] = "";

	while (fscanf(list, "%31s", name) == 1)
		hash = hash_table(hash, fd, name);
	return hash;
}

/*
 * Without the list, which is root's: whoever uses a table has its module loaded. To ask for a table
 * that another network namespace uses makes an empty one here, so it is only these.
 */
static uint64_t hash_modules(uint64_t hash, int fd)
{
	static const char names[][XT_TABLE_MAXNAMELEN] = {"filter", "mangle", "nat", "raw",
							  "security"};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), MODULES "iptable_%s", names[i]);
		if (access(path, F_OK) == 0)
			hash = hash_table(hash, fd, names[i]);
	}
	return hash;
}

int rules_legacy_hash(uint64_t *hash)
{
	_fclose_ FILE *list = fopen(TABLES, "re");
	int err = list ? 0 : -errno;
	_close_ int fd = -1;

	if (err == -ENOENT) {
		*hash = 0;
		return 0;
	}
	/* Built into the kernel its tables have no modules. */
	if (err && access(MODULES "ip_tables", F_OK))
		return err;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		return -errno;
	*hash = list ? hash_listed(FNV_BASIS, fd, list) : hash_modules(FNV_BASIS, fd);
	return 0;
}
