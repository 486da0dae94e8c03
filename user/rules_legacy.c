/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rules_legacy.h"

#include <linux/netfilter_ipv4/ip_tables.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

#define TABLES "/proc/net/ip_tables_names"
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

uint64_t rules_legacy_hash(void)
{
	_fclose_ FILE *tables = fopen(TABLES, "re");
	char name[XT_TABLE_MAXNAMELEN] = "";
	uint64_t hash = FNV_BASIS;
	_close_ int fd = -1;

	if (!tables || fscanf(tables, "%31s", name) != 1)
		return 0;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		return 0;
	do
		hash = hash_table(hash, fd, name);
	while (fscanf(tables, "%31s", name) == 1);
	return hash;
}
