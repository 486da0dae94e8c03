/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink hook: who may send what to whom, and what the pod or the host gets of it. */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK)
#define OPEN WEFT_CONFIG_READY

/* What becomes of the frame. */
enum outcome {
	TO_POD, /* stripped, routed, new Ethernet header */
	TO_HOST, /* stripped, unchanged inside */
	LEFT, /* unchanged, to the next program and the stack */
	REFUSED,
};

struct uplink_case {
	const char *note;
	enum outcome outcome;
	enum weft_reason reason;
	struct outer_fields outer;
	struct ip_fields ip;
};

#define A(...) \
	{ \
		__VA_ARGS__ \
	}
#define CASE(note, outcome, why, outer, ...) \
	{ \
		note, outcome, WEFT_R_##why, outer, \
		{ \
			__VA_ARGS__ \
		} \
	}

/* clang-format off */
static const struct uplink_case cases[] = {
	CASE("plain", TO_POD, OK, A(0), 0),
	CASE("ttl", TO_POD, OK, A(0), .ttl = 2),
	CASE("ttl", TO_POD, OK, A(0), .ttl = 255),
	CASE("ttl", TO_HOST, TTL, A(0), .ttl = 1),
	CASE("ttl", TO_HOST, TTL, A(0), .ttl = ZERO),
	CASE("tos", TO_POD, OK, A(0), .tos = 0xff),
	CASE("tcp", TO_POD, OK, A(0), .proto = 6),
	CASE("icmp", TO_POD, OK, A(0), .proto = 1),
	CASE("other protocol", TO_HOST, PROTOCOL, A(0), .proto = 50),
	CASE("empty", TO_HOST, SHORT, A(0), .payload = ZERO),
	CASE("one byte", TO_HOST, SHORT, A(0), .payload = 1),
	CASE("full", TO_POD, OK, A(0), .payload = 1452),
	CASE("jumbo", TO_POD, OK, A(0), .payload = 3000),
	CASE("reserved bit", TO_POD, OK, A(0), .frag = 0x8000),
	CASE("don't fragment", TO_POD, OK, A(0), .frag = 0x4000),
	CASE("outer without DF", TO_POD, OK, A(.frag = 0x8000), 0),
	CASE("from a peer's long prefix", TO_POD, OK, A(.saddr = OUT(5)), .saddr = IN(5, 9)),
	CASE("from a peer's short prefix", TO_POD, OK, A(.saddr = OUT(6)), .saddr = IN(7, 9)),
	CASE("from the last cell", TO_POD, OK, A(.saddr = OUT(7)), .saddr = IN(255, 255)),
	CASE("from an unresolved peer", TO_POD, OK, A(.saddr = OUT(3)), .saddr = IN(3, 9)),
	CASE("from a peer's base address", TO_POD, OK, A(0), .saddr = IN(2, 0)),
	CASE("first fragment", TO_HOST, FRAGMENT, A(0), .frag = 0x2000),
	CASE("middle fragment", TO_HOST, FRAGMENT, A(0), .frag = 0x20b9),
	CASE("last fragment", TO_HOST, FRAGMENT, A(0), .frag = 0x00b9),
	CASE("options", TO_HOST, IP_OPTIONS, A(0), .ihl = 6),
	CASE("options", TO_HOST, IP_OPTIONS, A(0), .ihl = 15),
	CASE("to the overlay device", TO_HOST, HOST, A(0), .daddr = IN(1, 0)),
	CASE("to the bridge", TO_HOST, HOST, A(0), .daddr = IN(1, 1)),
	CASE("to the bridge, last ttl", TO_HOST, HOST, A(0), .daddr = IN(1, 1), .ttl = 1),
	CASE("to an unknown pod", TO_HOST, NO_ENDPOINT, A(0), .daddr = IN(1, 4)),
	CASE("to the subnet's broadcast", TO_HOST, NO_ENDPOINT, A(0), .daddr = IN(1, 255)),
	CASE("to a port without a peer namespace", TO_HOST, NO_ENDPOINT, A(0), .daddr = IN(1, 5)),
	CASE("stranger", REFUSED, UNKNOWN_PEER, A(.saddr = OUT(99)), 0),
	CASE("stranger claiming nothing of ours", REFUSED, UNKNOWN_PEER,
	     A(.saddr = OUT(99)), .saddr = IP(8, 8, 8, 8)),
	CASE("stranger claiming a free subnet", REFUSED, UNKNOWN_PEER,
	     A(.saddr = OUT(99)), .saddr = IN(9, 1)),
	CASE("member claiming another's", REFUSED, SPOOFED_INNER, A(.saddr = OUT(3)), 0),
	CASE("member claiming a free subnet", REFUSED, SPOOFED_INNER, A(0), .saddr = IN(9, 1)),
	CASE("member claiming outside", REFUSED, SPOOFED_INNER, A(0), .saddr = IP(8, 8, 8, 8)),
	CASE("member claiming the free half", REFUSED, SPOOFED_INNER,
	     A(.saddr = OUT(5)), .saddr = IN(5, 129)),
	CASE("member claiming ours", REFUSED, SPOOFED_INNER, A(0), .saddr = IN(1, 3)),
	CASE("ourselves", REFUSED, SPOOFED_INNER, A(.saddr = NODE), .saddr = POD),
	CASE("to another node's subnet", REFUSED, FOREIGN_DST, A(0), .daddr = IN(3, 1)),
	CASE("to an underlay address", REFUSED, FOREIGN_DST, A(0), .daddr = NODE),
	CASE("to outside", REFUSED, FOREIGN_DST, A(0), .daddr = IP(8, 8, 8, 8)),
	CASE("to loopback", REFUSED, FOREIGN_DST, A(0), .daddr = IP(127, 0, 0, 1)),
	CASE("to multicast", REFUSED, FOREIGN_DST, A(0), .daddr = IP(224, 0, 0, 1)),
	CASE("to broadcast", REFUSED, FOREIGN_DST, A(0), .daddr = 0xffffffff),
	CASE("another port", LEFT, NOT_OVERLAY, A(.dport = 8286), 0),
	CASE("vxlan's port", LEFT, NOT_OVERLAY, A(.dport = 8472), 0),
	CASE("another local address", LEFT, NOT_OVERLAY, A(.daddr = OUT(201)), 0),
	CASE("underlay broadcast", LEFT, NOT_OVERLAY, A(.daddr = OUT(255)), 0),
	CASE("TCP to the port", LEFT, NOT_OVERLAY, A(.proto = 6), 0),
	CASE("ICMP", LEFT, NOT_OVERLAY, A(.proto = 1), 0),
	CASE("outer options", LEFT, OUTER_OPTIONS, A(.ihl = 6), 0),
	CASE("outer options", LEFT, OUTER_OPTIONS, A(.ihl = 15), 0),
	CASE("outer ihl", LEFT, BAD_IP4, A(.ihl = 4), 0),
	CASE("outer ihl", LEFT, BAD_IP4, A(.ihl = ZERO), 0),
	CASE("outer version", LEFT, BAD_IP4, A(.ver = 6), 0),
	CASE("outer version", LEFT, BAD_IP4, A(.ver = 5), 0),
	CASE("outer first fragment", LEFT, OUTER_FRAGMENT, A(.frag = 0x2000), 0),
	CASE("outer last fragment", LEFT, OUTER_FRAGMENT, A(.frag = 0x0010), 0),
	CASE("outer total length", LEFT, BAD_IP4, A(.len_delta = 1), 0),
	CASE("outer total length", LEFT, BAD_IP4, A(.len_delta = -1), 0),
	CASE("outer total length", LEFT, BAD_IP4, A(.len_delta = 20000), 0),
	CASE("outer total length", LEFT, BAD_IP4, A(.len_delta = -60), 0),
	CASE("outer UDP length", LEFT, BAD_UDP, A(.udp_delta = 1), 0),
	CASE("outer UDP length", LEFT, BAD_UDP, A(.udp_delta = -1), 0),
	CASE("outer UDP length", LEFT, BAD_UDP, A(.udp_delta = -45), 0),
	CASE("outer UDP length", LEFT, BAD_UDP, A(.udp_delta = -52), 0),
	CASE("unverified outer checksum", LEFT, CHECKSUM, A(.udp_check = 1), 0),
	CASE("unverified outer checksum", LEFT, CHECKSUM, A(.udp_check = 0xffff), 0),
	CASE("inner version", LEFT, BAD_IP4, A(0), .ver = 6),
	CASE("inner version", LEFT, BAD_IP4, A(0), .ver = ZERO),
	CASE("inner ihl", LEFT, BAD_IP4, A(0), .ihl = 4),
	CASE("inner ihl", LEFT, BAD_IP4, A(0), .ihl = ZERO),
	CASE("inner total length", LEFT, BAD_IP4, A(0), .len_delta = 1),
	CASE("inner total length", LEFT, BAD_IP4, A(0), .len_delta = -1),
	CASE("inner total length", LEFT, BAD_IP4, A(0), .len_delta = -44),
	CASE("inner total length", LEFT, BAD_IP4, A(0), .len_delta = -30),
};

