/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ip4: which packets are accepted, at every length, and every byte of an ICMP error. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ip4.h"
#include "util.h"

#define SRC 0x0af40105U /* 10.244.1.5 */
#define DST 0x0af40207U /* 10.244.2.7 */
#define ROUTER 0x0af40000U

struct spec {
	uint8_t version, ihl, ttl, protocol;
	uint16_t tot_len, frag_off;
	uint32_t saddr, daddr;
	uint8_t first; /* first payload byte: the type, for ICMP */
};

static const struct spec plain = {
	.version = 4,
	.ihl = 5,
	.ttl = 64,
	.protocol = 17,
	.tot_len = 60,
	.saddr = SRC,
	.daddr = DST,
};

static void put16(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value)
{
	put16(to, value >> 16);
	put16(to + 2, value & 0xffff);
}

/* Fills all size bytes: header, options of NOPs, then a pattern. */
static void build(uint8_t *packet, size_t size, const struct spec *spec)
{
	size_t hlen = spec->ihl * 4U;
	uint16_t check;

	for (size_t i = 0; i < size; i++)
		packet[i] = i < hlen ? 1 : (uint8_t)(i * 7);
	memset(packet, 0, 20);
	packet[0] = (uint8_t)(spec->version << 4 | spec->ihl);
	put16(packet + 2, spec->tot_len);
	put16(packet + 4, 0x1234);
	put16(packet + 6, spec->frag_off);
	packet[8] = spec->ttl;
	packet[9] = spec->protocol;
	put32(packet + 12, spec->saddr);
	put32(packet + 16, spec->daddr);
	if (hlen >= 20 && hlen < size)
		packet[hlen] = spec->first;
	check = ip4_checksum(packet, hlen < 20 ? 20 : hlen);
	memcpy(packet + 10, &check, 2);
}

static struct ip4_info parse_ok(const uint8_t *packet, size_t len)
{
	struct ip4_info info = {0};

	assert_int_equal(ip4_parse(packet, len, &info), WEFT_R_OK);
	return info;
}

static void checksum_known_vectors(void **state)
{
	static const uint8_t header[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
					 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
					 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
	static const uint8_t rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static const uint8_t odd[] = {0x01, 0x02, 0x03};
	uint8_t shifted[sizeof(rfc1071) + 1];
	uint8_t ones[65534];

	(void)state;
	assert_int_equal(ntohs(ip4_checksum(header, sizeof(header))), 0xb861);
	assert_int_equal(ntohs(ip4_checksum(rfc1071, sizeof(rfc1071))), 0x220d);
	assert_int_equal(ntohs(ip4_checksum(odd, sizeof(odd))), 0xfbfd);
	assert_int_equal(ip4_checksum(odd, 0), 0xffff);
	memcpy(shifted + 1, rfc1071, sizeof(rfc1071));
	assert_int_equal(ntohs(ip4_checksum(shifted + 1, sizeof(rfc1071))), 0x220d);
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(ip4_checksum(ones, sizeof(ones)), 0);
}

static void parse_reports_every_field(void **state)
{
	struct spec spec = plain;
	uint8_t packet[128];
	struct ip4_info info;

	(void)state;
	spec.ihl = 7;
	spec.ttl = 9;
	spec.protocol = 132;
	spec.frag_off = 0x6001;
	build(packet, sizeof(packet), &spec);
	info = parse_ok(packet, sizeof(packet));
	assert_int_equal(info.saddr, SRC);
	assert_int_equal(info.daddr, DST);
	assert_int_equal(info.len, 60);
	assert_int_equal(info.hlen, 28);
	assert_int_equal(info.ttl, 9);
	assert_int_equal(info.protocol, 132);
	assert_int_equal(info.frag_off, 0x6001);
}

/* Every version, header length and a choice of total lengths, in 100 bytes of buffer. */
static enum weft_reason expected(uint8_t version, uint8_t ihl, uint16_t tot_len)
{
	if (version != 4)
		return WEFT_R_NOT_IPV4;
	if (ihl < 5 || tot_len < ihl * 4)
		return WEFT_R_BAD_IP4;
	return tot_len > 100 ? WEFT_R_SHORT : WEFT_R_OK;
}

static void parse_judges_every_first_byte(void **state)
{
	static const uint16_t lens[] = {0, 1, 19, 20, 21, 24, 59, 60, 61, 99, 100, 101, 65535};

	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			struct spec spec = plain;
			struct ip4_info info;
			uint8_t packet[100];

			spec.version = (uint8_t)(first >> 4);
			spec.ihl = first & 0xf;
			spec.tot_len = lens[i];
			build(packet, sizeof(packet), &spec);
			assert_int_equal(ip4_parse(packet, sizeof(packet), &info),
					 expected(spec.version, spec.ihl, lens[i]));
		}
	}
}

