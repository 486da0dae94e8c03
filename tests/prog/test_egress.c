/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The port and bridge hooks: what is encapsulated, byte for byte, and what is left alone. */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK)

static const char *const hooks[] = {[RIG_PORT] = "port", [RIG_BRIDGE] = "bridge"};

struct egress_case {
	struct ip_fields ip;
	enum weft_verdict verdict;
	enum weft_reason reason;
	uint32_t peer; /* FAST: outer destination; 0 means PEER */
	bool port_only; /* the bridge cannot tell ports apart */
};

#define FAST_TO(to, ...) \
	{ \
		.ip = {__VA_ARGS__}, .verdict = WEFT_FAST, .peer = (to) \
	}
#define FAST(...) FAST_TO(0, __VA_ARGS__)
#define SLOW(why, ...) \
	{ \
		.ip = {__VA_ARGS__}, .verdict = WEFT_SLOW, .reason = WEFT_R_##why \
	}
#define FAST_WHY(to, why, ...) \
	{ \
		.ip = {__VA_ARGS__}, .verdict = WEFT_FAST, .reason = WEFT_R_##why, .peer = (to) \
	}
#define DROP(why, ...) \
	{ \
		.ip = {__VA_ARGS__}, .verdict = WEFT_DROP, .reason = WEFT_R_##why \
	}
#define PORT_SLOW(why, ...) \
	{ \
		.ip = {__VA_ARGS__}, .verdict = WEFT_SLOW, .reason = WEFT_R_##why, \
		.port_only = true \
	}
#define PORT_DROP(why, ...) \
	{ \
		.ip = {__VA_ARGS__}, .verdict = WEFT_DROP, .reason = WEFT_R_##why, \
		.port_only = true \
	}

