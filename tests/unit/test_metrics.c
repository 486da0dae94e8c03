/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The text that Prometheus reads, whole: what a snapshot becomes, and what is left out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics.h"

static struct weft_counter counters[WEFT_COUNTER_MAX];

static void set_counter(uint32_t key, uint64_t packets, uint64_t bytes)
{
	counters[key] = (struct weft_counter){.packets = packets, .bytes = bytes};
}

/* The text that is the pieces one behind the other, up to NULL. */
static void assert_pieces(const char *text, const char *const *pieces)
{
	char expected[8192] = "";

	for (size_t i = 0, used = 0; pieces[i]; used += strlen(pieces[i++]))
		snprintf(expected + used, sizeof(expected) - used, "%s", pieces[i]);
	assert_string_equal(text, expected);
}

static char *text_of(const struct metrics *m)
{
	char *text = NULL;
	size_t len = 0;

	assert_int_equal(metrics_text(m, &text, &len), 0);
	assert_int_equal(strlen(text), len);
	return text;
}

#define FAMILY(name, type, help) "# HELP " name " " help "\n# TYPE " name " " type "\n"
#define PACKETS \
	FAMILY("weft_packets_total", "counter", \
	       "Packets met at a hook, by what became of them; a GSO packet counts as one.")
#define BYTES \
	FAMILY("weft_bytes_total", "counter", \
	       "Bytes of these packets, as long as they were at the hook.")
#define ENTRIES FAMILY("weft_map_entries", "gauge", "Entries in use of a BPF map.")
#define MAX_ENTRIES FAMILY("weft_map_max_entries", "gauge", "Entries that a BPF map has room for.")
#define PEERS FAMILY("weft_peers", "gauge", "Other nodes that hold a lease.")
#define RESOLVED FAMILY("weft_peers_resolved", "gauge", "Peers whose next hop's MAC is known.")
#define LEASES FAMILY("weft_leases", "gauge", "Leases in force, this node's own included.")
#define EXPIRES FAMILY("weft_lease_expires_seconds", "gauge", "Time left of this node's own lease.")
#define STORE_UP \
	FAMILY("weft_store_up", "gauge", \
	       "1 if the store's latest state could be had and is in force.")
#define REFUSED \
	FAMILY("weft_store_refused_total", "counter", \
	       "States of the store that could not be read or were refused.")
#define READY FAMILY("weft_ready", "gauge", "1 if /readyz answers 200.")
#define BUILD FAMILY("weft_build_info", "gauge", "What this agent is; always 1.")
#define STARTED FAMILY("weft_start_time_seconds", "gauge", "When the agent started, since 1970.")
#define RESIDENT FAMILY("process_resident_memory_bytes", "gauge", "Resident memory of the agent.")
#define FDS FAMILY("process_open_fds", "gauge", "File descriptors that the agent has open.")
#define CPU \
	FAMILY("process_cpu_seconds_total", "counter", "CPU time of the agent, user and system.")

static const char *const all_text[] = {
	PACKETS,
	"weft_packets_total{hook=\"port\",verdict=\"fast\",reason=\"ok\"} 10\n",
	"weft_packets_total{hook=\"uplink\",verdict=\"drop\",reason=\"unknown_peer\"} "
	"18446744073709551615\n",
	"weft_packets_total{hook=\"socket\",verdict=\"drop\",reason=\"disabled\"} 1\n",
	BYTES,
	"weft_bytes_total{hook=\"port\",verdict=\"fast\",reason=\"ok\"} 1500\n",
	"weft_bytes_total{hook=\"uplink\",verdict=\"drop\",reason=\"unknown_peer\"} 0\n",
	"weft_bytes_total{hook=\"socket\",verdict=\"drop\",reason=\"disabled\"} 60\n",
	ENTRIES,
	"weft_map_entries{map=\"routes\"} 255\n",
	"weft_map_entries{map=\"peers\"} 0\n",
	MAX_ENTRIES,
	"weft_map_max_entries{map=\"approvals\"} 262144\n",
	"weft_map_max_entries{map=\"routes\"} 65536\n",
	"weft_map_max_entries{map=\"peers\"} 66559\n",
	PEERS "weft_peers 2\n",
	RESOLVED "weft_peers_resolved 1\n",
	LEASES "weft_leases 3\n",
	EXPIRES "weft_lease_expires_seconds 86399.500\n",
	STORE_UP "weft_store_up 1\n",
	REFUSED "weft_store_refused_total 4\n",
	READY "weft_ready 1\n",
	BUILD "weft_build_info{version=\"v1\",datapath=\"bpf\",format=\"udp\"} 1\n",
	STARTED "weft_start_time_seconds 1700000000.250\n",
	RESIDENT "process_resident_memory_bytes 8388608\n",
	FDS "process_open_fds 33\n",
	CPU "process_cpu_seconds_total 0.125\n",
	NULL,
};