/* With --peer-check off only the address itself is looked at. */
static const struct uplink_case open_cases[] = {
	CASE("peer check off: stranger", TO_POD, OK, A(.saddr = OUT(99)), 0),
	CASE("peer check off: rewritten source", TO_POD, OK, A(.saddr = OUT(3)), 0),
	CASE("peer check off: outside", TO_POD, OK, A(0), .saddr = IP(8, 8, 8, 8)),
	CASE("peer check off: ours", REFUSED, SPOOFED_INNER, A(0), .saddr = IN(1, 3)),
	CASE("peer check off: foreign", REFUSED, FOREIGN_DST, A(0), .daddr = IN(3, 1)),
};
/* clang-format on */

/* Ethernet of the outer frame, then the inner packet. */
static void strip(struct frame *want, const struct frame *in)
{
	memcpy(want->data, in->data, 14);
	memcpy(want->data + 14, in->data + 42, in->len - 42);
	want->len = in->len - 28;
}

static void expected(struct frame *want, const struct frame *in, enum outcome outcome)
{
	*want = *in;
	if (outcome == LEFT || outcome == REFUSED)
		return;
	strip(want, in);
	if (outcome == TO_HOST)
		return;
	memcpy(want->data, pod_mac, 6);
	memcpy(want->data + 6, bridge_mac, 6);
	packet_route(want, 14);
}