/* clang-format off */
static const struct egress_case cases[] = {
	FAST(.ttl = 64), FAST(.ttl = 2), FAST(.ttl = 3), FAST(.ttl = 128), FAST(.ttl = 255),
	SLOW(TTL, .ttl = 1), SLOW(TTL, .ttl = ZERO),
	FAST(.tos = 0xff), FAST(.tos = 3), FAST(.id = 0xffff), FAST(.frag = 0x4000),
	FAST(.frag = 0x8000), /* the reserved bit is nobody's business */
	FAST(.proto = 1), FAST(.proto = 1, .icmp = ZERO), FAST(.proto = 6),
	SLOW(PROTOCOL, .proto = 1, .icmp = 3), SLOW(PROTOCOL, .proto = 1, .icmp = 13),
	SLOW(PROTOCOL, .proto = 47), SLOW(PROTOCOL, .proto = 132), SLOW(PROTOCOL, .proto = 255),
	SLOW(SHORT, .payload = ZERO), SLOW(SHORT, .payload = 1), SLOW(SHORT, .payload = 2),
	SLOW(SHORT, .payload = 3), SLOW(SHORT, .payload = 7),
	FAST(.payload = 8), FAST(.payload = 9), FAST(.payload = 100),
	FAST(.payload = 1000), FAST(.payload = 1451), FAST(.payload = 1452),
	SLOW(SHORT, .proto = 6, .payload = ZERO), SLOW(SHORT, .proto = 6, .payload = 13),
	FAST(.proto = 6, .payload = 14),
	FAST(.proto = 6, .payload = 1452), FAST(.proto = 1, .payload = 1452),
	SLOW(TOO_BIG, .payload = 1453), SLOW(TOO_BIG, .payload = 1480),
	SLOW(TOO_BIG, .payload = 3000),
	SLOW(TOO_BIG, .payload = 1453, .frag = 0x4000),
	FAST_TO(OUT(4), .daddr = IN(4, 9), .payload = 1352),
	SLOW(TOO_BIG, .daddr = IN(4, 9), .payload = 1353),
	FAST(.daddr = IN(2, 0)), FAST(.daddr = IN(2, 255)),
	FAST_TO(OUT(5), .daddr = IN(5, 0)),
	FAST_TO(OUT(5), .daddr = IN(5, 127)),
	SLOW(NO_ROUTE, .daddr = IN(5, 128)), SLOW(NO_ROUTE, .daddr = IN(5, 255)),
	FAST_TO(OUT(6), .daddr = IN(6, 1)),
	FAST_TO(OUT(6), .daddr = IN(7, 255)),
	SLOW(NO_ROUTE, .daddr = IN(8, 0)), SLOW(NO_ROUTE, .daddr = IN(0, 1)),
	FAST_TO(OUT(7), .daddr = IN(255, 255)),
	SLOW(NO_ROUTE, .daddr = IN(254, 1)),
	FAST_WHY(OUT(3), NO_NEIGHBOR, .daddr = IN(3, 1)),
	SLOW(NO_NEIGHBOR, .daddr = IN(9, 1)),
	SLOW(LOCAL, .daddr = IN(1, 0)), SLOW(LOCAL, .daddr = IN(1, 1)),
	SLOW(LOCAL, .daddr = IN(1, 3)), SLOW(LOCAL, .daddr = IN(1, 255)),
	SLOW(NOT_OVERLAY, .daddr = IP(10, 243, 255, 255)),
	SLOW(NOT_OVERLAY, .daddr = IP(10, 245, 0, 0)),
	SLOW(NOT_OVERLAY, .daddr = OUT(1)), SLOW(NOT_OVERLAY, .daddr = OUT(2)),
	SLOW(NOT_OVERLAY, .daddr = IP(8, 8, 8, 8)), SLOW(NOT_OVERLAY, .daddr = IP(127, 0, 0, 1)),
	SLOW(NOT_OVERLAY, .daddr = IP(224, 0, 0, 1)), SLOW(NOT_OVERLAY, .daddr = 0xffffffff),
	SLOW(NOT_OVERLAY, .daddr = IP(240, 0, 0, 1)),
	SLOW(FRAGMENT, .frag = 0x2000), SLOW(FRAGMENT, .frag = 0x2001),
	SLOW(FRAGMENT, .frag = 0x0001),
	SLOW(FRAGMENT, .frag = 0x1fff), SLOW(FRAGMENT, .frag = 0x6000),
	SLOW(IP_OPTIONS, .ihl = 6), SLOW(IP_OPTIONS, .ihl = 7), SLOW(IP_OPTIONS, .ihl = 15),
	SLOW(BAD_IP4, .ihl = 1), SLOW(BAD_IP4, .ihl = 4), SLOW(BAD_IP4, .ihl = ZERO),
	SLOW(BAD_IP4, .ver = 6), SLOW(BAD_IP4, .ver = 5), SLOW(BAD_IP4, .ver = 3),
	SLOW(BAD_IP4, .ver = 15), SLOW(BAD_IP4, .ver = ZERO),
	SLOW(BAD_IP4, .len_delta = 1), SLOW(BAD_IP4, .len_delta = -1),
	SLOW(BAD_IP4, .len_delta = -24),
	SLOW(BAD_IP4, .len_delta = -25), SLOW(BAD_IP4, .len_delta = -44),
	SLOW(BAD_IP4, .len_delta = 30000),
	DROP(SPOOFED_LOCAL, .saddr = REMOTE), DROP(SPOOFED_LOCAL, .saddr = NODE),
	DROP(SPOOFED_LOCAL, .saddr = IP(8, 8, 8, 8)), DROP(SPOOFED_LOCAL, .saddr = IN(0, 255)),
	DROP(SPOOFED_LOCAL, .saddr = IN(2, 0)), DROP(SPOOFED_LOCAL, .saddr = IP(127, 0, 0, 1)),
	DROP(SPOOFED_LOCAL, .saddr = 0xffffffff),
	DROP(SPOOFED_LOCAL, .saddr = IN(1, 0)), DROP(SPOOFED_LOCAL, .saddr = IN(1, 1)),
	PORT_DROP(SPOOFED_LOCAL, .saddr = IN(1, 3)),
	/* Another pod's address is refused on every way, a free one only on the overlay. */
	PORT_DROP(SPOOFED_LOCAL, .saddr = IN(1, 3), .daddr = IP(8, 8, 8, 8)),
	PORT_DROP(SPOOFED_LOCAL, .saddr = IN(1, 3), .daddr = OUT(2)),
	PORT_DROP(SPOOFED_LOCAL, .saddr = IN(1, 3), .daddr = IN(1, 1)),
	PORT_SLOW(NOT_OVERLAY, .saddr = IN(1, 4), .daddr = IP(8, 8, 8, 8)),
	PORT_SLOW(NOT_OVERLAY, .saddr = IN(2, 3), .daddr = IP(8, 8, 8, 8)),
	PORT_SLOW(NOT_OVERLAY, .saddr = IP(9, 9, 9, 9), .daddr = IP(8, 8, 8, 8)),
	PORT_SLOW(LOCAL, .saddr = IN(1, 4), .daddr = IN(1, 1)),
	/* Nor is padding, or anything else that the host may forgive, a way around that. */
	PORT_DROP(SPOOFED_LOCAL, .saddr = IN(1, 3), .len_delta = -1),
	PORT_DROP(SPOOFED_LOCAL, .saddr = IN(1, 3), .daddr = IP(8, 8, 8, 8), .len_delta = -1),
	PORT_SLOW(BAD_IP4, .saddr = IN(2, 3), .len_delta = -1),
	/* What peers would decapsulate; inside the overlay it is two pods' business. */
	PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285),
	PORT_DROP(SPOOFED_LOCAL, .daddr = IP(8, 8, 8, 8), .dport = 8285),
	PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285, .payload = 8),
	PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285, .ihl = 6),
	PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285, .ihl = 15),
	PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285, .frag = 0x2000),
	PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285, .len_delta = -1),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .dport = 8285, .payload = 7),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .dport = 8285, .frag = 1),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .dport = 8286),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .dport = 8472),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .sport = 8285),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .proto = 6, .dport = 8285),
	PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .proto = 4),
	PORT_SLOW(LOCAL, .daddr = IN(1, 1), .dport = 8285),
	FAST(.dport = 8285),
	PORT_SLOW(NO_ENDPOINT, .saddr = IN(1, 4)),
	PORT_SLOW(NO_ENDPOINT, .saddr = IN(1, 255)),
	FAST(.saddr = IN(1, 5)),
	/* The TTL update around the edges of one's complement arithmetic. */
	FAST(.check = 0xfeff), FAST(.check = 0xfefe), FAST(.check = 0xff00), FAST(.check = 0xffff),
};
/* clang-format on */

