/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the formats have of their own: outer headers byte by byte, what is refused, ECN and DSCP.
 * The frames are put together here from RFC 768, 2003, 6040 and 7348, independently of bpf/.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "cases.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK | WEFT_CONFIG_APPROVE_HOST)
#define ALL 7

/* The format's node of the rig, and bytes in front of the inner packet behind Ethernet. */
static const struct {
	const char *name;
	uint8_t subnet;
	size_t overhead;
} formats[] = {{"udp", 2, 28}, {"vxlan", 10, 50}, {"ipip", 11, 20}};

static uint32_t peer_of(int format)
{
	return format == WEFT_FORMAT_UDP ? PEER : OUT(formats[format].subnet);
}

struct vxlan_fields {
	uint32_t flags; /* 0x08000000; 1: none */
	uint32_t vni; /* 1, in front of a zero byte */
	const uint8_t *dst, *src; /* this node's end, the peer's */
	uint16_t eth_type; /* IPv4 */
	uint16_t cut; /* the frame ends so many bytes early */
};

static void put_vxlan(struct frame *frame, const struct vxlan_fields *v)
{
	put32(frame->data + frame->len, v->flags == 1 ? 0 : v->flags ? v->flags : 0x08000000);
	put32(frame->data + frame->len + 4, v->vni ? v->vni : 1 << 8);
	frame->len += 8;
	packet_put_eth(frame, v->dst ? v->dst : node_vtep, v->src ? v->src : peer_vtep,
		       v->eth_type);
}

/* Outer headers of any format; what is inside follows. */
static void put_outer(struct frame *frame, int format, uint32_t saddr, uint32_t daddr, uint8_t tos,
		      const struct vxlan_fields *v, size_t inner_len)
{
	struct outer_fields outer = {.saddr = saddr, .daddr = daddr, .tos = tos};

	if (format == WEFT_FORMAT_IPIP)
		outer.bare = true;
	if (format == WEFT_FORMAT_VXLAN) {
		outer.dport = 8472;
		inner_len += 22;
	}
	packet_put_outer(frame, &outer, inner_len);
	if (format == WEFT_FORMAT_VXLAN)
		put_vxlan(frame, v);
}

static void frame_of(struct frame *out, int format, uint8_t outer_tos, const struct vxlan_fields *v,
		     const struct ip_fields *ip)
{
	struct frame inner = {.len = 0};
	struct ip_fields f = *ip;

	f.saddr = f.saddr ? f.saddr : IN(formats[format].subnet, 2);
	f.daddr = f.daddr ? f.daddr : POD;
	packet_put_ip(&inner, &f);
	out->len = 0;
	packet_put_eth(out, uplink_mac, peer_mac, 0);
	put_outer(out, format, peer_of(format), NODE, outer_tos, v, inner.len);
	memcpy(out->data + out->len, inner.data, inner.len);
	out->len += inner.len - v->cut;
}

void frame_from_format(struct frame *out, enum weft_format format, uint8_t outer_tos,
		       const struct ip_fields *ip)
{
	const struct vxlan_fields usual = {0};

	frame_of(out, format, outer_tos, &usual, ip);
}

size_t format_headers(enum weft_format format)
{
	return 14 + formats[format].overhead;
}

uint8_t format_subnet(enum weft_format format)
{
	return formats[format].subnet;
}

const char *format_text(enum weft_format format)
{
	return formats[format].name;
}

/* Sending */

static void test_sent(int format, uint32_t flags, const struct ip_fields *ip, uint8_t outer_tos,
		      const char *what)
{
	const struct vxlan_fields v = {.dst = peer_vtep, .src = node_vtep};
	struct ip_fields f = *ip;
	struct frame in, want = {.len = 0};
	char name[128];
	struct result got;

	rig_configure(flags);
	rig_accept(ALL);
	f.daddr = IN(formats[format].subnet, 2);
	frame_from_pod(&in, &f);
	rig_run(RIG_PORT, &in, 0, &got);
	packet_put_eth(&want, peer_mac, uplink_mac, 0);
	put_outer(&want, format, NODE, peer_of(format), outer_tos, &v, in.len - 14);
	memcpy(want.data + want.len, in.data + 14, in.len - 14);
	want.len += in.len - 14;
	packet_route(&want, 14 + formats[format].overhead);
	/* Without entropy the source port is the format's. */
	if (format != WEFT_FORMAT_IPIP)
		put16(want.data + 34, format == WEFT_FORMAT_VXLAN ? 8472 : 8285);
	snprintf(name, sizeof(name), "port sends %s: %s", formats[format].name, what);
	report(result_is(&got, ACT_REDIRECT, WEFT_HOOK_PORT, WEFT_FAST, WEFT_R_OK, in.len, &want),
	       name, &want, &got.out);
}

