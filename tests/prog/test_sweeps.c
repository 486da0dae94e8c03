/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every length of every kind of frame, and random damage: whatever the bytes, a frame that is not
 * carried stays as it was, exactly one counter moves, and what is carried obeys the rules.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "decode.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK)
#define ALL 7
#define MUTANTS 40000 /* of all kinds together, unless told otherwise */
#define SEED 8285

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

/* Mutants */

static uint32_t pick(const uint32_t *from, size_t n)
{
	return from[(size_t)rand() % n];
}

#define PICK(...) pick((const uint32_t[]){__VA_ARGS__}, ARRAY_SIZE(((uint32_t[]){__VA_ARGS__})))

/* Mostly what is usual, as each thing that is odd hides the others. */
static struct ip_fields random_fields(void)
{
	return (struct ip_fields){
		.ihl = (uint16_t)PICK(0, 0, 0, 0, 0, 0, 0, 6),
		.tos = (uint8_t)PICK(0, 0, 1, 2, 3, 0xb9, 0xff),
		.ttl = (uint16_t)PICK(0, 0, 0, 0, 0, 255, 2, 1, ZERO),
		.frag = (uint16_t)PICK(0, 0, 0, 0, 0, 0x4000, 0x4000, 0x2000, 0x0007),
		.proto = (uint8_t)PICK(0, 0, 0, 6, 6, 6, 1, 1, 47),
		.payload = (uint16_t)PICK(0, 0, 0, 200, 1000, 1430, 1444, 1460, ZERO, 5),
		.check = (uint16_t)PICK(0, 0, 0, 0, 0, 0xfeff, 0xffff),
		.tcp_flags = (uint16_t)PICK(0, 0, 0, 0, 2, 0x12, 0x11, 4),
		.icmp = (uint16_t)PICK(0, 0, ZERO, 3),
	};
}

static void make_sent(struct frame *frame)
{
	struct ip_fields ip = random_fields();

	ip.saddr = PICK(0, 0, 0, 0, 0, 0, IN(1, 3), IN(1, 4), IN(1, 5), IN(1, 1), IN(2, 9));
	ip.daddr = PICK(0, 0, IN(3, 1), IN(4, 1), IN(5, 1), IN(5, 200), IN(7, 1), IN(8, 1),
			IN(9, 1), IN(10, 1), IN(10, 2), IN(11, 1), IN(11, 2), IN(255, 1), IN(1, 3),
			IP(8, 8, 8, 8));
	frame_from_pod(frame, &ip);
	if (rand() % 16 == 0)
		frame->data[5] ^= 1;
}

static void make_received(struct frame *frame, enum weft_format format)
{
	struct ip_fields ip = random_fields();

	ip.saddr = PICK(0, 0, 0, 0, 0, 0, IN(3, 1), IN(1, 3), IN(8, 1), IP(8, 8, 8, 8));
	ip.daddr = PICK(0, 0, 0, 0, 0, IN(1, 3), IN(1, 4), IN(1, 5), IN(1, 0), IN(1, 1), IN(2, 1));
	frame_from_format(frame, format, (uint8_t)PICK(0, 0, 1, 2, 3, 0xbb), &ip);
}

/* Up to three bits of the headers, and sometimes the end. */
static void mutate(struct frame *frame, size_t headers)
{
	int flips = rand() % 4;

	headers = headers < frame->len ? headers : frame->len;
	while (flips--)
		frame->data[(size_t)rand() % headers] ^= (uint8_t)(1 << rand() % 8);
	if (rand() % 16 == 0)
		frame->len = RIG_MIN_LEN + (size_t)rand() % (frame->len - RIG_MIN_LEN + 1);
}

struct kind {
	enum rig_program program;
	enum decode_hook hook;
	enum weft_format format; /* of what is received */
	const char *name;
};

static const struct kind mutant_kinds[] = {
	{RIG_PORT, DECODE_PORT, WEFT_FORMAT_UDP, "port"},
	{RIG_BRIDGE, DECODE_BRIDGE, WEFT_FORMAT_UDP, "bridge"},
	{RIG_UPLINK, DECODE_UPLINK, WEFT_FORMAT_UDP, "uplink udp"},
	{RIG_UPLINK, DECODE_UPLINK, WEFT_FORMAT_VXLAN, "uplink vxlan"},
	{RIG_UPLINK, DECODE_UPLINK, WEFT_FORMAT_IPIP, "uplink ipip"},
	{RIG_STRIP, DECODE_STRIP, WEFT_FORMAT_UDP, "strip udp"},
	{RIG_STRIP, DECODE_STRIP, WEFT_FORMAT_VXLAN, "strip vxlan"},
	{RIG_STRIP, DECODE_STRIP, WEFT_FORMAT_IPIP, "strip ipip"},
};