/* RFC 1624 on whatever checksum the packet had, right or wrong. */
static void route_incrementally(struct frame *frame, size_t offset)
{
	uint8_t *ip = frame->data + offset;
	uint32_t sum = (uint16_t) ~(ip[10] << 8 | ip[11]) + (uint16_t) ~(ip[8] << 8 | ip[9]);

	ip[8]--;
	sum += ip[8] << 8 | ip[9];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, (uint16_t)~sum);
}

/* The 42 bytes in front of the routed packet; the source port is taken over, checked apart. */
static void encapsulate(struct frame *want, const struct frame *in, uint32_t peer,
			const struct frame *got)
{
	const struct outer_fields outer = {.saddr = NODE, .daddr = peer};

	want->len = 0;
	packet_put_eth(want, peer_mac, uplink_mac, 0);
	packet_put_outer(want, &outer, in->len - 14);
	memcpy(want->data + want->len, in->data + 14, in->len - 14);
	want->len += in->len - 14;
	memcpy(want->data + 34, got->data + 34, 2);
}

static uint16_t source_port(const struct frame *frame)
{
	return frame->data[34] << 8 | frame->data[35];
}

static int action(enum weft_verdict verdict)
{
	return verdict == WEFT_FAST ? ACT_REDIRECT : verdict == WEFT_SLOW ? ACT_NEXT : ACT_SHOT;
}