static const char *const nothing_text[] = {
	PACKETS BYTES ENTRIES MAX_ENTRIES,
	PEERS "weft_peers 0\n",
	RESOLVED "weft_peers_resolved 0\n",
	LEASES "weft_leases 0\n",
	STORE_UP "weft_store_up 0\n",
	REFUSED "weft_store_refused_total 0\n",
	READY "weft_ready 0\n",
	BUILD "weft_build_info{version=\"v1\",datapath=\"none\",format=\"udp\"} 1\n",
	STARTED "weft_start_time_seconds 0.000\n",
	RESIDENT "process_resident_memory_bytes 0\n",
	FDS "process_open_fds 0\n",
	CPU "process_cpu_seconds_total 0.000\n",
	NULL,
};

static void test_all(void **state)
{
	const struct metrics m = {
		.counters = counters,
		.maps = {{"approvals", -1, 262144}, {"routes", 255, 65536}, {"peers", 0, 66559}},
		.n_maps = 3,
		.peers = 2,
		.peers_resolved = 1,
		.leases = 3,
		.lease_expires_s = 86399.5,
		.store_up = true,
		.store_refused = 4,
		.ready = true,
		.version = "v1",
		.datapath = "bpf",
		.format = "udp",
		.start_time_s = 1700000000.25,
		.resident_bytes = 8388608,
		.open_fds = 33,
		.cpu_s = 0.125,
	};
	char *text;

	(void)state;
	memset(counters, 0, sizeof(counters));
	set_counter(WEFT_COUNTER(WEFT_HOOK_PORT, WEFT_FAST, WEFT_R_OK), 10, 1500);
	set_counter(WEFT_COUNTER(WEFT_HOOK_UPLINK, WEFT_DROP, WEFT_R_UNKNOWN_PEER), UINT64_MAX, 0);
	set_counter(WEFT_COUNTER_MAX - 1, 1, 60);
	/* Bytes of no packets are none: as in `weft stats -j`. */
	set_counter(WEFT_COUNTER(WEFT_HOOK_TUN, WEFT_SLOW, WEFT_R_OK), 0, 60);
	text = text_of(&m);
	assert_pieces(text, all_text);
	free(text);
}

/* An agent that has only begun: no counters, no maps, no lease that expires. */
static void test_nothing(void **state)
{
	const struct metrics m = {
		.lease_expires_s = -1,
		.version = "v1",
		.datapath = "none",
		.format = "udp",
	};
	char *text = text_of(&m);

	(void)state;
	assert_pieces(text, nothing_text);
	free(text);
}

/* A lease may be about to end, which is not the same as one that does not. */
static void test_expired(void **state)
{
	const struct metrics m = {.version = "", .datapath = "", .format = ""};
	char *text = text_of(&m);

	(void)state;
	assert_non_null(strstr(text, "\nweft_lease_expires_seconds 0.000\n"));
	free(text);
}

static void test_escaping(void **state)
{
	const struct metrics m = {
		.maps = {{"m\\", 1, 2}},
		.n_maps = 1,
		.version = "a\"b\\c\nd{}, =é",
		.datapath = "\\\"",
		.format = "\n\n",
	};
	char *text = text_of(&m);

	(void)state;
	assert_non_null(strstr(text, "\nweft_build_info{version=\"a\\\"b\\\\c\\nd{}, =é\","
				     "datapath=\"\\\\\\\"\",format=\"\\n\\n\"} 1\n"));
	assert_non_null(strstr(text, "\nweft_map_entries{map=\"m\\\\\"} 1\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_escaping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