/* Exactly sized heap copies, so that the sanitizer sees a read past the end. */
static void parse_of_every_truncation_is_short(void **state)
{
	(void)state;
	for (uint8_t ihl = 5; ihl <= 15; ihl++) {
		struct spec spec = plain;
		uint8_t packet[100];

		spec.ihl = ihl;
		spec.tot_len = sizeof(packet);
		build(packet, sizeof(packet), &spec);
		for (size_t len = 0; len <= sizeof(packet); len++) {
			_free_ uint8_t *copy = malloc(len + !len);
			struct ip4_info info, before;

			assert_non_null(copy);
			memcpy(copy, packet, len);
			memset(&info, 0xa5, sizeof(info));
			before = info;
			assert_int_equal(ip4_parse(copy, len, &info),
					 len < sizeof(packet) ? WEFT_R_SHORT : WEFT_R_OK);
			if (len < sizeof(packet))
				assert_memory_equal(&info, &before, sizeof(info));
		}
	}
}

static void parse_refuses_every_flipped_header_bit(void **state)
{
	struct spec spec = plain;
	uint8_t packet[60];

	(void)state;
	spec.ihl = 8;
	build(packet, sizeof(packet), &spec);
	for (size_t bit = 0; bit < 32 * 8; bit++) {
		struct ip4_info info;

		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(ip4_parse(packet, sizeof(packet), &info), WEFT_R_OK);
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	parse_ok(packet, sizeof(packet));
}

static void parse_ignores_what_follows_the_packet(void **state)
{
	uint8_t packet[100];

	(void)state;
	build(packet, sizeof(packet), &plain);
	assert_int_equal(parse_ok(packet, sizeof(packet)).len, 60);
}

static const uint8_t frag_needed[] = {
	/* IPv4: 56 bytes, DF, TTL 64, ICMP, 10.244.0.0 -> 10.244.1.5 */
	0x45, 0xc0, 0x00, 0x38, 0x00, 0x00, 0x40, 0x00, 0x40, 0x01, 0x23, 0x19, 0x0a, 0xf4, 0x00,
	0x00, 0x0a, 0xf4, 0x01, 0x05,
	/* ICMP 3/4, MTU 1400 */
	0x03, 0x04, 0xfc, 0xe1, 0x00, 0x00, 0x05, 0x78,
	/* The offender's header */
	0x45, 0x00, 0x00, 0x3c, 0x12, 0x34, 0x00, 0x00, 0x40, 0x11, 0x4f, 0x8a, 0x0a, 0xf4, 0x01,
	0x05, 0x0a, 0xf4, 0x02, 0x07,
	/* and 8 bytes of its payload */
	0x00, 0x93, 0x9a, 0xa1, 0xa8, 0xaf, 0xb6, 0xbd};

static void icmp_frag_needed_whole_bytes(void **state)
{
	uint8_t packet[60], error[ICMP_ERROR_MAX];
	struct ip4_info info;

	(void)state;
	build(packet, sizeof(packet), &plain);
	info = parse_ok(packet, sizeof(packet));
	assert_int_equal(icmp_error_build(error, 3, 4, 1400, ROUTER, packet, &info),
			 sizeof(frag_needed));
	assert_memory_equal(error, frag_needed, sizeof(frag_needed));
}

/* Other errors have no MTU: the word must be zero whatever the caller passes. */
static void icmp_others_carry_no_mtu(void **state)
{
	static const uint8_t codes[][2] = {{3, 0}, {3, 1}, {11, 0}, {11, 1}};
	uint8_t packet[60], error[ICMP_ERROR_MAX];
	struct ip4_info info;

	(void)state;
	build(packet, sizeof(packet), &plain);
	info = parse_ok(packet, sizeof(packet));
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		size_t len = icmp_error_build(error, codes[i][0], codes[i][1], 1400, ROUTER, packet,
					      &info);

		assert_int_equal(len, 56);
		assert_memory_equal(error, frag_needed, 20);
		assert_int_equal(error[20], codes[i][0]);
		assert_int_equal(error[21], codes[i][1]);
		assert_memory_equal(error + 24, "\0\0\0\0", 4);
		assert_memory_equal(error + 28, packet, 28);
		assert_int_equal(ip4_checksum(error + 20, len - 20), 0);
	}
}

