/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The strip program in front of the uplink's: what it takes the outer headers off, and what it
 * leaves alone, byte for byte. What the uplink program then does with it is what the aggregator's
 * does.
 */
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK | WEFT_CONFIG_APPROVE_HOST)
#define ALL 7

static const uint8_t mark[4] = {'w', 'e', 'f', 't'};

static bool is_counted(const struct result *got, size_t bytes)
{
	return got->counters == 1 &&
	       got->counter == (uint32_t)WEFT_COUNTER(WEFT_HOOK_STRIP, WEFT_FAST, WEFT_R_OK) &&
	       got->by.packets == 1 && got->by.bytes == bytes;
}

/* Kernels before 5.14 do not show the metadata of a test run. */
static void drop_mark(struct frame *out)
{
	if (out->len < sizeof(mark) || memcmp(out->data, mark, sizeof(mark)) != 0)
		return;
	out->len -= sizeof(mark);
	memmove(out->data, out->data + sizeof(mark), out->len);
}

static bool is_left(const struct frame *in, struct result *got)
{
	rig_run(RIG_STRIP, in, 0, got);
	return got->act == ACT_XDP_PASS && got->counters == 0 && got->out.len == in->len &&
	       memcmp(got->out.data, in->data, in->len) == 0;
}

/* Ethernet as it came, and the inner packet with another TOS. */
static void unwrapped(struct frame *want, const struct frame *in, size_t headers, int tos)
{
	memcpy(want->data, in->data, 14);
	memcpy(want->data + 14, in->data + headers, in->len - headers);
	want->len = in->len - headers + 14;
	if (tos < 0)
		return;
	want->data[15] = (uint8_t)tos;
	put16(want->data + 24, 0);
	put16(want->data + 24, packet_checksum(want->data + 14, 20));
}

static void test_stripped(enum weft_format format, const struct ip_fields *ip, const char *what)
{
	struct frame in, want;
	struct result got;
	char name[128];

	frame_from_format(&in, format, 0, ip);
	rig_run(RIG_STRIP, &in, 0, &got);
	unwrapped(&want, &in, format_headers(format), -1);
	drop_mark(&got.out);
	snprintf(name, sizeof(name), "strip %s: %s", format_text(format), what);
	report(got.act == ACT_XDP_PASS && is_counted(&got, in.len) && got.out.len == want.len &&
		       memcmp(got.out.data, want.data, want.len) == 0,
	       name, &want, &got.out);
}

/* RFC 6040, figure 4; -1: lost, which the uplink program sees to. */
static void test_ecn(enum weft_format format)
{
	static const int table[4][4] = {
		/* outer Not-ECT, ECT(1), ECT(0), CE */
		{0, 0, 0, -1}, /* inner Not-ECT */
		{1, 1, 1, 3}, /* ECT(1) */
		{2, 1, 2, 3}, /* ECT(0) */
		{3, 3, 3, 3}, /* CE */
	};
	char name[128];

	for (int i = 0; i < 16; i++) {
		int inner = i / 4, outer = i % 4, ecn = table[inner][outer];
		const struct ip_fields ip = {.tos = 0xb8 | inner};
		struct frame in, want;
		struct result got;
		bool ok;

		frame_from_format(&in, format, outer, &ip);
		if (ecn < 0) {
			want = in;
			ok = is_left(&in, &got);
		} else {
			rig_run(RIG_STRIP, &in, 0, &got);
			unwrapped(&want, &in, format_headers(format), 0xb8 | ecn);
			drop_mark(&got.out);
			ok = is_counted(&got, in.len) && got.out.len == want.len &&
			     memcmp(got.out.data, want.data, want.len) == 0;
		}
		snprintf(name, sizeof(name), "strip %s: ECN %d in %d -> %d", format_text(format),
			 inner, outer, ecn);
		report(ok, name, &want, &got.out);
	}
}

static void test_mark(void)
{
	const struct ip_fields ip = {0};
	struct frame in;
	struct result got;
	bool shown;

	frame_from_format(&in, WEFT_FORMAT_UDP, 0, &ip);
	rig_run(RIG_STRIP, &in, 0, &got);
	shown = got.out.len == in.len - 28 + 4;
	report(shown ? memcmp(got.out.data, mark, 4) == 0 : got.out.len == in.len - 28,
	       "strip: the metadata say so", NULL, &got.out);
}

