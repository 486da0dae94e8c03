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

static int reserve(struct rules_legacy *look, size_t more)
{
	uint64_t *packets =
		reallocarray(look->packets, look->n_rules + more + 1, sizeof(*look->packets));

	if (!packets)
		return -ENOMEM;
	look->packets = packets;
	return 0;
}

/* Counters move with every packet; everything else of an entry is its rule. */
static int add_entries(struct rules_legacy *look, const struct ipt_get_entries *table)
{
	const char *start = (const char *)table->entrytable;

	if (reserve(look, table->size / sizeof(struct ipt_entry)))
		return -ENOMEM;
	for (size_t at = 0; at + sizeof(struct ipt_entry) <= table->size;) {
		struct ipt_entry entry;

		memcpy(&entry, start + at, sizeof(entry));
		if (entry.next_offset < sizeof(entry) || entry.next_offset > table->size - at)
			break;
		look->packets[look->n_rules++] = entry.counters.pcnt;
		memset(&entry.counters, 0, sizeof(entry.counters));
		look->hash = hash_bytes(look->hash, &entry, sizeof(entry));
		look->hash = hash_bytes(look->hash, start + at + sizeof(entry),
					entry.next_offset - sizeof(entry));
		at += entry.next_offset;
	}
	return 0;
}

/* The kernel refuses when the table has changed its size since it was asked: a change, too. */
static int add_table(struct rules_legacy *look, int fd, const char name[XT_TABLE_MAXNAMELEN])
{
	struct ipt_getinfo info = {};
	socklen_t len = sizeof(info);
	_free_ struct ipt_get_entries *table = NULL;

	memcpy(info.name, name, sizeof(info.name));
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &len))
		return 0;
	len = sizeof(*table) + info.size;
	table = calloc(1, len);
	if (!table)
		return -ENOMEM;
	memcpy(table->name, name, sizeof(table->name));
	table->size = info.size;
	look->hash = hash_bytes(look->hash, name, strlen(name) + 1);
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, table, &len))
		return 0;
	return add_entries(look, table);
}

static int add_listed(struct rules_legacy *look, int fd, FILE *list)
{
	char name[XT_TABLE_MAXNAMELEN] = "";
	int err = 0;

	while (err == 0 && fscanf(list, "%31s", name) == 1)
		err = add_table(look, fd, name);
	return err;
}

/*
 * Without the list, which is root's: whoever uses a table has its module loaded. To ask for a table
 * that another network namespace uses makes an empty one here, so it is only these.
 */
static int add_modules(struct rules_legacy *look, int fd)
{
	static const char names[][XT_TABLE_MAXNAMELEN] = {"filter", "mangle", "nat", "raw",
							  "security"};
	char path[PATH_MAX];
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), MODULES "iptable_%s", names[i]);
		if (access(path, F_OK) == 0)
			err = add_table(look, fd, names[i]);
	}
	return err;
}

static int look_at_tables(struct rules_legacy *look)
{
	_fclose_ FILE *list = fopen(TABLES, "re");
	int err = list ? 0 : -errno;
	_close_ int fd = -1;

	if (err == -ENOENT)
		return 0;
	/* Built into the kernel its tables have no modules. */
	if (err && access(MODULES "ip_tables", F_OK))
		return err;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		return -errno;
	look->hash = FNV_BASIS;
	return list ? add_listed(look, fd, list) : add_modules(look, fd);
}

/* Only a rule that was made anew has met fewer packets than before. */
static bool same(const struct rules_legacy *a, const struct rules_legacy *b)
{
	if (a->hash != b->hash || a->n_rules != b->n_rules)
		return false;
	for (size_t i = 0; i < a->n_rules; i++) {
		if (b->packets[i] < a->packets[i])
			return false;
	}
	return true;
}

int rules_legacy_look(struct rules_legacy *seen)
{
	struct rules_legacy look = {};
	int changed, err = look_at_tables(&look);

	if (err) {
		rules_legacy_free(&look);
		return err;
	}
	changed = !same(seen, &look);
	rules_legacy_free(seen);
	*seen = look;
	return changed;
}

void rules_legacy_free(struct rules_legacy *seen)
{
	free(seen->packets);
	*seen = (struct rules_legacy){};
}