static void run_case(const struct egress_case *c, enum rig_program program)
{
	enum weft_hook hook = program == RIG_PORT ? WEFT_HOOK_PORT : WEFT_HOOK_BRIDGE;
	struct frame in, want;
	char fields[256], name[320];
	struct result got;
	bool ok;

	frame_from_pod(&in, &c->ip);
	rig_run(program, &in, 0, &got);
	want = in;
	if (c->verdict == WEFT_FAST) {
		encapsulate(&want, &in, c->peer ? c->peer : PEER, &got.out);
		if (c->ip.check)
			route_incrementally(&want, 42);
		else
			packet_route(&want, 42);
	}
	ok = result_is(&got, action(c->verdict), hook, c->verdict, c->reason, in.len, &want);
	if (c->verdict == WEFT_FAST && source_port(&got.out) != 8285)
		ok = false;
	snprintf(name, sizeof(name), "%s%s -> %d/%d", hooks[program],
		 ip_fields_text(&c->ip, fields, sizeof(fields)), c->verdict, c->reason);
	report(ok, name, &want, &got.out);
}

static void test_table(enum rig_program program)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (program == RIG_PORT || !cases[i].port_only)
			run_case(&cases[i], program);
}

static void expect_untouched(const char *name, const struct frame *in, enum weft_reason reason,
			     uint32_t gso_size)
{
	struct result got;

	rig_run(RIG_PORT, in, gso_size, &got);
	report(result_is(&got, ACT_NEXT, WEFT_HOOK_PORT, WEFT_SLOW, reason, in->len, in), name, in,
	       &got.out);
}

/* Wherever the frame goes: the host listens to more MACs than the gateway's. */
static void test_neighbour_frame(void)
{
	const struct ip_fields forged = {.saddr = IN(1, 3)};
	struct result got;
	struct frame in;

	frame_from_pod(&in, &forged);
	in.data[5] ^= 1;
	rig_run(RIG_PORT, &in, 0, &got);
	report(result_is(&got, ACT_SHOT, WEFT_HOOK_PORT, WEFT_DROP, WEFT_R_SPOOFED_LOCAL, in.len,
			 &in),
	       "port frame to another MAC, as another pod -> drop spoofed_local", &in, &got.out);
	rig_run(RIG_BRIDGE, &in, 0, &got);
	report(result_is(&got, ACT_NEXT, WEFT_HOOK_BRIDGE, WEFT_SLOW, WEFT_R_NOT_GATEWAY, in.len,
			 &in),
	       "bridge frame to another MAC, as another pod -> slow not_gateway", &in, &got.out);
}

/* What of these a pod sends when all three formats are in use. */
static void test_encapsulated(void)
{
	static const struct egress_case all[] = {
		PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8285),
		PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .dport = 8472),
		PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .proto = 4),
		PORT_DROP(SPOOFED_LOCAL, .daddr = OUT(2), .proto = 4, .frag = 1),
		PORT_SLOW(NOT_OVERLAY, .daddr = OUT(2), .dport = 8471),
		FAST(.dport = 8472),
		SLOW(PROTOCOL, .proto = 4),
	};

	rig_accept(7);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		run_case(&all[i], RIG_PORT);
	rig_configure(ON);
}

/* The kernel has taken off the first of two VLAN tags, and may take off the second one, too. */
static void test_second_tag(void)
{
	static const uint16_t types[] = {0x8100, 0x88a8};
	const struct ip_fields plain = {0};
	struct result got;
	struct frame in;
	char name[64];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		frame_from_pod(&in, &plain);
		put16(in.data + 12, types[i]);
		snprintf(name, sizeof(name), "port ethertype %04x -> drop not_ipv4", types[i]);
		rig_run(RIG_PORT, &in, 0, &got);
		report(result_is(&got, ACT_SHOT, WEFT_HOOK_PORT, WEFT_DROP, WEFT_R_NOT_IPV4, in.len,
				 &in),
		       name, &in, &got.out);
	}
}

