/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Segments are byte for byte the packets that a sender without offloads would have sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "l4_packet.h"
#include "segment.h"

#define ROOM 65600

static const uint8_t ip_options[] = {1, 1, 7, 5, 4, 9, 9, 0};
static const uint8_t timestamps[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};

static uint8_t whole[ROOM], expected[ROOM], segment[ROOM];

struct case_ {
	const char *name;
	struct l4_packet packet;
	size_t size;
};

#define TCP(...) \
	{ \
		.protocol = IPPROTO_TCP, .sport = 40000, .dport = 80, __VA_ARGS__ \
	}
#define UDP(...) \
	{ \
		.protocol = IPPROTO_UDP, .sport = 40000, .dport = 53, __VA_ARGS__ \
	}

static const struct case_ cases[] = {
	{"multiple of the size", TCP(.payload = 4000, .flags = TH_ACK), 1000},
	{"one byte more", TCP(.payload = 4001, .flags = TH_ACK), 1000},
	{"one byte less", TCP(.payload = 3999, .flags = TH_ACK), 1000},
	{"larger size than payload", TCP(.payload = 999, .flags = TH_ACK | TH_PUSH), 1000},
	{"size as payload", TCP(.payload = 1000, .flags = TH_ACK | TH_PUSH), 1000},
	{"odd size", TCP(.payload = 5000, .flags = TH_ACK), 997},
	{"bytes one by one", TCP(.payload = 40, .flags = TH_ACK), 1},
	{"one byte", TCP(.payload = 1, .flags = TH_ACK), 1},
	{"largest", TCP(.payload = 65535 - 40, .flags = TH_ACK), 1420},
	{"identification wraps", TCP(.payload = 9000, .flags = TH_ACK, .id = 65533), 1000},
	{"sequence wraps", TCP(.payload = 9000, .flags = TH_ACK, .seq = 0xfffff000), 1000},
	{"end of stream", TCP(.payload = 3500, .flags = TH_ACK | TH_PUSH | TH_FIN), 1000},
	{"congestion answered", TCP(.payload = 3500, .flags = TH_ACK | TCP_CWR), 1000},
	{"congestion seen", TCP(.payload = 3500, .flags = TH_ACK | TCP_ECE, .tos = 3), 1000},
	{"both", TCP(.payload = 3500, .flags = TH_ACK | TCP_ECE | TCP_CWR | TH_PUSH), 1000},
	{"urgent", TCP(.payload = 3500, .flags = TH_ACK | TH_URG, .urgent = 77), 1000},
	{"reserved bits", TCP(.payload = 3500, .flags = TH_ACK, .reserved = 5), 1000},
	{"all the rest set",
	 TCP(.payload = 3000, .flags = TH_ACK, .ack = 0x89abcdef, .window = 0xfedc, .tos = 0xb8,
	     .ttl = 1, .frag_off = IP_DF, .id = 0xa5a5, .seq = 0x12345678),
	 1000},
	{"timestamps",
	 TCP(.payload = 5000, .flags = TH_ACK, .tcp_options = timestamps, .tcp_options_len = 12),
	 1408},
	{"IP options",
	 TCP(.payload = 5000, .flags = TH_ACK, .ip_options = ip_options, .ip_options_len = 8),
	 1412},
	{"both options",
	 TCP(.payload = 5000, .flags = TH_ACK, .ip_options = ip_options, .ip_options_len = 8,
	     .tcp_options = timestamps, .tcp_options_len = 12),
	 1401},
	{"UDP", UDP(.payload = 5000), 1000},
	{"UDP, uneven", UDP(.payload = 5001, .frag_off = IP_DF), 1333},
	{"UDP, one by one", UDP(.payload = 60), 1},
	{"UDP, largest", UDP(.payload = 65535 - 28), 1444},
	{"UDP, IP options", UDP(.payload = 500, .ip_options = ip_options, .ip_options_len = 8), 64},
};

