/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Approval at the programs: which packet may take the fast path by what is known of its flow, and
 * what is known afterwards. Tags need a whole stack to cross: tests/net/test_approve.sh.
 */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define NONE (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK)
#define HOST (NONE | WEFT_CONFIG_APPROVE_HOST)

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

#define RULES 7 /* the generation in force */
#define TTL_TCP 100000 /* jiffies; a margin is for the time the test itself takes */
#define TTL_OTHER 50000
#define MARGIN 20000

/* What is known of the flow, before and after. */
enum known {
	NOTHING,
	OUT_ONLY, /* egress is approved */
	IN_ONLY,
	BOTH,
	OLD_RULES, /* both, under another generation */
	AGED_OTHER, /* both, longer ago than other protocols' approvals last */
	AGED_TCP, /* both, longer ago than TCP's */
	AGED_SHORT, /* both for a short time, longer ago than that, not than others last */
	SAME, /* after: as before */
};

struct approve_case {
	const char *name;
	enum rig_program program;
	uint32_t flags;
	struct ip_fields ip;
	enum known before;
	enum weft_reason reason; /* OK: fast */
	enum known after;
};

#define AT(where, mode, title, was, why, then, ...) \
	{ \
		.name = title, .program = RIG_##where, .flags = mode, .ip = {__VA_ARGS__}, \
		.before = was, .reason = WEFT_R_##why, .after = then \
	}
#define BY_HOST(title, was, why, then, ...) \
	AT(PORT, HOST, title, was, why, then, __VA_ARGS__), \
		AT(UPLINK, HOST, title, was, why, then, __VA_ARGS__), \
		AT(AGGREGATE, HOST, title, was, why, then, __VA_ARGS__)
#define BY_NONE(title, was, why, then, ...) \
	AT(PORT, NONE, title, was, why, then, __VA_ARGS__), \
		AT(UPLINK, NONE, title, was, why, then, __VA_ARGS__), \
		AT(AGGREGATE, NONE, title, was, why, then, __VA_ARGS__)
#define BY_EITHER(...) BY_HOST(__VA_ARGS__), BY_NONE(__VA_ARGS__)
#define TCP(bits) .proto = 6, .tcp_flags = (bits)