/* An IPv6 packet of these headers, each a type and its length; returns its frame's length. */
static size_t put_ip6(struct frame *frame, const uint8_t *headers, size_t n, uint8_t icmp_type)
{
	uint8_t *at = frame->data + 14;

	packet_put_eth(frame, bridge_mac, pod_mac, 0x86dd);
	memset(at, 0, FRAME_MAX - 14);
	at[0] = 0x60;
	at[7] = 255; /* hop limit */
	at[6] = n ? headers[0] : 58;
	at += 40;
	for (size_t i = 0; i < n; i++) {
		at[0] = i + 1 < n ? headers[i + 1] : 58;
		at[1] = i & 1; /* 8 bytes and 16 in turns */
		at += 8 * (1 + (i & 1));
	}
	at[0] = icmp_type;
	frame->len = (size_t)(at + 16 - frame->data);
	put16(frame->data + 18, (uint16_t)(frame->len - 54));
	return frame->len;
}

static void expect_ip6(enum rig_program program, enum weft_hook hook, const uint8_t *headers,
		       size_t n, uint8_t icmp_type, bool refused)
{
	struct frame in = {.len = 0};
	struct result got;
	char name[96];

	put_ip6(&in, headers, n, icmp_type);
	snprintf(name, sizeof(name), "%s ICMPv6 type %u behind %zu headers%s -> %s not_ipv4",
		 hook == WEFT_HOOK_PORT ? "port" : "bridge", icmp_type, n,
		 n && headers[0] == 44 ? ", a fragment" : "", refused ? "drop" : "slow");
	rig_run(program, &in, 0, &got);
	report(result_is(&got, refused ? ACT_SHOT : ACT_NEXT, hook, refused ? WEFT_DROP : WEFT_SLOW,
			 WEFT_R_NOT_IPV4, in.len, &in),
	       name, &in, &got.out);
}

/* No pod is a router: its advertisements end here, however they are wrapped. */
static void test_router_adverts(void)
{
	static const uint8_t headers[] = {0, 43, 60, 60, 60, 60, 60, 60}, fragment[] = {44};

	for (size_t n = 0; n <= ARRAY_SIZE(headers); n++) {
		expect_ip6(RIG_PORT, WEFT_HOOK_PORT, headers, n, 134, true);
		expect_ip6(RIG_BRIDGE, WEFT_HOOK_BRIDGE, headers, n, 134, true);
	}
	for (size_t n = 0; n < 6; n++)
		expect_ip6(RIG_PORT, WEFT_HOOK_PORT, headers, n, 135, false);
	expect_ip6(RIG_PORT, WEFT_HOOK_PORT, headers, 0, 133, false);
	expect_ip6(RIG_PORT, WEFT_HOOK_PORT, headers, 1, 143, false);
	expect_ip6(RIG_PORT, WEFT_HOOK_PORT, fragment, 1, 134, false);
}

static void test_frames(void)
{
	static const uint16_t types[] = {0x0806, 0x86dd, 0x8847, 0x88cc, 0x0801, 0x9000};
	const struct ip_fields plain = {0};
	struct frame in;
	char name[64];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		frame_from_pod(&in, &plain);
		put16(in.data + 12, types[i]);
		snprintf(name, sizeof(name), "port ethertype %04x -> slow not_ipv4", types[i]);
		expect_untouched(name, &in, WEFT_R_NOT_IPV4, 0);
	}
	frame_from_pod(&in, &plain);
	in.data[5] ^= 1;
	expect_untouched("port frame to another pod's MAC -> slow not_gateway", &in,
			 WEFT_R_NOT_GATEWAY, 0);
	memset(in.data, 0xff, 6);
	expect_untouched("port broadcast frame -> slow not_gateway", &in, WEFT_R_NOT_GATEWAY, 0);
	frame_from_pod(&in, &plain);
	memset(in.data + in.len, 0, 16);
	in.len += 16;
	expect_untouched("port frame with padding -> slow bad_ip4", &in, WEFT_R_BAD_IP4, 0);
}

/*
 * Segments count, not the packet. A test run cannot give a packet its GSO type, so the kernel
 * refuses to make room, which must leave it unchanged; tests/net carries real ones.
 */