static void run_frame(const char *name, const struct frame *in, uint32_t gso_size,
		      enum outcome outcome, enum weft_reason reason)
{
	static const int acts[] = {[TO_POD] = ACT_REDIRECT,
				   [TO_HOST] = ACT_REDIRECT,
				   [LEFT] = ACT_NEXT,
				   [REFUSED] = ACT_SHOT};
	static const enum weft_verdict verdicts[] = {[TO_POD] = WEFT_FAST,
						     [TO_HOST] = WEFT_SLOW,
						     [LEFT] = WEFT_SLOW,
						     [REFUSED] = WEFT_DROP};
	enum weft_verdict verdict = reason == WEFT_R_HOST ? WEFT_FAST : verdicts[outcome];
	struct frame want;
	struct result got;

	rig_run(RIG_UPLINK, in, gso_size, &got);
	expected(&want, in, outcome);
	report(result_is(&got, acts[outcome], WEFT_HOOK_UPLINK, verdict, reason, in->len, &want),
	       name, &want, &got.out);
}

static void run_case(const struct uplink_case *c)
{
	char fields[256], name[400];
	struct frame in;

	frame_from_peer(&in, &c->outer, &c->ip);
	snprintf(name, sizeof(name), "uplink %s%s -> %d/%d", c->note,
		 ip_fields_text(&c->ip, fields, sizeof(fields)), c->outcome, c->reason);
	run_frame(name, &in, 0, c->outcome, c->reason);
}

static void test_frames(void)
{
	const struct outer_fields outer = {0};
	const struct ip_fields plain = {0};
	struct frame in;

	frame_from_peer(&in, &outer, &plain);
	in.data[5] = 9;
	run_frame("uplink frame to another host's MAC -> slow not_overlay", &in, 0, LEFT,
		  WEFT_R_NOT_OVERLAY);
	frame_from_peer(&in, &outer, &plain);
	memset(in.data, 0xff, 6);
	run_frame("uplink broadcast frame -> slow not_overlay", &in, 0, LEFT, WEFT_R_NOT_OVERLAY);
	frame_from_peer(&in, &outer, &plain);
	put16(in.data + 12, 0x86dd);
	run_frame("uplink IPv6 -> slow not_ipv4", &in, 0, LEFT, WEFT_R_NOT_IPV4);
	put16(in.data + 12, 0x0806);
	run_frame("uplink ARP -> slow not_ipv4", &in, 0, LEFT, WEFT_R_NOT_IPV4);
	frame_from_peer(&in, &outer, &plain);
	memset(in.data + in.len, 0, 4);
	in.len += 4;
	run_frame("uplink frame with trailing bytes -> slow bad_ip4", &in, 0, LEFT, WEFT_R_BAD_IP4);
}