static void test_size(int format)
{
	struct ip_fields ip = {.daddr = IN(formats[format].subnet, 2)};
	struct frame in;
	char name[128];
	struct result got;

	ip.payload = 1500 - formats[format].overhead - 20;
	test_sent(format, ON, &ip, 0, "the largest that fits");
	ip.payload++;
	frame_from_pod(&in, &ip);
	rig_run(RIG_PORT, &in, 0, &got);
	snprintf(name, sizeof(name), "port leaves %s: one byte more", formats[format].name);
	report(result_is(&got, ACT_NEXT, WEFT_HOOK_PORT, WEFT_SLOW, WEFT_R_TOO_BIG, in.len, &in),
	       name, &in, &got.out);
}

static void test_entropy(int format)
{
	const struct ip_fields ip = {.daddr = IN(formats[format].subnet, 2)};
	struct frame in;
	struct result got;
	unsigned int port;

	rig_configure(ON | WEFT_CONFIG_ENTROPY);
	rig_accept(ALL);
	frame_from_pod(&in, &ip);
	rig_run(RIG_PORT, &in, 0, &got);
	port = got.out.data[34] << 8 | got.out.data[35];
	report(got.act == ACT_REDIRECT && port >= 49152, "a source port of the flow's own", NULL,
	       NULL);
}

static void test_sending(void)
{
	static const uint8_t tos[] = {0x00, 0x01, 0x02, 0x03, 0xb8, 0xbb};

	for (int format = 0; format < WEFT_FORMAT_MAX; format++) {
		for (size_t i = 0; i < ARRAY_SIZE(tos); i++) {
			const struct ip_fields ip = {.tos = tos[i]};
			/* udp: RFC 6040's compatibility mode, as flannel ignores marks */
			uint8_t ecn = format == WEFT_FORMAT_UDP ? 0 : tos[i] & 3;
			char what[64];

			snprintf(what, sizeof(what), "tos %02x", tos[i]);
			test_sent(format, ON, &ip, ecn, what);
			snprintf(what, sizeof(what), "tos %02x, DSCP inherited", tos[i]);
			test_sent(format, ON | WEFT_CONFIG_INHERIT_DSCP, &ip, (tos[i] & 0xfc) | ecn,
				  what);
		}
		test_size(format);
	}
	test_entropy(WEFT_FORMAT_UDP);
	test_entropy(WEFT_FORMAT_VXLAN);
}

/* Receiving */

static void run_uplink(const char *name, int format, const struct frame *in, int act,
		       enum weft_verdict verdict, enum weft_reason reason, uint8_t inner_tos)
{
	size_t overhead = formats[format].overhead;
	struct frame want = *in;
	struct result got;

	rig_run_as(RIG_UPLINK, overhead, in, 0, &got);
	if (act == ACT_REDIRECT) {
		memcpy(want.data, pod_mac, 6);
		memcpy(want.data + 6, bridge_mac, 6);
		memmove(want.data + 14, in->data + 14 + overhead, in->len - 14 - overhead);
		want.len = in->len - overhead;
		want.data[15] = inner_tos;
		packet_route(&want, 14);
	}
	report(result_is(&got, act, WEFT_HOOK_UPLINK, verdict, reason, in->len, &want), name, &want,
	       &got.out);
}

/* RFC 6040 figure 4: rows are the inner field, columns the outer one; -1: drop. */
static const int ecn_out[4][4] = {
	/* outer: Not-ECT ECT(1) ECT(0) CE, by the values of RFC 3168 */
	[0] = {0, 0, 0, -1}, /* Not-ECT */
	[1] = {1, 1, 1, 3}, /* ECT(1) */
	[2] = {2, 1, 2, 3}, /* ECT(0) */
	[3] = {3, 3, 3, 3}, /* CE */
};

static void test_ecn(int format)
{
	const struct vxlan_fields v = {0};

	for (int i = 0; i < 16; i++) {
		const struct ip_fields ip = {.tos = 0xb8 | i >> 2};
		int ecn = ecn_out[i >> 2][i & 3];
		struct frame in;
		char name[128];

		frame_of(&in, format, 0x20 | (i & 3), &v, &ip);
		snprintf(name, sizeof(name), "uplink %s: ECN %d outside, %d inside -> %d",
			 formats[format].name, i & 3, i >> 2, ecn);
		if (ecn < 0)
			run_uplink(name, format, &in, ACT_SHOT, WEFT_DROP, WEFT_R_ECN, 0);
		else
			run_uplink(name, format, &in, ACT_REDIRECT, WEFT_FAST, WEFT_R_OK,
				   0xb8 | ecn);
	}
}

