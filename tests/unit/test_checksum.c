/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum against the words of RFC 1071, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "checksum.h"

#define LARGE 65536
#define ALIGNMENTS 32

static uint8_t data[LARGE + ALIGNMENTS];

/* As the RFC has it: 16-bit words in network byte order, carries added at the end of each step. */
static uint16_t plain_sum(uint32_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static uint16_t as_stored(uint16_t sum)
{
	const uint8_t *bytes = (const uint8_t *)&sum;

	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint16_t ours(const uint8_t *at, size_t len)
{
	return as_stored(checksum_fold(checksum_add(0, at, len)));
}

static void fill(uint32_t seed)
{
	for (size_t i = 0; i < sizeof(data); i++) {
		seed = seed * 1664525 + 1013904223; /* Numerical Recipes, section 7.1 */
		data[i] = (uint8_t)(seed >> 24);
	}
}

static void check_all_lengths(size_t most)
{
	for (size_t at = 0; at < ALIGNMENTS; at++)
		for (size_t len = 0; len <= most; len++)
			assert_int_equal(ours(data + at, len), plain_sum(0, data + at, len));
}

static void the_example_of_the_rfc(void **state)
{
	const uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	(void)state;
	assert_int_equal(ours(example, sizeof(example)), 0xddf2); /* section 3 */
	assert_int_equal(as_stored(checksum(example, sizeof(example))), (uint16_t)~0xddf2);
}

static void every_length_at_every_alignment(void **state)
{
	(void)state;
	fill(1);
	check_all_lengths(300);
}

static void bytes_that_carry_and_bytes_that_do_not(void **state)
{
	(void)state;
	memset(data, 0xff, sizeof(data));
	check_all_lengths(300);
	memset(data, 0, sizeof(data));
	check_all_lengths(300);
	memset(data, 0x80, sizeof(data));
	check_all_lengths(300);
}

static void large_packets(void **state)
{
	const size_t lengths[] = {1419, 1420, 1448, 8960, 65506, 65507, 65534, 65535, LARGE};

	(void)state;
	for (uint32_t seed = 0; seed < 2; seed++) {
		fill(seed);
		if (seed)
			memset(data, 0xff, sizeof(data));
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
			for (size_t at = 0; at < 4; at++)
				assert_int_equal(ours(data + at, lengths[i]),
						 plain_sum(0, data + at, lengths[i]));
	}
}

static void pieces_add_up(void **state)
{
	uint64_t sum;

	(void)state;
	fill(7);
	for (size_t cut = 0; cut <= 2000; cut += 2) {
		sum = checksum_add(checksum_add(0, data, cut), data + cut, 2001 - cut);
		assert_int_equal(as_stored(checksum_fold(sum)), plain_sum(0, data, 2001));
	}
	/* More carries than any chain of pieces gives. */
	assert_int_equal(checksum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(checksum_fold(0xffff0000ffff0001), 1);
	assert_int_equal(checksum_fold(0x1fffe), 0xffff);
	assert_int_equal(checksum_fold(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_rfc),
		cmocka_unit_test(every_length_at_every_alignment),
		cmocka_unit_test(bytes_that_carry_and_bytes_that_do_not),
		cmocka_unit_test(large_packets),
		cmocka_unit_test(pieces_add_up),
	};

	return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