/* Inner packets that are not for a pod, or not whole, or not the sender's */
static void test_left_inner(enum weft_format format)
{
	const struct {
		const char *what;
		struct ip_fields ip;
	} cases[] = {
		{"last ttl", {.ttl = 1}},
		{"no ttl", {.ttl = ZERO}},
		{"first fragment", {.frag = 0x2000}},
		{"last fragment", {.frag = 0x00b9}},
		{"options", {.ihl = 6}},
		{"to the overlay device", {.daddr = IN(1, 0)}},
		{"to the bridge", {.daddr = IN(1, 1)}},
		{"to an unknown pod", {.daddr = IN(1, 4)}},
		{"to a port without a peer namespace", {.daddr = IN(1, 5)}},
		{"to another subnet", {.daddr = IN(3, 1)}},
		{"to the underlay", {.daddr = NODE}},
		{"from another's subnet", {.saddr = IN(255, 1)}},
		{"from our subnet", {.saddr = IN(1, 3)}},
		{"from outside", {.saddr = IP(8, 8, 8, 8)}},
		{"inner version", {.ver = 6}},
		{"inner length, one more", {.len_delta = 1}},
		{"inner length, one less", {.len_delta = -1}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct frame in;
		struct result got;
		char name[128];

		frame_from_format(&in, format, 0, &cases[i].ip);
		snprintf(name, sizeof(name), "strip leaves %s: %s", format_text(format),
			 cases[i].what);
		report(is_left(&in, &got), name, &in, &got.out);
	}
}

/* One byte or two of a good frame are different. */
static void test_left_outer(enum weft_format format)
{
	const struct {
		const char *what;
		int at, value;
		unsigned formats; /* by bit; where it means this */
	} cases[] = {
		{"to another MAC", 5, 0x09, ALL},
		{"to everybody's MAC", 0, 0xff, ALL},
		{"not IPv4", 13, 0x06, ALL},
		{"outer options", 14, 0x46, ALL},
		{"outer version", 14, 0x65, ALL},
		{"outer fragment", 20, 0x20, ALL},
		{"outer fragment's end", 21, 0x01, ALL},
		{"another protocol", 23, 0x2f, ALL},
		{"from a stranger", 29, 0x63, ALL},
		{"from another member", 29, 0x03, ALL},
		{"to another address", 33, 0x77, ALL},
		{"another port", 37, 0x01, 1 << WEFT_FORMAT_UDP | 1 << WEFT_FORMAT_VXLAN},
		{"UDP length", 39, 0x01, 1 << WEFT_FORMAT_UDP | 1 << WEFT_FORMAT_VXLAN},
		{"a checksum", 41, 0x01, 1 << WEFT_FORMAT_UDP | 1 << WEFT_FORMAT_VXLAN},
		{"no VNI flag", 42, 0x00, 1 << WEFT_FORMAT_VXLAN},
		{"a reserved flag", 42, 0x88, 1 << WEFT_FORMAT_VXLAN},
		{"a reserved bit", 45, 0x01, 1 << WEFT_FORMAT_VXLAN},
		{"another VNI", 48, 0x02, 1 << WEFT_FORMAT_VXLAN},
		{"a reserved byte", 49, 0x01, 1 << WEFT_FORMAT_VXLAN},
		{"another VTEP", 55, 0x77, 1 << WEFT_FORMAT_VXLAN},
		{"ARP inside", 63, 0x06, 1 << WEFT_FORMAT_VXLAN},
	};
	const struct ip_fields ip = {0};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct frame in;
		struct result got;
		char name[128];

		if (!(cases[i].formats & 1u << format))
			continue;
		frame_from_format(&in, format, 0, &ip);
		in.data[cases[i].at] = (uint8_t)cases[i].value;
		snprintf(name, sizeof(name), "strip leaves %s: %s", format_text(format),
			 cases[i].what);
		report(is_left(&in, &got), name, &in, &got.out);
	}
}

/*
 * The frame is longer than its headers say, by a little or by another packet, and every bit
 * shorter.
 */
static void test_left_sizes(enum weft_format format)
{
	const struct ip_fields ip = {.payload = 60};
	struct frame in, cut;
	struct result got;
	bool ok = true;
	char name[128];

	frame_from_format(&in, format, 0, &ip);
	memset(in.data + in.len, 0, 100);
	for (size_t more = 1; more <= 100; more += 33) {
		cut = in;
		cut.len += more;
		ok &= is_left(&cut, &got);
	}
	snprintf(name, sizeof(name), "strip leaves %s: padded", format_text(format));
	report(ok, name, NULL, NULL);
	ok = true;
	for (size_t len = RIG_MIN_LEN; len < in.len; len++) {
		cut = in;
		cut.len = len;
		ok &= is_left(&cut, &got);
	}
	snprintf(name, sizeof(name), "strip leaves %s: cut short anywhere", format_text(format));
	report(ok, name, NULL, NULL);
	/* The outer length agrees with the frame and the inner one does not */
	cut = in;
	cut.len += 4;
	put16(cut.data + 16, (uint16_t)(cut.len - 14));
	if (format != WEFT_FORMAT_IPIP)
		put16(cut.data + 38, (uint16_t)(cut.len - 34));
	snprintf(name, sizeof(name), "strip leaves %s: more than the inner packet",
		 format_text(format));
	report(is_left(&cut, &got), name, &cut, &got.out);
	/* The outer length says more than the frame has, the inner one as much as there is */
	cut = in;
	put16(cut.data + 16, (uint16_t)(cut.len - 14 + 4));
	if (format != WEFT_FORMAT_IPIP)
		put16(cut.data + 38, (uint16_t)(cut.len - 34 + 4));
	snprintf(name, sizeof(name), "strip leaves %s: less than the outer length",
		 format_text(format));
	report(is_left(&cut, &got), name, &cut, &got.out);
}