static void test_short(void)
{
	const struct outer_fields outer = {0}, ten = {.len_delta = -34, .udp_delta = -34};
	const struct ip_fields plain = {0};
	struct frame in;

	frame_from_peer(&in, &outer, &plain);
	in.len = 41;
	run_frame("uplink frame without a whole UDP header -> slow short", &in, 0, LEFT,
		  WEFT_R_SHORT);
	frame_from_peer(&in, &ten, &plain);
	in.len = 52;
	run_frame("uplink payload of ten bytes -> slow short", &in, 0, LEFT, WEFT_R_SHORT);
}

static void test_gso(void)
{
	const struct ip_fields tcp = {.proto = 6, .payload = 2900};
	const struct ip_fields first = {.payload = 2000, .len_delta = -1000};
	const struct outer_fields outer = {0};
	struct frame in;

	frame_from_peer(&in, &outer, &tcp);
	run_frame("uplink GSO TCP -> accepted, refused by the kernel as it has no type", &in, 1400,
		  LEFT, WEFT_R_HELPER);
	frame_from_peer(&in, &outer, &first);
	run_frame("uplink several datagrams behind one header -> slow glued", &in, 1028, LEFT,
		  WEFT_R_GLUED);
	frame_from_peer(&in, &outer, &first);
	run_frame("uplink the same without GSO -> slow bad_ip4", &in, 0, LEFT, WEFT_R_BAD_IP4);
}

static void test_mac_hint(void)
{
	const struct outer_fields outer = {0};
	const struct ip_fields plain = {0};
	struct weft_hint hint;
	struct result got;
	struct frame in;

	while (rig_hint(&hint))
		;
	frame_from_peer(&in, &outer, &plain);
	rig_run(RIG_UPLINK, &in, 0, &got);
	report(!rig_hint(&hint), "a peer's usual MAC is no news", NULL, NULL);
	in.data[11] = 0x77;
	rig_run(RIG_UPLINK, &in, 0, &got);
	report(rig_hint(&hint) && hint.type == WEFT_HINT_PEER_MAC &&
		       hint.addr == __builtin_bswap32(PEER) && hint.mac[5] == 0x77,
	       "a peer's new MAC is reported to the agent", NULL, NULL);
}

/* Behind the aggregator: already checked, merged, and still in need of this node's routing. */
static void test_aggregate(void)
{
	const struct ip_fields to_pod = {
		.saddr = REMOTE, .daddr = POD, .proto = 6, .payload = 2900};
	const struct ip_fields astray = {.saddr = REMOTE, .daddr = IN(3, 1), .proto = 6};
	struct frame in = {.len = 0}, want;
	struct result got;

	packet_put_eth(&in, uplink_mac, uplink_mac, 0);
	packet_put_ip(&in, &to_pod);
	want = in;
	memcpy(want.data, pod_mac, 6);
	memcpy(want.data + 6, bridge_mac, 6);
	packet_route(&want, 14);
	rig_run(RIG_AGGREGATE, &in, 1400, &got);
	report(result_is(&got, ACT_REDIRECT, WEFT_HOOK_AGGREGATE, WEFT_FAST, WEFT_R_OK, in.len,
			 &want),
	       "aggregate to the pod -> fast", &want, &got.out);
	in.len = 0;
	packet_put_eth(&in, uplink_mac, uplink_mac, 0);
	packet_put_ip(&in, &astray);
	rig_run(RIG_AGGREGATE, &in, 0, &got);
	report(result_is(&got, ACT_SHOT, WEFT_HOOK_AGGREGATE, WEFT_DROP, WEFT_R_BAD_IP4, in.len,
			 &in),
	       "aggregate of what no uplink can have sent -> drop", &in, &got.out);
}

void test_uplink(void)
{
	rig_configure(ON);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		run_case(&cases[i]);
	test_frames();
	test_short();
	test_gso();
	test_mac_hint();
	test_aggregate();
	rig_configure(OPEN);
	for (size_t i = 0; i < ARRAY_SIZE(open_cases); i++)
		run_case(&open_cases[i]);
	rig_configure(ON);
	rig_flip_state();
	run_case(&cases[0]);
}
