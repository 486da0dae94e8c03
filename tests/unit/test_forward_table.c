/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The slow path's table: lookups against a linear search, its verdict on each kind of packet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "forward.h"
#include "ip4_packet.h"
#include "util.h"

#define OWN ADDR(192, 0, 2, 1)
#define PEER_A ADDR(192, 0, 2, 2)
#define PEER_B ADDR(192, 0, 2, 3)
#define STRANGER ADDR(198, 51, 100, 1)

static struct forward_table *table_make(bool peer_check)
{
	struct forward_table *table = forward_table_new(2, 3);

	assert_non_null(table);
	table->network = (struct prefix4){ADDR(10, 244, 0, 0), 16};
	table->subnet = (struct prefix4){ADDR(10, 244, 1, 0), 24};
	table->port = 8285;
	table->peer_check = peer_check;
	table->routes[0] = (struct forward_route){
		.subnet = {ADDR(10, 244, 2, 0), 24}, .public_ip = PEER_A, .mtu = 1500};
	table->routes[1] = (struct forward_route){
		.subnet = {ADDR(10, 244, 3, 128), 25}, .public_ip = PEER_B, .mtu = 1500};
	table->members[0] = OWN;
	table->members[1] = PEER_A;
	table->members[2] = PEER_B;
	return table;
}

static void cleanup_table(struct forward_table **table)
{
	forward_table_free(*table);
}

#define _table_ __attribute__((cleanup(cleanup_table)))

static void new_refuses_absurd_sizes(void **state)
{
	(void)state;
	assert_null(forward_table_new(SIZE_MAX / 2, 0));
	assert_null(forward_table_new(0, SIZE_MAX / 2));
	assert_null(forward_table_new(SIZE_MAX / 16, SIZE_MAX / 4));
}

static void empty_table_finds_nothing(void **state)
{
	_table_ struct forward_table *table = forward_table_new(0, 0);

	(void)state;
	assert_non_null(table);
	assert_null(forward_lookup(table, 0));
	assert_null(forward_lookup(table, UINT32_MAX));
	assert_false(forward_is_member(table, 0));
}

/* Prefixes of mixed lengths with gaps; every address next to a boundary. */
static void lookup_agrees_with_linear_search(void **state)
{
	static const struct prefix4 prefixes[] = {
		{ADDR(0, 0, 0, 0), 8},	   {ADDR(10, 0, 0, 0), 24},   {ADDR(10, 0, 1, 0), 25},
		{ADDR(10, 0, 1, 192), 26}, {ADDR(10, 0, 2, 7), 32},   {ADDR(10, 0, 2, 8), 32},
		{ADDR(10, 1, 0, 0), 16},   {ADDR(172, 16, 0, 0), 12}, {ADDR(255, 255, 255, 0), 24},
	};

	(void)state;
	for (size_t n = 0; n <= ARRAY_SIZE(prefixes); n++) {
		_table_ struct forward_table *table = forward_table_new(n, 0);

		assert_non_null(table);
		for (size_t i = 0; i < n; i++)
			table->routes[i].subnet = prefixes[i];
		for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
			uint32_t last = prefixes[i].addr | ~prefix4_mask(prefixes[i].len);
			const uint32_t probes[] = {prefixes[i].addr - 1, prefixes[i].addr,
						   prefixes[i].addr + 1, last, last + 1};

			for (size_t p = 0; p < ARRAY_SIZE(probes); p++) {
				const struct forward_route *want = NULL;

				for (size_t r = 0; r < n; r++)
					if (prefix4_contains(prefixes[r], probes[p]))
						want = &table->routes[r];
				assert_ptr_equal(forward_lookup(table, probes[p]), want);
			}
		}
	}
}

static void members_are_found_at_every_size(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < 40; n++) {
		_table_ struct forward_table *table = forward_table_new(n % 3, n);

		assert_non_null(table);
		for (uint32_t i = 0; i < n; i++)
			table->members[i] = 10 + 2 * i;
		for (uint32_t addr = 0; addr < 100; addr++)
			assert_int_equal(forward_is_member(table, addr),
					 addr >= 10 && addr < 10 + 2 * n && addr % 2 == 0);
	}
}

