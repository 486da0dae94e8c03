/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks between the overlay and the host: tun, enter and vtep. A test run gives a program an
 * Ethernet frame, whatever device it is for, and takes its protocol from bytes 12 and 13. In a
 * packet without such a header these are of the source, so it comes from 8.0.0.0/16 here. What is
 * sent would be cut behind byte 14, and there is no tunnel's key: such rows are not for here.
 */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define ON WEFT_CONFIG_READY
#define SOURCE IP(8, 0, 0, 9)
#define SOURCES IP(8, 0, 0, 0)

struct hook_case {
	struct ip_fields ip;
	enum weft_reason reason;
	uint32_t flags; /* ON */
	bool drop; /* slow */
};

#define SLOW(why, ...) \
	{ \
		.ip = {__VA_ARGS__}, .reason = WEFT_R_##why, .flags = ON \
	}

/* clang-format off */
static const struct hook_case tun_cases[] = {
	SLOW(NO_ROUTE, .daddr = IN(8, 1)), SLOW(NO_ROUTE, .daddr = IN(5, 128)),
	SLOW(NO_ROUTE, .daddr = IN(254, 1), .ttl = 1),
	SLOW(LOCAL, .daddr = IN(1, 2)), SLOW(LOCAL, .daddr = IN(1, 0)),
	SLOW(NOT_OVERLAY, .daddr = OUT(2)), SLOW(NOT_OVERLAY, .daddr = IP(10, 245, 0, 0)),
	SLOW(NO_NEIGHBOR, .daddr = IN(9, 1)),
	SLOW(TOO_BIG, .daddr = IN(4, 9), .payload = 1353), SLOW(TOO_BIG, .payload = 1453),
	SLOW(BAD_IP4, .ver = 6), SLOW(BAD_IP4, .ihl = 4), SLOW(BAD_IP4, .len_delta = 1),
	{.reason = WEFT_R_SPOOFED_LOCAL, .flags = ON | WEFT_CONFIG_PEER_CHECK, .drop = true},
	{.reason = WEFT_R_DISABLED},
};

static const struct hook_case enter_cases[] = {
	SLOW(OK, .daddr = POD), SLOW(OK, .daddr = IN(1, 0)), SLOW(OK, .daddr = IN(1, 255)),
	SLOW(OK, .daddr = POD, .frag = 0x2000), SLOW(OK, .daddr = POD, .proto = 6),
	SLOW(NOT_OVERLAY, .daddr = IN(2, 2)), SLOW(NOT_OVERLAY, .daddr = NODE),
	{.ip = {.daddr = POD}, .reason = WEFT_R_DISABLED},
};
/* clang-format on */

static void frame_routed(struct frame *out, const struct ip_fields *ip)
{
	struct ip_fields f = *ip;

	f.saddr = SOURCE;
	f.daddr = f.daddr ? f.daddr : REMOTE;
	out->len = 0;
	packet_put_ip(out, &f);
}

/* A packet that is as it came, left to the host or not. */
static void run_case(const struct hook_case *c, enum rig_program program, enum weft_hook hook)
{
	enum weft_verdict verdict = c->drop ? WEFT_DROP : WEFT_SLOW;
	char fields[256], name[320];
	struct result got;
	struct frame in;

	frame_routed(&in, &c->ip);
	snprintf(name, sizeof(name), "%s%s -> %d/%d", hook == WEFT_HOOK_TUN ? "tun" : "enter",
		 ip_fields_text(&c->ip, fields, sizeof(fields)), verdict, c->reason);
	rig_configure(c->flags);
	if (hook == WEFT_HOOK_ENTER)
		rig_set_network(SOURCES);
	report(rig_run(program, &in, 0, &got) && result_is(&got, c->drop ? ACT_SHOT : ACT_NEXT,
							   hook, verdict, c->reason, in.len, &in),
	       name, &in, &got.out);
}

/* Nobody but the agent may bring packets in by this device: what is not known is dropped. */
static void test_vtep(void)
{
	const struct {
		const char *what;
		uint32_t flags;
		uint16_t eth_type;
		enum weft_reason reason;
	} rows[] = {
		{"before the first configuration", 0, 0, WEFT_R_DISABLED},
		{"ARP", ON, 0x0806, WEFT_R_NOT_IPV4},
		{"without a tunnel's key", ON, 0, WEFT_R_HELPER},
		{"without a tunnel's key, FOU", ON | WEFT_CONFIG_VTEP_BARE, 0, WEFT_R_HELPER},
	};
	const struct ip_fields ip = {0};
	struct result got;
	struct frame in;
	char name[96];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame_from_pod(&in, &ip);
		if (rows[i].eth_type)
			put16(in.data + 12, rows[i].eth_type);
		rig_configure(rows[i].flags);
		snprintf(name, sizeof(name), "vtep, %s -> drop/%d", rows[i].what, rows[i].reason);
		report(rig_run(RIG_VTEP, &in, 0, &got) &&
			       result_is(&got, ACT_SHOT, WEFT_HOOK_VTEP, WEFT_DROP, rows[i].reason,
					 in.len, &in),
		       name, &in, &got.out);
	}
}

void test_host_hooks(void)
{
	rig_approves(false);
	for (size_t i = 0; i < ARRAY_SIZE(tun_cases); i++)
		run_case(&tun_cases[i], RIG_TUN, WEFT_HOOK_TUN);
	for (size_t i = 0; i < ARRAY_SIZE(enter_cases); i++)
		run_case(&enter_cases[i], RIG_ENTER, WEFT_HOOK_ENTER);
	test_vtep();
	rig_approves(true);
}
