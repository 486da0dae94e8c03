/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "reason.h"
#include "util.h"

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A family of one sample without labels. */
static void number(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	family(out, name, type, help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void seconds(FILE *out, const char *name, const char *type, const char *help, double value)
{
	family(out, name, type, help);
	fprintf(out, "%s %.3f\n", name, value);
}

static void label(FILE *out, const char *separator, const char *name, const char *value)
{
	fprintf(out, "%s%s=\"", separator, name);
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			fputs("\\n", out);
		else if (*c == '\\' || *c == '"')
			fprintf(out, "\\%c", *c);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

/* One of the two figures of every counter that has packets. */
static void counters(FILE *out, const char *name, const struct metrics *m, bool bytes)
{
	for (uint32_t key = 0; m->counters && key < WEFT_COUNTER_MAX; key++) {
		const struct weft_counter *counter = &m->counters[key];
		uint32_t verdict = key / WEFT_REASON_MAX % WEFT_VERDICT_MAX;
		uint32_t hook = key / WEFT_REASON_MAX / WEFT_VERDICT_MAX;

		if (!counter->packets)
			continue;
		fputs(name, out);
		label(out, "{", "hook", hook_name(hook));
		label(out, ",", "verdict", verdict_name(verdict));
		label(out, ",", "reason", reason_name(key % WEFT_REASON_MAX));
		fprintf(out, "} %" PRIu64 "\n",
			(uint64_t)(bytes ? counter->bytes : counter->packets));
	}
}

static void packet_families(FILE *out, const struct metrics *m)
{
	family(out, "weft_packets_total", "counter",
	       "Packets met at a hook, by what became of them; a GSO packet counts as one.");
	counters(out, "weft_packets_total", m, false);
	family(out, "weft_bytes_total", "counter",
	       "Bytes of these packets, as long as they were at the hook.");
	counters(out, "weft_bytes_total", m, true);
}

static void map_sample(FILE *out, const char *name, const char *map, uint64_t value)
{
	fputs(name, out);
	label(out, "{", "map", map);
	fprintf(out, "} %" PRIu64 "\n", value);
}

static void map_families(FILE *out, const struct metrics *m)
{
	family(out, "weft_map_entries", "gauge", "Entries in use of a BPF map.");
	for (size_t i = 0; i < m->n_maps; i++)
		if (m->maps[i].entries >= 0)
			map_sample(out, "weft_map_entries", m->maps[i].name,
				   (uint64_t)m->maps[i].entries);
	family(out, "weft_map_max_entries", "gauge", "Entries that a BPF map has room for.");
	for (size_t i = 0; i < m->n_maps; i++)
		map_sample(out, "weft_map_max_entries", m->maps[i].name, m->maps[i].max_entries);
}

static void cluster_families(FILE *out, const struct metrics *m)
{
	number(out, "weft_peers", "gauge", "Other nodes that hold a lease.", m->peers);
	number(out, "weft_peers_resolved", "gauge", "Peers whose next hop's MAC is known.",
	       m->peers_resolved);
	number(out, "weft_leases", "gauge", "Leases in force, this node's own included.",
	       m->leases);
	if (m->lease_expires_s >= 0)
		seconds(out, "weft_lease_expires_seconds", "gauge",
			"Time left of this node's own lease.", m->lease_expires_s);
	number(out, "weft_store_up", "gauge",
	       "1 if the store's latest state could be had and is in force.", m->store_up);
	number(out, "weft_store_refused_total", "counter",
	       "States of the store that could not be read or were refused.", m->store_refused);
}

static void agent_families(FILE *out, const struct metrics *m)
{
	number(out, "weft_ready", "gauge", "1 if /readyz answers 200.", m->ready);
	family(out, "weft_build_info", "gauge", "What this agent is; always 1.");
	fputs("weft_build_info", out);
	label(out, "{", "version", m->version);
	label(out, ",", "datapath", m->datapath);
	label(out, ",", "format", m->format);
	fputs("} 1\n", out);
	seconds(out, "weft_start_time_seconds", "gauge", "When the agent started, since 1970.",
		m->start_time_s);
}

static void process_families(FILE *out, const struct metrics *m)
{
	number(out, "process_resident_memory_bytes", "gauge", "Resident memory of the agent.",
	       m->resident_bytes);
	number(out, "process_open_fds", "gauge", "File descriptors that the agent has open.",
	       m->open_fds);
	seconds(out, "process_cpu_seconds_total", "counter",
		"CPU time of the agent, user and system.", m->cpu_s);
}

int metrics_text(const struct metrics *m, char **text, size_t *len)
{
	_free_ char *buffer = NULL;
	size_t size;
	FILE *out = open_memstream(&buffer, &size);
	bool failed;

	if (!out)
		return -ENOMEM;
	packet_families(out, m);
	map_families(out, m);
	cluster_families(out, m);
	agent_families(out, m);
	process_families(out, m);
	failed = ferror(out);
	if (fclose(out) || failed)
		return -ENOMEM;
	*text = take_ptr(buffer);
	*len = size;
	return 0;
}
