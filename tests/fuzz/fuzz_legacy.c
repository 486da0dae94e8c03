/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A table of the old iptables as the kernel gives it: nothing behind it is read, and its counters,
 * which move with every packet, change no hash.
 */
#include "fuzz.h"

#include "rules_legacy.c"

static struct ipt_get_entries *make(const uint8_t *data, size_t size)
{
	struct ipt_get_entries *table = calloc(1, sizeof(*table) + size);

	CHECK(table);
	table->size = (unsigned int)size;
	if (size)
		memcpy(table->entrytable, data, size);
	return table;
}

/* Where the entries are, by the same chain. */
static size_t entry_at(const struct ipt_get_entries *table, size_t at, struct ipt_entry *out)
{
	if (at + sizeof(*out) > table->size)
		return 0;
	memcpy(out, (const char *)table->entrytable + at, sizeof(*out));
	return out->next_offset >= sizeof(*out) && out->next_offset <= table->size - at
		       ? out->next_offset
		       : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_free_ struct ipt_get_entries *table = make(data, size);
	uint64_t hash = hash_entries(FNV_BASIS, table);
	struct ipt_entry entry;
	size_t n, last = 0, covered = 0;

	for (size_t at = 0; (n = entry_at(table, at, &entry)); at += n) {
		entry.counters.pcnt++;
		entry.counters.bcnt += 77;
		memcpy((char *)table->entrytable + at, &entry, sizeof(entry));
		last = at;
		covered = at + n;
	}
	CHECK(hash_entries(FNV_BASIS, table) == hash);
	if (covered) {
		((char *)table->entrytable)[last] ^= 1; /* a rule's source address */
		CHECK(hash_entries(FNV_BASIS, table) != hash);
	}
	return 0;
}