#define POD ADDR(10, 244, 1, 5)
#define POD_A ADDR(10, 244, 2, 7)
#define POD_B ADDR(10, 244, 3, 129)

struct row {
	const char *name;
	uint32_t outer, saddr, daddr;
	uint8_t ttl;
	enum weft_reason checked, unchecked;
};

static const struct row rows_out[] = {
	{"to a", 0, POD, POD_A, 64, WEFT_R_OK, WEFT_R_OK},
	{"to b, last hop", 0, POD, POD_B, 1, WEFT_R_OK, WEFT_R_OK},
	{"from the node", 0, ADDR(10, 244, 1, 0), POD_A, 64, WEFT_R_OK, WEFT_R_OK},
	{"ttl used up", 0, POD, POD_A, 0, WEFT_R_TTL, WEFT_R_TTL},
	{"ttl used up, no route", 0, POD, ADDR(10, 244, 9, 9), 0, WEFT_R_TTL, WEFT_R_TTL},
	{"no lease", 0, POD, ADDR(10, 244, 9, 9), 64, WEFT_R_NO_ROUTE, WEFT_R_NO_ROUTE},
	{"below a half subnet", 0, POD, ADDR(10, 244, 3, 127), 64, WEFT_R_NO_ROUTE,
	 WEFT_R_NO_ROUTE},
	{"own subnet", 0, POD, ADDR(10, 244, 1, 9), 64, WEFT_R_NO_ROUTE, WEFT_R_NO_ROUTE},
	{"outside", 0, POD, ADDR(8, 8, 8, 8), 64, WEFT_R_NOT_OVERLAY, WEFT_R_NOT_OVERLAY},
	{"multicast", 0, POD, ADDR(224, 0, 0, 1), 64, WEFT_R_NOT_OVERLAY, WEFT_R_NOT_OVERLAY},
	{"foreign source", 0, PEER_A, POD_A, 64, WEFT_R_SPOOFED_LOCAL, WEFT_R_OK},
	{"peer's source", 0, POD_B, POD_A, 64, WEFT_R_SPOOFED_LOCAL, WEFT_R_OK},
	{"foreign source, ttl 0", 0, POD_B, POD_A, 0, WEFT_R_SPOOFED_LOCAL, WEFT_R_TTL},
};

static const struct row rows_in[] = {
	{"from a", PEER_A, POD_A, POD, 64, WEFT_R_OK, WEFT_R_OK},
	{"from b, last hop", PEER_B, POD_B, POD, 1, WEFT_R_OK, WEFT_R_OK},
	{"to the node", PEER_A, POD_A, ADDR(10, 244, 1, 0), 64, WEFT_R_OK, WEFT_R_OK},
	{"stranger", STRANGER, POD_A, POD, 64, WEFT_R_UNKNOWN_PEER, WEFT_R_OK},
	{"stranger as us", STRANGER, POD, POD, 64, WEFT_R_UNKNOWN_PEER, WEFT_R_SPOOFED_INNER},
	{"a as b", PEER_A, POD_B, POD, 64, WEFT_R_SPOOFED_INNER, WEFT_R_OK},
	{"a as the internet", PEER_A, ADDR(8, 8, 8, 8), POD, 64, WEFT_R_SPOOFED_INNER, WEFT_R_OK},
	{"a as us", PEER_A, ADDR(10, 244, 1, 9), POD, 64, WEFT_R_SPOOFED_INNER,
	 WEFT_R_SPOOFED_INNER},
	{"we as us", OWN, ADDR(10, 244, 1, 9), POD, 64, WEFT_R_SPOOFED_INNER, WEFT_R_SPOOFED_INNER},
	{"to b", PEER_A, POD_A, POD_B, 64, WEFT_R_FOREIGN_DST, WEFT_R_FOREIGN_DST},
	{"to the underlay", PEER_A, POD_A, OWN, 64, WEFT_R_FOREIGN_DST, WEFT_R_FOREIGN_DST},
	{"to loopback", PEER_A, POD_A, ADDR(127, 0, 0, 1), 64, WEFT_R_FOREIGN_DST,
	 WEFT_R_FOREIGN_DST},
	{"to multicast", PEER_A, POD_A, ADDR(224, 0, 0, 1), 64, WEFT_R_FOREIGN_DST,
	 WEFT_R_FOREIGN_DST},
	{"ttl used up", PEER_A, POD_A, POD, 0, WEFT_R_TTL, WEFT_R_TTL},
};