static void test_gso(void)
{
	const struct ip_fields tcp = {.proto = 6, .payload = 3000};
	const struct ip_fields udp = {.payload = 3000};
	const struct ip_fields other = {.proto = 47, .payload = 3000};
	const struct ip_fields options = {.proto = 6, .payload = 3000, .ihl = 6};
	struct frame in;

	frame_from_pod(&in, &tcp);
	expect_untouched("port GSO TCP whose segments fit -> accepted, refused by the kernel", &in,
			 WEFT_R_HELPER, 1432);
	expect_untouched("port GSO TCP one byte too large -> slow too_big", &in, WEFT_R_TOO_BIG,
			 1433);
	frame_from_pod(&in, &udp);
	expect_untouched("port GSO UDP whose segments fit -> accepted, refused by the kernel", &in,
			 WEFT_R_HELPER, 1444);
	expect_untouched("port GSO UDP one byte too large -> slow too_big", &in, WEFT_R_TOO_BIG,
			 1445);
	frame_from_pod(&in, &other);
	expect_untouched("port GSO of another protocol -> slow gso", &in, WEFT_R_GSO, 1000);
	frame_from_pod(&in, &options);
	expect_untouched("port GSO with options -> slow ip_options", &in, WEFT_R_IP_OPTIONS, 1000);
}

static bool has_port_from(uint16_t sport, uint16_t *port)
{
	const struct ip_fields ip = {.sport = sport};
	struct result got;
	struct frame in;

	frame_from_pod(&in, &ip);
	rig_run(RIG_PORT, &in, 0, &got);
	*port = source_port(&got.out);
	return *port >= 49152;
}

static void test_entropy(void)
{
	static uint8_t seen[65536];
	bool in_range = true, stable = true;
	uint16_t port, again;
	int distinct = 0;

	rig_configure(ON | WEFT_CONFIG_ENTROPY);
	for (uint16_t flow = 1; flow <= 1000; flow++) {
		in_range &= has_port_from(flow, &port);
		has_port_from(flow, &again);
		stable &= port == again;
		distinct += !seen[port];
		seen[port] = 1;
	}
	report(in_range, "source ports of 1000 flows are 49152 to 65535", NULL, NULL);
	report(stable, "a flow keeps its source port", NULL, NULL);
	report(distinct > 900, "1000 flows have more than 900 source ports", NULL, NULL);
	rig_configure(ON);
}

static void test_hints(void)
{
	const struct ip_fields ip = {.saddr = IN(1, 4)};
	struct weft_hint hint;
	struct result got;
	struct frame in;

	while (rig_hint(&hint))
		;
	frame_from_pod(&in, &ip);
	rig_run(RIG_PORT, &in, 0, &got);
	report(rig_hint(&hint) && hint.type == WEFT_HINT_ENDPOINT && hint.ifindex == 1 &&
		       hint.addr == __builtin_bswap32(IN(1, 4)) &&
		       memcmp(hint.mac, pod_mac, 6) == 0,
	       "an unknown source is reported to the agent", NULL, NULL);
}

static void test_disabled(void)
{
	const struct ip_fields plain = {0};
	struct frame in;

	frame_from_pod(&in, &plain);
	rig_configure(0);
	expect_untouched("port without configuration -> slow disabled", &in, WEFT_R_DISABLED, 0);
	rig_configure(ON);
}

static void test_cell_sizes(void)
{
	static const uint32_t shifts[] = {0, 1, 7, 9, 15, 16};
	const struct egress_case there = FAST(.daddr = REMOTE);
	const struct egress_case elsewhere = SLOW(NO_ROUTE, .daddr = IN(200, 1));

	for (size_t i = 0; i < ARRAY_SIZE(shifts); i++) {
		rig_resize_cells(shifts[i], REMOTE);
		run_case(&there, RIG_PORT);
		if (shifts[i] < 15)
			run_case(&elsewhere, RIG_PORT);
	}
	rig_configure(ON);
}

void test_egress(void)
{
	rig_configure(ON);
	test_table(RIG_PORT);
	test_table(RIG_BRIDGE);
	test_frames();
	test_router_adverts();
	test_neighbour_frame();
	test_encapsulated();
	test_second_tag();
	test_gso();
	test_hints();
	test_disabled();
	test_entropy();
	test_cell_sizes();
	rig_flip_state();
	run_case(&cases[0], RIG_PORT);
	rig_configure(ON);
}