/* What the uplink program gives to a pod or, for want of approval, to the host. */
static bool uplink_takes(const struct result *by)
{
	enum weft_reason reason = by->counter % WEFT_REASON_MAX;

	return by->act == ACT_REDIRECT && reason != WEFT_R_HOST && reason != WEFT_R_TTL &&
	       reason != WEFT_R_IP_OPTIONS && reason != WEFT_R_FRAGMENT &&
	       reason != WEFT_R_NO_ENDPOINT;
}

/* The strip program's frame, delivered, is what the uplink program makes of the same one. */
static bool agree(enum weft_format format, const struct frame *in)
{
	struct result strip, uplink;
	bool to_pod;

	rig_run_as(RIG_UPLINK, format_headers(format) - 14, in, 0, &uplink);
	if (!uplink_takes(&uplink))
		return is_left(in, &strip);
	rig_run(RIG_STRIP, in, 0, &strip);
	drop_mark(&strip.out);
	to_pod = uplink.counter % WEFT_REASON_MAX == WEFT_R_OK;
	if (to_pod && strip.out.len >= 34) {
		memcpy(strip.out.data, pod_mac, 6);
		memcpy(strip.out.data + 6, bridge_mac, 6);
		packet_route(&strip.out, 14);
		packet_route(&uplink.out, 14); /* both checksums anew */
		strip.out.data[22]--;
		put16(strip.out.data + 24, 0);
		put16(strip.out.data + 24, packet_checksum(strip.out.data + 14, 20));
	}
	return is_counted(&strip, in->len) && strip.out.len == uplink.out.len &&
	       memcmp(strip.out.data, uplink.out.data, uplink.out.len) == 0;
}

static void test_mutants(enum weft_format format)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xff};
	const struct ip_fields ip = {.payload = 12};
	struct frame good, in;
	bool ok = true;
	char name[128];

	frame_from_format(&good, format, 2, &ip);
	for (size_t at = 0; at < good.len; at++) {
		for (size_t i = 0; i < ARRAY_SIZE(flips); i++) {
			in = good;
			in.data[at] ^= flips[i];
			if (agree(format, &in))
				continue;
			printf("# byte %zu ^ %02x\n", at, flips[i]);
			ok = false;
		}
	}
	snprintf(name, sizeof(name), "strip and uplink agree about each mutant of %s",
		 format_text(format));
	report(ok, name, NULL, NULL);
}

static void test_peers(void)
{
	const struct outer_fields from3 = {.saddr = OUT(3)}, plain = {0};
	const struct ip_fields ip3 = {.saddr = IN(3, 9)}, ip = {0};
	struct frame in;
	struct result got;
	struct weft_hint hint;

	frame_from_peer(&in, &from3, &ip3);
	report(is_left(&in, &got), "strip leaves udp: a peer not resolved", &in, &got.out);
	while (rig_hint(&hint))
		;
	frame_from_peer(&in, &plain, &ip);
	in.data[11] = 0x77;
	rig_run(RIG_STRIP, &in, 0, &got);
	report(is_counted(&got, in.len) && rig_hint(&hint) && hint.type == WEFT_HINT_PEER_MAC &&
		       hint.addr == __builtin_bswap32(PEER) && hint.mac[5] == 0x77,
	       "strip reports a peer's new MAC", NULL, NULL);
	rig_configure(0);
	frame_from_peer(&in, &plain, &ip);
	report(is_left(&in, &got), "strip leaves udp: nothing configured", &in, &got.out);
	rig_configure(ON);
	rig_accept(1 << WEFT_FORMAT_VXLAN);
	report(is_left(&in, &got), "strip leaves udp: it is not accepted", &in, &got.out);
}

void test_strip(void)
{
	const struct ip_fields cases[] = {
		{0},	       {.proto = 6},	  {.proto = 1},
		{.proto = 50}, {.payload = ZERO}, {.payload = 1400},
	};
	static const char *const names[] = {"plain",	      "TCP",	    "ICMP",
					    "other protocol", "no payload", "large"};

	rig_configure(ON);
	rig_accept(ALL);
	test_mark();
	for (int format = 0; format < WEFT_FORMAT_MAX; format++) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
			test_stripped(format, &cases[i], names[i]);
		test_ecn(format);
		test_left_inner(format);
		test_left_outer(format);
		test_left_sizes(format);
		test_mutants(format);
	}
	test_peers();
	rig_configure(ON);
}
