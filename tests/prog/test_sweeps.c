/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every length of every kind of frame, and random damage: whatever the bytes, a frame that is not
 * carried stays as it was, exactly one counter moves, and what is carried obeys the rules.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK)
#define MUTANTS 20000

static const struct ip_fields kinds[] = {
	{0}, {.proto = 6}, {.proto = 1}, {.ihl = 8}, {.frag = 0x2000}, {.payload = 200},
};

static void make(struct frame *frame, enum rig_program program, const struct ip_fields *ip)
{
	const struct outer_fields outer = {0};

	if (program == RIG_UPLINK)
		frame_from_peer(frame, &outer, ip);
	else
		frame_from_pod(frame, ip);
}

static bool same(const struct frame *a, const struct frame *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void sweep(enum rig_program program, const struct ip_fields *ip, const char *hook)
{
	int modified = 0, carried = 0, miscounted = 0;
	struct frame whole, cut;
	struct result got;
	char name[128];

	make(&whole, program, ip);
	cut = whole;
	for (cut.len = RIG_MIN_LEN; cut.len < whole.len; cut.len++) {
		rig_run(program, &cut, 0, &got);
		carried += got.act == ACT_REDIRECT;
		modified += !same(&cut, &got.out);
		miscounted += got.counters != 1 || got.by.packets != 1;
	}
	snprintf(name, sizeof(name), "%s cut at 34 to %zu bytes: none carried, changed, uncounted",
		 hook, whole.len - 1);
	report(!modified && !carried && !miscounted, name, NULL, NULL);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static uint32_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

/* Which node may send from this address: a second opinion, by the table in rig.h. */
static uint32_t owner(uint32_t addr)
{
	uint32_t subnet = addr >> 8 & 0xff;

	if (addr >> 16 != (10 << 8 | 244))
		return 0;
	if (subnet >= 2 && subnet <= 4)
		return IP(192, 0, 2, subnet);
	if (subnet == 5)
		return addr & 0x80 ? 0 : OUT(5);
	if (subnet == 6 || subnet == 7)
		return OUT(6);
	if (subnet == 9)
		return OUT(8);
	return subnet == 255 ? OUT(7) : 0;
}

static bool whole_ip(const uint8_t *ip, size_t room)
{
	return room >= 20 && ip[0] >> 4 == 4 && (ip[0] & 0xf) >= 5 &&
	       get16(ip + 2) >= (ip[0] & 0xfu) * 4 && get16(ip + 2) == room;
}

static bool is_fragment(const uint8_t *ip)
{
	return get16(ip + 6) & 0x3fff;
}

/* Has it what an approval is kept by? (All that can be approved is approved here.) */
static bool has_flow(const uint8_t *ip, size_t room)
{
	if (ip[9] == 1)
		return room >= 28 && (ip[20] == 8 || ip[20] == 0) && ip[21] == 0;
	return (ip[9] == 17 && room >= 28) || (ip[9] == 6 && room >= 34);
}

/* May the pod's frame be carried by the fast path? */
static bool carries_egress(const struct frame *in)
{
	const uint8_t *ip = in->data + 14;
	uint32_t to;

	if (in->len < 34 || get16(in->data + 12) != 0x0800 || memcmp(in->data, bridge_mac, 6))
		return false;
	if (!whole_ip(ip, in->len - 14) || ip[0] != 0x45 || is_fragment(ip) || ip[8] < 2)
		return false;
	if (get32(ip + 12) != POD && get32(ip + 12) != IN(1, 5))
		return false;
	to = owner(get32(ip + 16));
	return to && has_flow(ip, in->len - 14) && to != OUT(8) &&
	       get16(ip + 2) + 28 <= (to == OUT(4) ? 1400 : 1500);
}

/* May the peer's frame be decapsulated at all (to the pod or to the host)? */
static bool carries_ingress(const struct frame *in)
{
	const uint8_t *ip = in->data + 14, *inner = in->data + 42;

	if (in->len < 62 || get16(in->data + 12) != 0x0800 || memcmp(in->data, uplink_mac, 6))
		return false;
	if (ip[0] != 0x45 || ip[9] != 17 || get32(ip + 16) != NODE || is_fragment(ip))
		return false;
	if (get16(ip + 2) != in->len - 14 || get16(ip + 22) != 8285 ||
	    get16(ip + 24) != in->len - 34 || get16(ip + 26))
		return false;
	return whole_ip(inner, in->len - 42) && owner(get32(inner + 12)) == get32(ip + 12) &&
	       get32(inner + 16) >> 8 == (10u << 16 | 244 << 8 | 1);
}

static void mutate(struct frame *frame, enum rig_program program)
{
	size_t headers = program == RIG_UPLINK ? 62 : 34;
	int flips = 1 + rand() % 3;

	while (flips--)
		frame->data[rand() % headers] ^= 1 << rand() % 8;
	if (rand() % 8 == 0)
		frame->len = RIG_MIN_LEN + rand() % (frame->len - RIG_MIN_LEN + 1);
}

static void test_mutants(enum rig_program program, const char *hook)
{
	int wrong = 0, carried = 0;
	struct frame in, first = {.len = 0};
	struct result got;
	char name[128];

	srand(8285);
	for (int i = 0; i < MUTANTS; i++) {
		bool want;

		make(&in, program, &kinds[i % ARRAY_SIZE(kinds)]);
		mutate(&in, program);
		if (!rig_run(program, &in, 0, &got))
			continue;
		want = program == RIG_UPLINK ? carries_ingress(&in) : carries_egress(&in);
		carried += want;
		if ((got.act == ACT_REDIRECT) == want && got.counters == 1 &&
		    (want || same(&in, &got.out)))
			continue;
		if (!wrong++)
			first = in;
	}
	snprintf(name, sizeof(name), "%s: %d mutants (seed 8285, %d carried), %d disagreements",
		 hook, MUTANTS, carried, wrong);
	report(!wrong && carried > 100, name, &first, NULL);
}

void test_sweeps(void)
{
	rig_configure(ON);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		sweep(RIG_PORT, &kinds[i], "port");
		sweep(RIG_BRIDGE, &kinds[i], "bridge");
		sweep(RIG_UPLINK, &kinds[i], "uplink");
	}
	test_mutants(RIG_PORT, "port");
	test_mutants(RIG_UPLINK, "uplink");
}