/* clang-format off */
static const struct approve_case cases[] = {
	BY_EITHER("udp, unknown", NOTHING, UNAPPROVED, NOTHING, 0),
	BY_EITHER("tcp, unknown", NOTHING, UNAPPROVED, NOTHING, TCP(ACK)),
	BY_EITHER("echo, unknown", NOTHING, UNAPPROVED, NOTHING, .proto = 1),
	BY_EITHER("udp, known", BOTH, OK, SAME, 0),
	BY_EITHER("tcp, known", BOTH, OK, SAME, TCP(ACK)),
	BY_EITHER("tcp without flags, known", BOTH, OK, SAME, TCP(ZERO)),
	BY_EITHER("echo, known", BOTH, OK, SAME, .proto = 1),
	BY_EITHER("echo reply, known", BOTH, OK, SAME, .proto = 1, .icmp = ZERO),
	BY_EITHER("other protocol", NOTHING, PROTOCOL, NOTHING, .proto = 132),
	BY_EITHER("icmp that is no echo", NOTHING, PROTOCOL, NOTHING, .proto = 1, .icmp = 11),
	BY_EITHER("no room for ports", NOTHING, SHORT, NOTHING, .payload = 7),
	BY_EITHER("no room for flags", NOTHING, SHORT, NOTHING, .proto = 6, .payload = 13),
	BY_EITHER("other rules, udp", OLD_RULES, GENERATION, SAME, 0),
	BY_EITHER("other rules, tcp", OLD_RULES, GENERATION, SAME, TCP(ACK)),
	BY_EITHER("long ago, udp", AGED_OTHER, STALE, SAME, 0),
	BY_EITHER("long ago, echo", AGED_OTHER, STALE, SAME, .proto = 1),
	BY_EITHER("not so long for tcp", AGED_OTHER, OK, SAME, TCP(ACK)),
	BY_EITHER("long ago, tcp", AGED_TCP, STALE, SAME, TCP(ACK)),
	BY_EITHER("for a short time, udp", AGED_SHORT, STALE, SAME, 0),
	BY_EITHER("for a short time, echo", AGED_SHORT, STALE, SAME, .proto = 1),
	BY_EITHER("for a short time, tcp", AGED_SHORT, OK, SAME, TCP(ACK)),

	BY_HOST("SYN", NOTHING, CONTROL, NOTHING, TCP(SYN)),
	BY_HOST("SYN of a known flow", BOTH, CONTROL, NOTHING, TCP(SYN)),
	BY_HOST("SYN and ACK of a known flow", BOTH, CONTROL, NOTHING, TCP(SYN | ACK)),
	BY_HOST("FIN of a known flow", BOTH, CONTROL, NOTHING, TCP(FIN | ACK)),
	BY_HOST("RST of a known flow", BOTH, CONTROL, NOTHING, TCP(RST)),
	BY_NONE("SYN", NOTHING, OK, BOTH, TCP(SYN)),
	BY_NONE("SYN of an old flow", OLD_RULES, OK, BOTH, TCP(SYN)),
	BY_NONE("SYN and ACK", NOTHING, UNAPPROVED, NOTHING, TCP(SYN | ACK)),
	BY_NONE("FIN", NOTHING, UNAPPROVED, NOTHING, TCP(FIN | ACK)),
	BY_NONE("FIN of a known flow", BOTH, OK, SAME, TCP(FIN | ACK)),
	BY_NONE("RST of a known flow", BOTH, OK, SAME, TCP(RST)),

	/* Each direction by itself */
	AT(PORT, HOST, "leaving", OUT_ONLY, OK, SAME, 0),
	AT(PORT, HOST, "leaving", IN_ONLY, UNAPPROVED, SAME, 0),
	AT(UPLINK, HOST, "arriving", IN_ONLY, OK, SAME, 0),
	AT(UPLINK, HOST, "arriving", OUT_ONLY, UNAPPROVED, SAME, 0),
	AT(AGGREGATE, HOST, "arriving", OUT_ONLY, UNAPPROVED, SAME, TCP(ACK)),

	/* The bridge, behind rules that may have been at work, teaches nothing. */
	AT(BRIDGE, HOST, "known", OUT_ONLY, OK, SAME, TCP(ACK)),
	AT(BRIDGE, HOST, "unknown", NOTHING, UNAPPROVED, NOTHING, TCP(ACK)),
	AT(BRIDGE, HOST, "SYN of a known flow", BOTH, CONTROL, SAME, TCP(SYN)),
	AT(BRIDGE, NONE, "SYN", NOTHING, UNAPPROVED, NOTHING, TCP(SYN)),
	AT(BRIDGE, HOST, "other rules", OLD_RULES, GENERATION, SAME, 0),
	AT(BRIDGE, HOST, "other protocol", NOTHING, PROTOCOL, NOTHING, .proto = 50),

	/* Without a tag it is not this flow that the host let through. */
	AT(DELIVER, HOST, "unknown", NOTHING, OK, NOTHING, 0),
	AT(DELIVER, HOST, "known", BOTH, OK, NOTHING, 0),
	AT(DELIVER, NONE, "known", BOTH, OK, NOTHING, TCP(SYN)),
	AT(DELIVER, HOST, "fragment", BOTH, OK, SAME, .frag = 0x2000),
	AT(DELIVER, HOST, "options", BOTH, OK, SAME, .ihl = 6),
	AT(DELIVER, HOST, "from this node", NOTHING, NOT_OVERLAY, NOTHING, .saddr = IN(1, 1)),
	AT(DELIVER, HOST, "from outside", NOTHING, NOT_OVERLAY, NOTHING, .saddr = IP(9, 9, 9, 9)),
	AT(DELIVER, HOST, "for elsewhere", NOTHING, NOT_OVERLAY, NOTHING, .daddr = IN(2, 9)),
	AT(DELIVER, HOST, "through another pod's port", BOTH, NO_ENDPOINT, SAME, .daddr = IN(1, 3)),
};
/* clang-format on */

static uint32_t now; /* jiffies, as the programs count them */

/* A SYN approves itself and so tells the time. */
static void read_clock(void)
{
	const struct ip_fields syn = {TCP(SYN)};
	struct weft_approval approval = {0};
	struct weft_flow flow;
	struct result got;
	struct frame in;

	rig_configure(NONE);
	frame_from_pod(&in, &syn);
	rig_run(RIG_PORT, &in, 0, &got);
	rig_flow_of(RIG_PORT, WEFT_OVERHEAD_UDP, &in, &flow);
	report(rig_get_approval(&flow, &approval) && approval.by[0].since &&
		       approval.by[0].since == approval.by[1].since,
	       "an approval bears its time", NULL, NULL);
	now = approval.by[0].since;
}

static void make_frame(const struct approve_case *c, struct frame *out)
{
	const struct outer_fields outer = {0};
	struct ip_fields ip = c->ip;

	if (c->program == RIG_PORT || c->program == RIG_BRIDGE) {
		frame_from_pod(out, &ip);
		return;
	}
	frame_from_peer(out, &outer, &ip);
	if (c->program == RIG_UPLINK)
		return;
	/* Stripped, as it arrives behind the uplink. */
	memmove(out->data + WEFT_ETH_HLEN, out->data + UDP_HEADERS, out->len - UDP_HEADERS);
	out->len -= WEFT_OVERHEAD_UDP;
}