/* Header of every length, payload of 0 to 12 bytes: 8 at most are quoted, none beyond the end. */
static void icmp_quotes_header_and_eight_bytes(void **state)
{
	(void)state;
	for (uint8_t ihl = 5; ihl <= 15; ihl++) {
		for (uint16_t payload = 0; payload <= 12; payload++) {
			size_t size = ihl * 4U + payload;
			size_t quoted = ihl * 4U + (payload < 8 ? payload : 8);
			_free_ uint8_t *packet = malloc(size);
			uint8_t error[ICMP_ERROR_MAX];
			struct spec spec = plain;
			struct ip4_info info;
			size_t len;

			assert_non_null(packet);
			spec.ihl = ihl;
			spec.tot_len = (uint16_t)size;
			build(packet, size, &spec);
			info = parse_ok(packet, size);
			len = icmp_error_build(error, 11, 0, 0, ROUTER, packet, &info);
			assert_int_equal(len, 28 + quoted);
			assert_int_equal(parse_ok(error, len).len, len);
			assert_int_equal(ip4_checksum(error + 20, len - 20), 0);
			assert_memory_equal(error + 28, packet, quoted);
		}
	}
}

static bool allowed(const struct spec *spec)
{
	uint8_t packet[60], error[ICMP_ERROR_MAX], before[ICMP_ERROR_MAX];
	struct ip4_info info;
	bool yes;

	build(packet, sizeof(packet), spec);
	info = parse_ok(packet, sizeof(packet));
	memset(error, 0xa5, sizeof(error));
	memcpy(before, error, sizeof(error));
	yes = icmp_error_allowed(packet, &info);
	assert_int_equal(icmp_error_build(error, 3, 0, 0, ROUTER, packet, &info) != 0, yes);
	if (!yes)
		assert_memory_equal(error, before, sizeof(error));
	return yes;
}

static void icmp_addresses(void **state)
{
	static const struct {
		uint32_t addr;
		bool as_source, as_destination;
	} rows[] = {
		{0x00000000, false, false}, {0x00000001, false, false}, {0x01000000, true, true},
		{0x7effffff, true, true},   {0x7f000001, false, true},	{0x80000000, true, true},
		{0xdfffffff, true, true},   {0xe0000000, false, false}, {0xe0000001, false, false},
		{0xefffffff, false, false}, {0xf0000000, false, false}, {0xffffffff, false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct spec spec = plain;

		spec.saddr = rows[i].addr;
		assert_int_equal(allowed(&spec), rows[i].as_source);
		spec.saddr = SRC;
		spec.daddr = rows[i].addr;
		assert_int_equal(allowed(&spec), rows[i].as_destination);
	}
}

static void icmp_fragments(void **state)
{
	static const struct {
		uint16_t frag_off;
		bool allowed;
	} rows[] = {
		{0x0000, true},	 {0x4000, true},  {0x2000, true},  {0x8000, true},
		{0x2001, false}, {0x0001, false}, {0x1fff, false}, {0x6100, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct spec spec = plain;

		spec.frag_off = rows[i].frag_off;
		assert_int_equal(allowed(&spec), rows[i].allowed);
	}
}

static void icmp_about_icmp_only_for_queries(void **state)
{
	static const uint8_t queries[] = {0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43};
	struct spec spec = plain;

	(void)state;
	spec.protocol = IPPROTO_ICMP;
	for (unsigned type = 0; type < 256; type++) {
		spec.first = (uint8_t)type;
		assert_int_equal(allowed(&spec), !!memchr(queries, (int)type, sizeof(queries)));
	}
	/* Cut before its type: could be an error. */
	spec.tot_len = 20;
	spec.first = 8;
	assert_false(allowed(&spec));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_known_vectors),
		cmocka_unit_test(parse_reports_every_field),
		cmocka_unit_test(parse_judges_every_first_byte),
		cmocka_unit_test(parse_of_every_truncation_is_short),
		cmocka_unit_test(parse_refuses_every_flipped_header_bit),
		cmocka_unit_test(parse_ignores_what_follows_the_packet),
		cmocka_unit_test(icmp_frag_needed_whole_bytes),
		cmocka_unit_test(icmp_others_carry_no_mtu),
		cmocka_unit_test(icmp_quotes_header_and_eight_bytes),
		cmocka_unit_test(icmp_addresses),
		cmocka_unit_test(icmp_fragments),
		cmocka_unit_test(icmp_about_icmp_only_for_queries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