static void test_vxlan_refused(void)
{
	static const uint8_t other[6] = {0x0e, 0x66, 192, 0, 2, 99};
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const struct {
		const char *what;
		struct vxlan_fields v;
		enum weft_reason reason;
	} cases[] = {
		{"no VNI flag", {.flags = 1}, WEFT_R_BAD_VXLAN},
		{"a reserved flag besides", {.flags = 0x08000001}, WEFT_R_BAD_VXLAN},
		{"group policy", {.flags = 0x88000000}, WEFT_R_BAD_VXLAN},
		{"remote checksum offload", {.flags = 0x08200000}, WEFT_R_BAD_VXLAN},
		{"generic protocol", {.flags = 0x0c000000}, WEFT_R_BAD_VXLAN},
		{"the reserved byte", {.vni = 0x00000101}, WEFT_R_BAD_VXLAN},
		{"another VNI", {.vni = 2 << 8}, WEFT_R_VNI},
		{"the highest VNI", {.vni = 0xffffff00}, WEFT_R_VNI},
		{"another's MAC", {.dst = other}, WEFT_R_NOT_VTEP},
		{"broadcast", {.dst = broadcast}, WEFT_R_NOT_VTEP},
		{"ARP", {.eth_type = 0x0806}, WEFT_R_NOT_IPV4},
		{"IPv6", {.eth_type = 0x86dd}, WEFT_R_NOT_IPV4},
		{"VLAN", {.eth_type = 0x8100}, WEFT_R_NOT_IPV4},
	};
	const struct ip_fields plain = {0};
	struct frame in;
	char name[128];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		frame_of(&in, WEFT_FORMAT_VXLAN, 0, &cases[i].v, &plain);
		snprintf(name, sizeof(name), "uplink vxlan: %s -> slow", cases[i].what);
		run_uplink(name, WEFT_FORMAT_VXLAN, &in, ACT_NEXT, WEFT_SLOW, cases[i].reason, 0);
	}
}

/* Every length short of a whole inner header, the outer lengths saying so. */
static void test_cut(int format)
{
	const struct vxlan_fields v = {0};
	const struct ip_fields plain = {0};
	size_t least = 14 + formats[format].overhead;
	struct frame in, cut;
	char name[128];

	frame_of(&in, format, 0, &v, &plain);
	for (size_t len = least - (format == WEFT_FORMAT_VXLAN ? 22 : 0); len < least + 20; len++) {
		/* Shorter than what is needed to tell UDP from anything. */
		if (len < 42)
			continue;
		cut = in;
		cut.len = len;
		put16(cut.data + 16, len - 14);
		put16(cut.data + 24, 0);
		put16(cut.data + 24, packet_checksum(cut.data + 14, 20));
		if (format != WEFT_FORMAT_IPIP)
			put16(cut.data + 38, len - 34);
		snprintf(name, sizeof(name), "uplink %s of %zu bytes -> slow short",
			 formats[format].name, len);
		run_uplink(name, format, &cut, ACT_NEXT, WEFT_SLOW, WEFT_R_SHORT, 0);
	}
}

static void set_outer_source(struct frame *frame, uint32_t saddr)
{
	put32(frame->data + 26, saddr);
	put16(frame->data + 24, 0);
	put16(frame->data + 24, packet_checksum(frame->data + 14, 20));
}