static void row_check(const struct row *row, bool out, bool peer_check)
{
	_table_ struct forward_table *table = table_make(peer_check);
	const struct ip4_packet spec = {.saddr = row->saddr,
					.daddr = row->daddr,
					.len = 60,
					.ttl = row->ttl,
					.protocol = 17};
	enum weft_reason want = peer_check ? row->checked : row->unchecked, got;
	const struct forward_route *route = NULL;
	struct ip4_info info = {0};
	uint8_t packet[60];
	size_t len = ip4_packet_build(packet, &spec);

	got = out ? forward_check_out(table, packet, len, &info, &route)
		  : forward_check_in(table, row->outer, packet, len, &info);
	if (got != want)
		fail_msg("%s, peer check %d: reason %d, not %d", row->name, peer_check, got, want);
	if (out && want == WEFT_R_OK)
		assert_ptr_equal(route, forward_lookup(table, row->daddr));
	else
		assert_null(route);
}

static void verdicts_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows_out); i++) {
		row_check(&rows_out[i], true, true);
		row_check(&rows_out[i], true, false);
	}
}

static void verdicts_in(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows_in); i++) {
		row_check(&rows_in[i], false, true);
		row_check(&rows_in[i], false, false);
	}
}

/* A datagram must be exactly one packet; from the TUN device padding is merely not sent. */
static void lengths_must_agree(void **state)
{
	const struct ip4_packet spec = {
		.saddr = POD_A, .daddr = POD, .len = 60, .ttl = 64, .protocol = 17};
	_table_ struct forward_table *table = table_make(true);
	uint8_t packet[80] = {0};
	struct ip4_info info;

	(void)state;
	ip4_packet_build(packet, &spec);
	for (size_t len = 0; len <= sizeof(packet); len++) {
		enum weft_reason want = len < 60    ? WEFT_R_SHORT
					: len == 60 ? WEFT_R_OK
						    : WEFT_R_BAD_IP4;

		assert_int_equal(forward_check_in(table, PEER_A, packet, len, &info), want);
	}
}

static void icmp_source_is_never_our_own(void **state)
{
	static const struct {
		struct prefix4 network, subnet;
		uint32_t source;
	} rows[] = {
		{{ADDR(10, 244, 0, 0), 16}, {ADDR(10, 244, 1, 0), 24}, ADDR(10, 244, 0, 0)},
		{{ADDR(10, 244, 0, 0), 16}, {ADDR(10, 244, 0, 0), 24}, ADDR(10, 244, 1, 0)},
		{{ADDR(10, 244, 0, 0), 16}, {ADDR(10, 244, 0, 0), 17}, ADDR(10, 244, 128, 0)},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_table_ struct forward_table *table = table_make(true);

		table->network = rows[i].network;
		table->subnet = rows[i].subnet;
		assert_int_equal(forward_icmp_source(table), rows[i].source);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_refuses_absurd_sizes),
		cmocka_unit_test(empty_table_finds_nothing),
		cmocka_unit_test(lookup_agrees_with_linear_search),
		cmocka_unit_test(members_are_found_at_every_size),
		cmocka_unit_test(verdicts_out),
		cmocka_unit_test(verdicts_in),
		cmocka_unit_test(lengths_must_agree),
		cmocka_unit_test(icmp_source_is_never_our_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
