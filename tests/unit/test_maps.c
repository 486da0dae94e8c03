/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What routes and peers come to in real maps. Skipped where no map can be made. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "datapath.h"
#include "maps.h"
#include "util.h"

#define NETWORK 0x0af40000 /* 10.244.0.0/16 in cells of a /24 */
#define SHIFT 8
#define PREFIXES 64 /* that map takes so many */
#define PEER_A 0xc0000202 /* 192.0.2.2 */
#define PEER_B 0xc0000203

static struct map_fds fds;
static struct maps *maps;
static uint8_t shift; /* by which a reader of the maps finds cells */

static int make(enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t n, uint32_t flags)
{
	DECLARE_LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);

	return bpf_map_create(type, "test", key, value, n, &opts);
}

static int make_mapped(uint32_t value, uint32_t n)
{
	return make(BPF_MAP_TYPE_ARRAY, 4, value, n, BPF_F_MMAPABLE);
}

static int set_up(void **state)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

	(void)state;
	setrlimit(RLIMIT_MEMLOCK, &all);
	fds = (struct map_fds){
		.state = make_mapped(sizeof(struct weft_state), 1),
		.routes = make_mapped(4, WEFT_MAX_ROUTES),
		.prefixes = make(BPF_MAP_TYPE_LPM_TRIE, sizeof(struct weft_prefix), 4, PREFIXES,
				 BPF_F_NO_PREALLOC),
		.peers = make_mapped(sizeof(struct weft_peer), WEFT_MAX_PEERS),
		.members = make(BPF_MAP_TYPE_HASH, 4, 4, 2 * WEFT_MAX_ROUTES, BPF_F_NO_PREALLOC),
		.endpoints = make_mapped(sizeof(struct weft_endpoint), WEFT_MAX_ENDPOINTS),
		.counters = -1,
	};
	maps = NULL;
	shift = SHIFT;
	return fds.state < 0 ? 0 : maps_open(&fds, &maps);
}

static int tear_down(void **state)
{
	int *all[] = {&fds.state, &fds.routes,	&fds.prefixes,
		      &fds.peers, &fds.members, &fds.endpoints};

	(void)state;
	maps_close(maps);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		cleanup_close(all[i]);
	return 0;
}

#define NEED_MAPS() \
	do { \
		if (!maps) \
			skip(); \
	} while (0)

static struct datapath_route route(uint32_t third_byte, uint32_t public_ip)
{
	return (struct datapath_route){
		.addr = NETWORK + (third_byte << 8), .len = 24, .public_ip = public_ip};
}

/* Longer than a cell */
static struct datapath_route half(uint32_t third_byte, uint32_t public_ip)
{
	return (struct datapath_route){
		.addr = NETWORK + (third_byte << 8), .len = 25, .public_ip = public_ip};
}

static void set_routes(const struct datapath_route *routes, size_t n)
{
	assert_int_equal(maps_set_routes(maps, NETWORK, SHIFT, routes, n), 0);
}

static void set_peer(uint32_t public_ip, uint8_t mac)
{
	const struct weft_peer peer = {
		.daddr = htonl(public_ip), .ifindex = 1, .eth_dst = {2, mac}};

	assert_int_equal(maps_set_peer(maps, public_ip, &peer), 0);
}

static uint32_t slot_at(const struct datapath_route *r)
{
	struct weft_prefix key = {.prefixlen = 32, .addr = htonl(r->addr)};
	uint32_t cell = (r->addr - NETWORK) >> shift, slot = 0;

	assert_int_equal(bpf_map_lookup_elem(fds.routes, &cell, &slot), 0);
	if (slot == WEFT_ROUTE_LPM)
		assert_int_equal(bpf_map_lookup_elem(fds.prefixes, &key, &slot), 0);
	return slot;
}

/* The route leads to its owner's header, whose MAC ends so; 0: one that is not resolved. */
static void leads(const struct datapath_route *r, uint8_t mac)
{
	uint32_t slot = slot_at(r);
	struct weft_peer peer;

	assert_int_not_equal(slot, WEFT_ROUTE_NONE);
	assert_int_equal(bpf_map_lookup_elem(fds.peers, &slot, &peer), 0);
	assert_int_equal(ntohl(peer.daddr), r->public_ip);
	assert_int_equal(peer.eth_dst[1], mac);
}

static void peers_are(uint32_t n)
{
	struct datapath_fill fill;

	maps_fill(maps, &fill);
	assert_int_equal(fill.peers, n);
}

static void all_leases_follow_their_peer(void **state)
{
	const struct datapath_route routes[] = {route(2, PEER_A), route(3, PEER_B), half(4, PEER_A),
						route(5, PEER_A), half(6, PEER_A)};

	(void)state;
	NEED_MAPS();
	set_routes(routes, ARRAY_SIZE(routes));
	peers_are(2);
	for (uint8_t mac = 1; mac < 4; mac++) {
		set_peer(PEER_A, mac);
		set_peer(PEER_B, 10 + mac);
		for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
			leads(&routes[i], routes[i].public_ip == PEER_A ? mac : 10 + mac);
	}
}

/* As a node gets a second subnet, changes, and loses the first. */
static void lease_comes_and_goes(void **state)
{
	const struct datapath_route routes[] = {route(2, PEER_A), route(3, PEER_A),
						route(4, PEER_B)};

	(void)state;
	NEED_MAPS();
	set_routes(routes, 1);
	set_peer(PEER_A, 1);
	set_routes(routes, 2);
	leads(&routes[0], 1);
	leads(&routes[1], 1);
	set_peer(PEER_A, 2);
	leads(&routes[0], 2);
	leads(&routes[1], 2);
	set_routes(routes + 1, 2);
	assert_int_equal(slot_at(&routes[0]), WEFT_ROUTE_NONE);
	leads(&routes[1], 2);
	set_peer(PEER_A, 3);
	leads(&routes[1], 3);
	leads(&routes[2], 0);
}