/* The checks behind the format are the same for all: one of each kind shows that they are made. */
static void test_checked(int format)
{
	const struct vxlan_fields v = {0};
	const struct {
		const char *what;
		struct ip_fields ip;
		int act;
		enum weft_verdict verdict;
		enum weft_reason reason;
	} cases[] = {
		{"", {0}, ACT_REDIRECT, WEFT_FAST, WEFT_R_OK},
		{"another member's pod",
		 {.saddr = IN(3, 1)},
		 ACT_SHOT,
		 WEFT_DROP,
		 WEFT_R_SPOOFED_INNER},
		{"our own pod", {.saddr = IN(1, 3)}, ACT_SHOT, WEFT_DROP, WEFT_R_SPOOFED_INNER},
		{"for elsewhere", {.daddr = IN(3, 1)}, ACT_SHOT, WEFT_DROP, WEFT_R_FOREIGN_DST},
		{"total length", {.len_delta = -1}, ACT_NEXT, WEFT_SLOW, WEFT_R_BAD_IP4},
		{"version", {.ver = 6}, ACT_NEXT, WEFT_SLOW, WEFT_R_BAD_IP4},
	};
	struct frame in;
	char name[128];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		frame_of(&in, format, 0, &v, &cases[i].ip);
		snprintf(name, sizeof(name), "uplink %s: %s", formats[format].name, cases[i].what);
		run_uplink(name, format, &in, cases[i].act, cases[i].verdict, cases[i].reason, 0);
	}
	frame_of(&in, format, 0, &v, &cases[0].ip);
	set_outer_source(&in, OUT(99));
	snprintf(name, sizeof(name), "uplink %s: a stranger", formats[format].name);
	run_uplink(name, format, &in, ACT_SHOT, WEFT_DROP, WEFT_R_UNKNOWN_PEER, 0);
	rig_accept(ALL & ~(1 << format));
	frame_of(&in, format, 0, &v, &cases[0].ip);
	snprintf(name, sizeof(name), "uplink %s: not accepted", formats[format].name);
	run_uplink(name, format, &in, ACT_NEXT, WEFT_SLOW, WEFT_R_NOT_OVERLAY, 0);
	rig_accept(ALL);
}

/* A test run cannot give a packet its GSO type, so the kernel refuses what is accepted. */
static void run_uncut(enum rig_program program, const char *name, const struct frame *in,
		      int format, bool accepted)
{
	enum weft_hook hook = program == RIG_PORT ? WEFT_HOOK_PORT : WEFT_HOOK_UPLINK;
	enum weft_reason reason = accepted ? WEFT_R_HELPER : WEFT_R_GSO;
	struct result got;
	char text[96];

	rig_run_as(program, formats[format].overhead, in, 1400, &got);
	snprintf(text, sizeof(text), "%s %s: UDP to be cut -> %s", name, formats[format].name,
		 accepted ? "accepted, refused by the kernel" : "slow gso");
	report(result_is(&got, ACT_NEXT, hook, WEFT_SLOW, reason, in->len, in), text, in, &got.out);
}

/* Format ipip knows its segments on the way in, where a program receives it, and not elsewhere. */
static void test_uncut_udp(void)
{
	const struct vxlan_fields v = {0};
	struct ip_fields udp = {.payload = 2900};
	struct frame in;

	for (int format = 0; format < WEFT_FORMAT_MAX; format++) {
		udp.daddr = 0;
		frame_of(&in, format, 0, &v, &udp);
		run_uncut(RIG_UPLINK, "uplink", &in, format, format == WEFT_FORMAT_IPIP);
		udp.daddr = IN(formats[format].subnet, 2);
		frame_from_pod(&in, &udp);
		run_uncut(RIG_PORT, "port", &in, format, format != WEFT_FORMAT_IPIP);
	}
}

/* A load balancer's, say: with the peer check nothing but the overlay's own is ours. */
static void test_others_ipip(void)
{
	static const struct ip_fields ips[] = {
		{.saddr = IP(198, 51, 100, 7), .daddr = IP(198, 51, 100, 8)},
		{.saddr = IP(198, 51, 100, 7)},
		{.saddr = IP(10, 243, 255, 255)},
	};
	const struct vxlan_fields v = {0};
	struct frame in;

	for (size_t i = 0; i < ARRAY_SIZE(ips); i++) {
		frame_of(&in, WEFT_FORMAT_IPIP, 0, &v, &ips[i]);
		run_uplink("uplink ipip: not the overlay's, a member's", WEFT_FORMAT_IPIP, &in,
			   ACT_NEXT, WEFT_SLOW, WEFT_R_NOT_OVERLAY, 0);
		set_outer_source(&in, OUT(99));
		run_uplink("uplink ipip: not the overlay's, a stranger's", WEFT_FORMAT_IPIP, &in,
			   ACT_NEXT, WEFT_SLOW, WEFT_R_NOT_OVERLAY, 0);
	}
	rig_configure(ON & ~WEFT_CONFIG_PEER_CHECK);
	rig_accept(ALL);
	frame_of(&in, WEFT_FORMAT_IPIP, 0, &v, &ips[1]);
	run_uplink("uplink ipip: from outside the overlay, not checked", WEFT_FORMAT_IPIP, &in,
		   ACT_REDIRECT, WEFT_FAST, WEFT_R_OK, 0);
	rig_configure(ON);
	rig_accept(ALL);
}