static struct weft_approval approval_of(enum known known)
{
	const uint32_t age = known == AGED_OTHER   ? TTL_OTHER + MARGIN
			     : known == AGED_TCP   ? TTL_TCP + MARGIN
			     : known == AGED_SHORT ? TTL_OTHER / 6 + MARGIN
						   : 0;
	const struct weft_approved yes = {
		.generation = known == OLD_RULES ? RULES - 1 : RULES,
		.since = (now - age) | (known == AGED_SHORT ? WEFT_APPROVED_SHORT : 0),
	};
	struct weft_approval approval = {0};

	if (known != IN_ONLY)
		approval.by[WEFT_EGRESS] = yes;
	if (known != OUT_ONLY)
		approval.by[WEFT_INGRESS] = yes;
	return approval;
}

static bool is_known(const struct approve_case *c, const struct weft_flow *flow)
{
	enum known want = c->after == SAME ? c->before : c->after;
	struct weft_approval got, expected = approval_of(want);

	if (!rig_get_approval(flow, &got))
		return want == NOTHING;
	/* New ones bear the time of the packet. */
	if (c->after != SAME)
		for (int i = 0; i < 2; i++)
			if (got.by[i].generation)
				got.by[i].since = expected.by[i].since;
	return want != NOTHING && memcmp(&got, &expected, sizeof(got)) == 0;
}

/* What a hook does with a packet that may not be fast: strip what is outer, change nothing else. */
static bool is_slow(const struct approve_case *c, const struct frame *in, const struct result *got)
{
	static const enum weft_hook hooks[] = {
		[RIG_PORT] = WEFT_HOOK_PORT,	   [RIG_BRIDGE] = WEFT_HOOK_BRIDGE,
		[RIG_UPLINK] = WEFT_HOOK_UPLINK,   [RIG_AGGREGATE] = WEFT_HOOK_AGGREGATE,
		[RIG_DELIVER] = WEFT_HOOK_DELIVER,
	};
	bool arriving = c->program == RIG_UPLINK || c->program == RIG_AGGREGATE;
	struct frame want = *in;

	if (c->program == RIG_UPLINK) {
		memmove(want.data + WEFT_ETH_HLEN, want.data + UDP_HEADERS, want.len - UDP_HEADERS);
		want.len -= WEFT_OVERHEAD_UDP;
	}
	return result_is(got, arriving ? ACT_REDIRECT : ACT_NEXT, hooks[c->program], WEFT_SLOW,
			 c->reason, in->len, &want);
}

/* Whole frames of fast packets are compared in the other tables. */
static bool is_fast(const struct result *got)
{
	return got->act == ACT_REDIRECT && got->counters == 1 &&
	       got->counter / WEFT_REASON_MAX % WEFT_VERDICT_MAX == WEFT_FAST;
}

static void run_case(const struct approve_case *c)
{
	static const char *const names[] = {"port", "bridge", "uplink", "aggregate", "deliver"};
	bool host = c->flags == HOST, slow = c->reason != WEFT_R_OK || c->program == RIG_DELIVER;
	struct weft_approval before = approval_of(c->before);
	struct weft_flow flow;
	struct result got;
	struct frame in;
	char name[160];

	rig_configure(c->flags);
	rig_set_age(TTL_TCP, TTL_OTHER, RULES);
	rig_forget_approvals();
	make_frame(c, &in);
	rig_flow_of(c->program, WEFT_OVERHEAD_UDP, &in, &flow);
	if (c->before != NOTHING)
		rig_set_approval(&flow, &before);
	rig_run(c->program, &in, 0, &got);
	snprintf(name, sizeof(name), "%s, approve %s, %s (%d) -> %s", names[c->program],
		 host ? "host" : "none", c->name, c->before, slow ? "slow" : "fast");
	report((slow ? is_slow(c, &in, &got) : is_fast(&got)) && is_known(c, &flow), name, &in,
	       &got.out);
}

/* Who asks is part of a ping's flow: leave to answer is no leave to ask. */
static void test_echo(void)
{
	const struct ip_fields ask = {.proto = 1}, answer = {.proto = 1, .icmp = ZERO};
	const struct weft_approval both = approval_of(BOTH);
	struct weft_flow answered;
	struct result got;
	struct frame in;

	frame_from_pod(&in, &answer);
	rig_flow_of(RIG_PORT, WEFT_OVERHEAD_UDP, &in, &answered);
	rig_forget_approvals();
	rig_set_approval(&answered, &both);
	frame_from_pod(&in, &ask);
	rig_run(RIG_PORT, &in, 0, &got);
	report(result_is(&got, ACT_NEXT, WEFT_HOOK_PORT, WEFT_SLOW, WEFT_R_UNAPPROVED, in.len, &in),
	       "port, leave to answer a ping is no leave to send one", &in, &got.out);
}

void test_approve(void)
{
	rig_approves(false);
	rig_forget_approvals();
	read_clock();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		run_case(&cases[i]);
	test_echo();
	rig_forget_approvals();
	rig_approves(true);
}