/* Slots come back once: where nearly all are in use again, each peer has one of its own. */
static void slots_are_nobody_elses(void **state)
{
	static struct datapath_route routes[WEFT_MAX_ROUTES];
	static bool used[WEFT_MAX_PEERS];

	(void)state;
	NEED_MAPS();
	routes[0] = route(0, PEER_A);
	routes[1] = route(1, PEER_A);
	for (int i = 0; i < WEFT_MAX_PEERS - WEFT_MAX_ROUTES; i++) {
		set_routes(routes, 2);
		set_peer(PEER_A, (uint8_t)(1 + i % 250));
	}
	for (uint32_t i = 0; i < WEFT_MAX_ROUTES; i++)
		routes[i] = route(i, PEER_B + i);
	set_routes(routes, WEFT_MAX_ROUTES);
	peers_are(WEFT_MAX_ROUTES);
	for (uint32_t i = 0; i < WEFT_MAX_ROUTES; i++) {
		leads(&routes[i], 0);
		assert_false(used[slot_at(&routes[i])]);
		used[slot_at(&routes[i])] = true;
	}
}

static void set_config(uint8_t cell_shift)
{
	const struct weft_config config = {
		.flags = WEFT_CONFIG_READY, .network = NETWORK, .cell_shift = cell_shift};

	assert_int_equal(maps_set_config(maps, &config), 0);
}

/* Under the old configuration and the new one alike, until the latter is in force. */
static void cells_of_another_size_lead_nobody_astray(void **state)
{
	const struct datapath_route routes[] = {route(2, PEER_A), route(3, PEER_B),
						half(4, PEER_A)};
	const uint8_t shifts[] = {SHIFT, SHIFT - 2};

	(void)state;
	NEED_MAPS();
	set_config(SHIFT);
	set_routes(routes, 2);
	assert_int_equal(maps_set_routes(maps, NETWORK, SHIFT - 2, routes, 3), 1);
	for (uint8_t mac = 1; mac < 4; mac++) {
		set_peer(PEER_A, mac);
		for (size_t i = 0; i < 6; i++) {
			shift = shifts[i % 2];
			leads(&routes[i / 2], routes[i / 2].public_ip == PEER_A ? mac : 0);
		}
	}
	set_config(SHIFT - 2);
	assert_int_equal(maps_set_routes(maps, NETWORK, SHIFT - 2, routes, 3), 0);
	shift = SHIFT - 2;
	for (size_t i = 0; i < 3; i++)
		leads(&routes[i], routes[i].public_ip == PEER_A ? 3 : 0);
	assert_int_equal(bpf_map_get_next_key(fds.prefixes, NULL, &(struct weft_prefix){}),
			 -ENOENT);
}

/* No room for its prefixes */
static void failed_plan_leaves_no_trace(void **state)
{
	static struct datapath_route routes[PREFIXES + 1];

	(void)state;
	NEED_MAPS();
	for (uint32_t i = 0; i < ARRAY_SIZE(routes); i++)
		routes[i] = half(i, PEER_A);
	assert_int_equal(maps_set_routes(maps, NETWORK, SHIFT, routes, ARRAY_SIZE(routes)),
			 -ENOSPC);
	peers_are(0);
	assert_int_equal(slot_at(&routes[0]), WEFT_ROUTE_NONE);
	assert_int_equal(maps_set_peer(maps, PEER_A, &(struct weft_peer){}), -ENOENT);
	set_routes(routes, PREFIXES);
	set_peer(PEER_A, 1);
	leads(&routes[0], 1);
	leads(&routes[PREFIXES - 1], 1);
}

static size_t count_prefixes(void)
{
	struct weft_prefix key, next;
	size_t n = 0;

	for (int err = bpf_map_get_next_key(fds.prefixes, NULL, &next); err == 0;
	     err = bpf_map_get_next_key(fds.prefixes, &key, &next)) {
		key = next;
		n++;
	}
	return n;
}

/* What was written before there was no room any more: moved to a new peer, and new. */
static void failed_plan_moves_nothing(void **state)
{
	static struct datapath_route routes[PREFIXES + 1], moved[PREFIXES + 1];

	(void)state;
	NEED_MAPS();
	for (uint32_t i = 0; i < ARRAY_SIZE(routes); i++) {
		routes[i] = half(i, PEER_A);
		moved[i] = half(i, PEER_B);
	}
	set_routes(routes, 2);
	set_peer(PEER_A, 1);
	assert_int_equal(maps_set_routes(maps, NETWORK, SHIFT, moved, ARRAY_SIZE(moved)), -ENOSPC);
	leads(&routes[0], 1);
	leads(&routes[1], 1);
	assert_int_equal(count_prefixes(), 2);
	/* Had its slot gone back while something led to it, this would be there now. */
	routes[2].public_ip = PEER_B + 1;
	set_routes(routes, 3);
	set_peer(PEER_B + 1, 2);
	leads(&routes[0], 1);
	leads(&routes[2], 2);
	assert_int_equal(count_prefixes(), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_leases_follow_their_peer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lease_comes_and_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(slots_are_nobody_elses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cells_of_another_size_lead_nobody_astray, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(failed_plan_leaves_no_trace, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failed_plan_moves_nothing, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
