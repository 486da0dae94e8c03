/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A table of the old iptables as the kernel gives it: nothing behind it is read, counters that have
 * grown change nothing, one that has gone back does, and so does a rule.
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

static struct rules_legacy look(const struct ipt_get_entries *table)
{
	struct rules_legacy seen = {.hash = FNV_BASIS};

	CHECK(add_entries(&seen, table) == 0);
	return seen;
}

static bool as_before(const struct rules_legacy *before, const struct ipt_get_entries *table)
{
	struct rules_legacy now = look(table);
	bool is_same = same(before, &now);

	rules_legacy_free(&now);
	return is_same;
}

static void set_packets(struct ipt_get_entries *table, size_t at, uint64_t packets)
{
	struct ipt_entry entry;

	memcpy(&entry, (char *)table->entrytable + at, sizeof(entry));
	entry.counters = (struct xt_counters){.pcnt = packets, .bcnt = 77 * packets};
	memcpy((char *)table->entrytable + at, &entry, sizeof(entry));
}

/* seen: before every counter was set */
static void check_changes(const struct rules_legacy *seen, struct ipt_get_entries *table,
			  size_t last)
{
	struct rules_legacy before = look(table);

	CHECK(before.hash == seen->hash);
	set_packets(table, last, 6);
	CHECK(!as_before(&before, table));
	set_packets(table, last, 8);
	CHECK(as_before(&before, table));
	((char *)table->entrytable)[last] ^= 1; /* a rule's source address */
	CHECK(!as_before(&before, table));
	rules_legacy_free(&before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_free_ struct ipt_get_entries *table = make(data, size);
	struct rules_legacy seen = look(table);
	struct ipt_entry entry;
	size_t n, last = 0, covered = 0;

	for (size_t at = 0; (n = entry_at(table, at, &entry)); at += n) {
		set_packets(table, at, 7);
		last = at;
		covered++;
	}
	CHECK(seen.n_rules == covered);
	if (covered)
		check_changes(&seen, table, last);
	rules_legacy_free(&seen);
	return 0;
}