/* What the sender would have sent from byte `done` of the payload on. */
static size_t build_expected(const struct case_ *c, size_t done, size_t n, uint16_t count)
{
	struct l4_packet p = c->packet;
	bool last = done + n == p.payload;

	p.payload = n;
	p.from = done;
	p.seq += (uint32_t)done;
	p.id = (uint16_t)(p.id + count);
	if (!last)
		p.flags &= (uint8_t) ~(TH_FIN | TH_PUSH);
	if (done)
		p.flags &= (uint8_t)~TCP_CWR;
	return l4_packet_build(expected, &p);
}

static void check_case(const struct case_ *c, bool pending)
{
	struct l4_packet p = c->packet;
	struct ip4_info info;
	struct segments s;
	const uint8_t *payload;
	size_t done = 0, n;
	uint16_t count = 0;

	if (*c->name)
		printf("# %s%s\n", c->name, pending ? ", no checksum yet" : "");
	p.pending = pending;
	n = l4_packet_build(whole, &p);
	assert_int_equal(ip4_parse(whole, n, &info), WEFT_R_OK);
	assert_true(segments_start(&s, whole, &info, c->size));
	while ((n = segments_next(&s, segment, &payload)) > 0) {
		size_t len = build_expected(c, done, n, count++);

		assert_int_equal(n, p.payload - done < c->size ? p.payload - done : c->size);
		memcpy(segment + s.headers, payload, n);
		assert_int_equal(s.headers + n, len);
		assert_memory_equal(segment, expected, len);
		done += n;
	}
	assert_int_equal(done, p.payload);
	assert_int_equal(segments_next(&s, segment, &payload), 0);
}

static void as_sent_one_by_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		check_case(&cases[i], false);
		check_case(&cases[i], true);
	}
}

/* Every remainder of length and size, so that sums meet odd and even ends alike. */
static void every_size(void **state)
{
	(void)state;
	for (size_t size = 1; size <= 130; size++)
		for (size_t payload = 1; payload <= 140; payload += 3) {
			struct case_ c = {"", TCP(.payload = payload, .flags = TH_ACK), size};

			check_case(&c, true);
			c.packet.protocol = IPPROTO_UDP;
			check_case(&c, true);
		}
}

/* A sum of zero is no sum in UDP: two bytes are chosen that bring it about. */
static void a_udp_sum_is_never_zero(void **state)
{
	struct l4_packet p = UDP(.payload = 8);
	const uint8_t *payload;
	struct ip4_info info;
	struct segments s;
	size_t len = l4_packet_build(whole, &p);
	uint32_t rest;

	(void)state;
	l4_put16(whole + 26, 0);
	l4_put16(whole + 28, 0);
	/* Over one segment of 4 bytes */
	rest = 17 + 12; /* protocol and length, for a packet of 12 + 20 bytes */
	rest = l4_sum(rest, whole + 12, 8);
	rest = l4_sum(rest, whole + 20, 4);
	rest = l4_sum(rest + 12, whole + 28, 4);
	l4_put16(whole + 28, 0xffff - rest);
	assert_int_equal(ip4_parse(whole, len, &info), WEFT_R_OK);
	assert_true(segments_start(&s, whole, &info, 4));
	assert_int_equal(segments_next(&s, segment, &payload), 4);
	assert_int_equal(segment[26] << 8 | segment[27], 0xffff);
}

static bool starts(const uint8_t *packet, size_t len, size_t size)
{
	struct ip4_info info;
	struct segments s;

	assert_int_equal(ip4_parse(packet, len, &info), WEFT_R_OK);
	return segments_start(&s, packet, &info, size);
}