/* The counter that belongs to a verdict; what the strip program leaves is not counted. */
static bool is_counted(const struct result *got, const struct decoded *want, enum decode_hook hook)
{
	uint32_t verdict = got->counter / WEFT_REASON_MAX % WEFT_VERDICT_MAX;

	if (hook == DECODE_STRIP && want->verdict == DECODE_LEFT)
		return got->counters == 0;
	if (got->counters != 1 || got->by.packets != 1)
		return false;
	if (want->verdict == DECODE_LEFT)
		return verdict == WEFT_SLOW;
	if (want->verdict == DECODE_REFUSED)
		return verdict == WEFT_DROP;
	return verdict == WEFT_FAST || (want->verdict == DECODE_HANDED && verdict == WEFT_SLOW);
}

static bool agrees(const struct result *got, const struct decoded *want, enum decode_hook hook)
{
	static const int acts[] = {
		[DECODE_LEFT] = ACT_NEXT,	[DECODE_REFUSED] = ACT_SHOT,
		[DECODE_SENT] = ACT_REDIRECT,	[DECODE_DELIVERED] = ACT_REDIRECT,
		[DECODE_HANDED] = ACT_REDIRECT, [DECODE_AGGREGATED] = ACT_REDIRECT};
	const uint8_t *data = got->out.data;
	size_t len = got->out.len;

	/* The metadata that a test run shows in front, since 5.14 */
	if (hook == DECODE_STRIP && len == want->out.len + 4 && !memcmp(data, "weft", 4)) {
		data += 4;
		len -= 4;
	}
	return got->act == (hook == DECODE_STRIP ? ACT_XDP_PASS : acts[want->verdict]) &&
	       is_counted(got, want, hook) && decode_fits(want, data, len);
}

/* Whether it went as it should; *carried: how many of them left on the fast path. */
static bool run_mutant(const struct kind *kind, const struct decode_world *world,
		       struct frame *frame, long *carried)
{
	size_t overhead = format_headers(kind->format) - 14;
	bool sends = kind->program == RIG_PORT || kind->program == RIG_BRIDGE;
	static struct decoded want;
	static struct result got;

	if (sends)
		make_sent(frame);
	else
		make_received(frame, kind->format);
	mutate(frame, sends ? 54 : 14 + overhead + 40);
	if (!rig_run_as(kind->program, overhead, frame, 0, &got))
		return true;
	decode(world, frame, &want);
	*carried += want.verdict >= DECODE_SENT;
	return agrees(&got, &want, kind->hook);
}

static const uint32_t mutant_flags[] = {
	ON,
	ON | WEFT_CONFIG_APPROVE_HOST,
	ON | WEFT_CONFIG_APPROVE_HOST | WEFT_CONFIG_ENTROPY,
	WEFT_CONFIG_READY | WEFT_CONFIG_INHERIT_DSCP,
};

static void test_mutants_of(const struct kind *kind, long n, unsigned int seed)
{
	struct decode_world world = {.hook = kind->hook, .formats = ALL, .approved = true};
	struct frame frame, first = {.len = 0};
	long wrong = 0, carried = 0;
	char name[160];

	srand(seed);
	for (size_t f = 0; f < ARRAY_SIZE(mutant_flags); f++) {
		world.flags = mutant_flags[f];
		rig_configure(world.flags);
		rig_accept(ALL);
		for (long i = 0; i < n / (long)ARRAY_SIZE(mutant_flags); i++)
			if (!run_mutant(kind, &world, &frame, &carried) && !wrong++)
				first = frame;
	}
	snprintf(name, sizeof(name), "%s: %ld mutants (seed %u, %ld carried), %ld disagreements",
		 kind->name, n, seed, carried, wrong);
	report(!wrong && carried > n / 50, name, wrong ? &first : NULL, NULL);
}

void run_mutants(long n, unsigned int seed)
{
	for (size_t i = 0; i < ARRAY_SIZE(mutant_kinds); i++)
		test_mutants_of(&mutant_kinds[i], n / (long)ARRAY_SIZE(mutant_kinds), seed);
}

void test_sweeps(void)
{
	rig_configure(ON);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		sweep(RIG_PORT, &kinds[i], "port");
		sweep(RIG_BRIDGE, &kinds[i], "bridge");
		sweep(RIG_UPLINK, &kinds[i], "uplink");
	}
	run_mutants(MUTANTS, SEED);
}
