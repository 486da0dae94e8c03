/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "offload.h"
#include "util.h"

#define MTU 1472
#define PAYLOAD 4000
#define OPTIONS 12

/* 10.244.2.2:1000 → 10.244.1.2:2000 with timestamps' worth of options. */
struct sample {
	uint8_t data[20 + 20 + OPTIONS + PAYLOAD];
	struct ip4_info info;
};

static uint32_t sum(const uint8_t *data, size_t len)
{
	uint32_t total = 0;

	for (size_t i = 0; i < len; i++)
		total += i & 1 ? data[i] : (uint32_t)data[i] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

static uint16_t pseudo(const uint8_t *ip, size_t l4_len)
{
	uint8_t header[12] = {0};

	memcpy(header, ip + 12, 8);
	header[9] = ip[9];
	header[10] = l4_len >> 8;
	header[11] = l4_len & 0xff;
	return sum(header, sizeof(header));
}

/* Does the transport checksum of this whole packet hold? */
static bool checksum_holds(const uint8_t *ip, size_t len)
{
	uint32_t total = sum(ip + 20, len - 20) + pseudo(ip, len - 20);

	return ((total & 0xffff) + (total >> 16)) == 0xffff;
}

static void make(struct sample *s, uint8_t protocol, uint8_t flags)
{
	uint8_t *ip = s->data, *l4 = ip + 20;
	uint16_t len = sizeof(s->data), check;

	for (size_t i = 0; i < sizeof(s->data); i++)
		s->data[i] = (uint8_t)(i * 31 + 7);
	memcpy(ip, "\x45\0\0\0\x12\xff\x40\0\x3f\0\0\0\x0a\xf4\x02\x02\x0a\xf4\x01\x02", 20);
	ip[2] = len >> 8;
	ip[3] = len & 0xff;
	ip[9] = protocol;
	check = ip4_checksum(ip, 20);
	memcpy(ip + 10, &check, 2);
	memcpy(l4, "\x03\xe8\x07\xd0\xff\xff\xff\x00\0\0\0\1\x80\0\x10\0", 16);
	l4[13] = flags;
	check = pseudo(ip, len - 20);
	l4[protocol == 6 ? 16 : 6] = check >> 8;
	l4[protocol == 6 ? 17 : 7] = check & 0xff;
	assert_int_equal(ip4_parse(ip, len, &s->info), WEFT_R_OK);
}

static void test_pending_is_recognised_and_completed(void **state)
{
	static const uint8_t protocols[] = {6, 17};
	struct sample s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		make(&s, protocols[i], 0x10);
		assert_true(offload_checksum_pending(s.data, &s.info));
		offload_checksum_complete(s.data, &s.info);
		assert_true(checksum_holds(s.data, s.info.len));
		assert_false(offload_checksum_pending(s.data, &s.info));
	}
}

static void test_others_are_not_pending(void **state)
{
	struct sample s;

	(void)state;
	make(&s, 6, 0x10);
	s.data[36]++;
	assert_false(offload_checksum_pending(s.data, &s.info));
	make(&s, 6, 0x10);
	s.info.frag_off = 0x2000;
	assert_false(offload_checksum_pending(s.data, &s.info));
	make(&s, 1, 0);
	assert_false(offload_checksum_pending(s.data, &s.info));
	make(&s, 6, 0x10);
	s.info.len = 39;
	assert_false(offload_checksum_pending(s.data, &s.info));
}

/* Sequence, flags, identification, lengths and both checksums of each; together the whole. */
static void test_segments_are_the_stream(void **state)
{
	static const uint8_t want_flags[] = {0x90, 0x10, 0x19};
	uint8_t out[MTU], stream[PAYLOAD];
	struct offload_segments it;
	struct sample s;
	size_t len, done = 0, n = 0;

	(void)state;
	make(&s, 6, 0x80 | 0x10 | 0x08 | 0x01);
	assert_true(offload_segments_start(&it, s.data, &s.info, MTU));
	while ((len = offload_segments_next(&it, out)) > 0) {
		struct ip4_info info;
		uint32_t seq = 0xffffff00u + (uint32_t)done;

		assert_int_equal(ip4_parse(out, len, &info), WEFT_R_OK);
		assert_int_equal(info.len, len);
		assert_int_equal(out[4] << 8 | out[5], 0x12ff + n);
		assert_int_equal((uint32_t)out[24] << 24 | out[25] << 16 | out[26] << 8 | out[27],
				 seq);
		assert_true(n < ARRAY_SIZE(want_flags));
		assert_int_equal(out[33], want_flags[n]);
		assert_true(checksum_holds(out, len));
		memcpy(stream + done, out + 52, len - 52);
		done += len - 52;
		n++;
	}
	assert_int_equal(n, 3);
	assert_int_equal(done, PAYLOAD);
	assert_memory_equal(stream, s.data + 52, PAYLOAD);
}

static void test_what_cannot_be_cut(void **state)
{
	struct offload_segments it;
	struct sample s;

	(void)state;
	make(&s, 17, 0);
	assert_false(offload_segments_start(&it, s.data, &s.info, MTU));
	make(&s, 6, 0x10);
	s.data[32] = 0x40; /* a header of 16 bytes */
	assert_false(offload_segments_start(&it, s.data, &s.info, MTU));
	make(&s, 6, 0x10);
	assert_false(offload_segments_start(&it, s.data, &s.info, 52));
	s.info.len = 52; /* no payload */
	assert_false(offload_segments_start(&it, s.data, &s.info, MTU));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pending_is_recognised_and_completed),
		cmocka_unit_test(test_others_are_not_pending),
		cmocka_unit_test(test_segments_are_the_stream),
		cmocka_unit_test(test_what_cannot_be_cut),
	};

	return cmocka_run_group_tests_name("offload", tests, NULL, NULL);
}