static void what_cannot_be_cut(void **state)
{
	struct l4_packet tcp = TCP(.payload = 100, .flags = TH_ACK), udp = UDP(.payload = 100);
	struct l4_packet none = tcp, first = tcp, later = udp, other = tcp;
	size_t len = l4_packet_build(whole, &tcp);

	(void)state;
	assert_true(starts(whole, len, 50));
	assert_false(starts(whole, len, 0));
	whole[32] = 0x40; /* a header of 16 bytes */
	assert_false(starts(whole, len, 50));
	whole[32] = 0xf0; /* of 60, and 60 bytes of payload */
	assert_true(starts(whole, len, 50));
	l4_put16(whole + 2, 20 + 60);
	l4_put_ip_sum(whole);
	assert_false(starts(whole, 20 + 60, 50)); /* none left */
	l4_put16(whole + 2, 20 + 56);
	l4_put_ip_sum(whole);
	assert_false(starts(whole, 20 + 56, 50)); /* not even that */
	l4_put16(whole + 2, 20 + 19);
	l4_put_ip_sum(whole);
	assert_false(starts(whole, 20 + 19, 50));
	none.payload = 0;
	assert_false(starts(whole, l4_packet_build(whole, &none), 50));
	first.frag_off = IP_MF;
	assert_false(starts(whole, l4_packet_build(whole, &first), 50));
	later.frag_off = 3;
	assert_false(starts(whole, l4_packet_build(whole, &later), 50));
	other.protocol = IPPROTO_ICMP;
	assert_false(starts(whole, l4_packet_build(whole, &other), 50));
	len = l4_packet_build(whole, &udp);
	assert_true(starts(whole, len, 50));
	l4_put16(whole + 24, 107); /* one byte behind the datagram */
	assert_false(starts(whole, len, 50));
	l4_put16(whole + 24, 109);
	assert_false(starts(whole, len, 50));
}

/* Bytes the length does not cover are no part of it. */
static void padding_is_left_out(void **state)
{
	struct l4_packet p = TCP(.payload = 100, .flags = TH_ACK);
	size_t len = l4_packet_build(whole, &p), total = 0, n;
	const uint8_t *payload;
	struct ip4_info info;
	struct segments s;

	(void)state;
	memset(whole + len, 0xee, 50);
	assert_int_equal(ip4_parse(whole, len + 50, &info), WEFT_R_OK);
	assert_true(segments_start(&s, whole, &info, 60));
	while ((n = segments_next(&s, segment, &payload)) > 0)
		total += n;
	assert_int_equal(total, 100);
}

static void checksums(const struct l4_packet *packet)
{
	struct l4_packet p = *packet;
	struct ip4_info info;
	size_t len;

	p.pending = true;
	len = l4_packet_build(whole, &p);
	p.pending = false;
	l4_packet_build(expected, &p);
	assert_int_equal(ip4_parse(whole, len, &info), WEFT_R_OK);
	assert_int_equal(segment_pseudo_sum(&info, len - info.hlen),
			 htons((uint16_t)l4_pseudo(whole, len - info.hlen)));
	assert_true(segment_checksum_pending(whole, &info));
	assert_false(segment_checksum_holds(whole, &info));
	segment_checksum_complete(whole, &info);
	assert_memory_equal(whole, expected, len);
	assert_false(segment_checksum_pending(whole, &info));
	assert_true(segment_checksum_holds(whole, &info));
	for (size_t i = info.hlen; i < len; i++) {
		whole[i] ^= 1;
		if (segment_l4_header(whole, &info)) /* its length still agrees */
			assert_false(segment_checksum_holds(whole, &info));
		whole[i] ^= 1;
	}
}

static void a_checksum_is_pending_complete_or_wrong(void **state)
{
	struct l4_packet tcp = TCP(.payload = 100, .flags = TH_ACK), udp = UDP(.payload = 101);

	(void)state;
	checksums(&tcp);
	checksums(&udp);
	tcp.payload = udp.payload = 0;
	checksums(&tcp);
	checksums(&udp);
	tcp.tcp_options = timestamps;
	tcp.tcp_options_len = sizeof(timestamps);
	tcp.ip_options = udp.ip_options = ip_options;
	tcp.ip_options_len = udp.ip_options_len = sizeof(ip_options);
	checksums(&tcp);
	checksums(&udp);
}

/* Two bytes of the payload are such that all adds up to 0xffff, of which the complement is zero. */
static size_t build_zero_sum(const struct l4_packet *p)
{
	size_t len = l4_packet_build(whole, p), at = len - p->payload;

	l4_put16(whole + at, 0);
	l4_put_sum(whole, len, false);
	memcpy(whole + at, whole + l4_check_at(whole), 2);
	l4_put_sum(whole, len, true);
	return len;
}