/* ICMP about a packet that this node sent to a peer */
struct icmp_fields {
	uint16_t type_code; /* 0x0304: fragmentation needed */
	uint16_t mtu; /* 1400 */
	uint32_t daddr, about_saddr, about_daddr; /* this node, this node, the peer */
	uint16_t about_len; /* 1500 */
	uint16_t about_frag;
	uint16_t dport; /* the format's */
	uint16_t cut;
};

static void frame_icmp(struct frame *out, int format, const struct icmp_fields *f)
{
	const struct ip_fields ip = {
		.saddr = OUT(254), .daddr = f->daddr ? f->daddr : NODE, .proto = 1, .payload = 36};
	uint32_t about_daddr = f->about_daddr ? f->about_daddr : peer_of(format);
	uint16_t port = format == WEFT_FORMAT_VXLAN ? 8472 : 8285;
	uint8_t *icmp;

	out->len = 0;
	packet_put_eth(out, uplink_mac, peer_mac, 0);
	packet_put_ip(out, &ip);
	icmp = out->data + 34;
	memset(icmp, 0, 36);
	put16(icmp, f->type_code ? f->type_code : 0x0304);
	put16(icmp + 6, f->mtu ? f->mtu : 1400);
	icmp[8] = 0x45;
	put16(icmp + 10, f->about_len ? f->about_len : 1500);
	put16(icmp + 14, f->about_frag ? f->about_frag : 0x4000);
	icmp[17] = format == WEFT_FORMAT_IPIP ? 4 : 17;
	put32(icmp + 20, f->about_saddr ? f->about_saddr : NODE);
	put32(icmp + 24, about_daddr);
	put16(icmp + 28, 50000);
	put16(icmp + 30, f->dport ? f->dport : port);
	out->len -= f->cut;
}

/* Reported to the agent or not; never touched, never kept from the host. */
static void expect_mtu(const char *what, int format, const struct icmp_fields *f, bool heard)
{
	struct weft_hint hint;
	struct result got;
	struct frame in;
	char name[128];
	bool ok;

	while (rig_hint(&hint))
		;
	frame_icmp(&in, format, f);
	rig_run(RIG_UPLINK, &in, 0, &got);
	ok = result_is(&got, ACT_NEXT, WEFT_HOOK_UPLINK, WEFT_SLOW, WEFT_R_NOT_OVERLAY, in.len,
		       &in) &&
	     rig_hint(&hint) == heard;
	if (ok && heard)
		ok = hint.type == WEFT_HINT_PATH_MTU && hint.addr == htonl(peer_of(format)) &&
		     hint.mtu == (f->mtu ? f->mtu : 1400);
	snprintf(name, sizeof(name), "path MTU, %s: %s is %s", formats[format].name, what,
		 heard ? "reported" : "no news");
	report(ok, name, &in, &got.out);
}

static void test_path_mtu(void)
{
	static const struct {
		const char *what;
		struct icmp_fields icmp;
	} no_news[] = {
		{"host unreachable", {.type_code = 0x0301}},
		{"time exceeded", {.type_code = 0x0b00}},
		{"an echo", {.type_code = 0x0800}},
		{"for another address", {.daddr = OUT(201)}},
		{"about another's packet", {.about_saddr = OUT(9)}},
		{"about a packet to a stranger", {.about_daddr = OUT(99)}},
		{"about another port", {.dport = 53}},
		{"about a fragment", {.about_frag = 0x20b9}},
		{"about a packet that would fit", {.about_len = 1400}},
		{"cut short", {.cut = 1}},
		{"without a quote", {.cut = 28}},
	};
	const struct icmp_fields usual = {0}, small = {.mtu = 1};

	for (int format = 0; format < WEFT_FORMAT_MAX; format++) {
		expect_mtu("fragmentation needed", format, &usual, true);
		expect_mtu("one byte", format, &small, true);
	}
	for (size_t i = 0; i < ARRAY_SIZE(no_news); i++)
		expect_mtu(no_news[i].what, WEFT_FORMAT_UDP, &no_news[i].icmp, false);
}

void test_formats(void)
{
	test_sending();
	rig_configure(ON);
	rig_accept(ALL);
	for (int format = 0; format < WEFT_FORMAT_MAX; format++) {
		test_ecn(format);
		test_cut(format);
		test_checked(format);
	}
	test_vxlan_refused();
	test_uncut_udp();
	test_others_ipip();
	test_path_mtu();
	rig_configure(ON);
}