static void zero_sum(const struct l4_packet *p)
{
	bool tcp = p->protocol == IPPROTO_TCP;
	size_t len = build_zero_sum(p), at = l4_check_at(whole);
	const uint8_t *payload;
	struct ip4_info info;
	struct segments s;

	assert_int_equal(ip4_parse(whole, len, &info), WEFT_R_OK);
	assert_true(segments_start(&s, whole, &info, p->payload));
	assert_int_equal(segments_next(&s, segment, &payload), p->payload);
	assert_int_equal(segment[at] << 8 | segment[at + 1], tcp ? 0 : 0xffff);
	segment_checksum_complete(whole, &info);
	assert_int_equal(whole[at] << 8 | whole[at + 1], tcp ? 0 : 0xffff);
	assert_true(segment_checksum_holds(whole, &info));
	l4_put16(whole + at, tcp ? 0xffff : 0);
	assert_int_equal(segment_checksum_holds(whole, &info), tcp);
}

static void zero_is_a_checksum_in_tcp_only(void **state)
{
	const struct l4_packet tcp = TCP(.payload = 100, .flags = TH_ACK), udp = UDP(.payload = 99);

	(void)state;
	zero_sum(&tcp);
	zero_sum(&udp);
}

/* The TCP or UDP header of n bytes behind an IPv4 header. */
static size_t l4_header(size_t n)
{
	struct ip4_info info;

	l4_put16(whole + 2, (uint32_t)(20 + n));
	l4_put_ip_sum(whole);
	assert_int_equal(ip4_parse(whole, 20 + n, &info), WEFT_R_OK);
	return segment_l4_header(whole, &info);
}

static void a_header_ends_within_the_packet(void **state)
{
	const struct l4_packet tcp = TCP(.payload = 50), udp = UDP(.payload = 50);

	(void)state;
	l4_packet_build(whole, &tcp);
	for (size_t n = 0; n <= 64; n++)
		for (size_t words = 0; words < 16; words++) {
			bool fits = words >= 5 && words * 4 <= n;

			whole[32] = (uint8_t)(words << 4 | 15);
			assert_int_equal(l4_header(n), fits ? words * 4 : 0);
		}
	l4_packet_build(whole, &udp);
	for (size_t n = 0; n <= 20; n++)
		for (size_t len = 0; len <= 300; len++) {
			l4_put16(whole + 24, (uint32_t)len);
			assert_int_equal(l4_header(n), n >= 8 && len == n ? 8 : 0);
		}
}

static void nothing_to_check(void **state)
{
	struct l4_packet none = UDP(.payload = 30, .no_sum = true);
	struct l4_packet fragment = UDP(.payload = 30, .frag_off = IP_MF, .pending = true);
	struct ip4_info info;
	size_t len = l4_packet_build(whole, &none);

	(void)state;
	assert_int_equal(ip4_parse(whole, len, &info), WEFT_R_OK);
	assert_false(segment_checksum_holds(whole, &info));
	assert_false(segment_checksum_pending(whole, &info));
	len = l4_packet_build(whole, &fragment);
	assert_int_equal(ip4_parse(whole, len, &info), WEFT_R_OK);
	assert_int_equal(segment_l4_header(whole, &info), 0);
	assert_false(segment_checksum_pending(whole, &info));
	memcpy(expected, whole, len);
	segment_checksum_complete(whole, &info);
	assert_memory_equal(whole, expected, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_sent_one_by_one),
		cmocka_unit_test(every_size),
		cmocka_unit_test(a_udp_sum_is_never_zero),
		cmocka_unit_test(what_cannot_be_cut),
		cmocka_unit_test(padding_is_left_out),
		cmocka_unit_test(a_checksum_is_pending_complete_or_wrong),
		cmocka_unit_test(zero_is_a_checksum_in_tcp_only),
		cmocka_unit_test(a_header_ends_within_the_packet),
		cmocka_unit_test(nothing_to_check),
	};

	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
