/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "checksum.h"

#include <string.h>

/* Every payload byte of the slow path is summed once on each node, so the widest units count. */
#if defined(__x86_64__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

typedef uint64_t lanes __attribute__((vector_size(32)));

/* Words of 32 bits count as two of 16: 2^16 is 1 in one's complement arithmetic. */
static inline uint64_t add_word(uint64_t sum, uint64_t word)
{
	return sum + (word & UINT32_MAX) + (word >> 32);
}

/* Up to seven bytes, padded with zeros. */
static inline uint64_t add_rest(uint64_t sum, const uint8_t *bytes, size_t len)
{
	uint64_t word = 0;

	memcpy(&word, bytes, len);
	return add_word(sum, word);
}

FOR_EACH_CPU static uint64_t add_all(uint64_t sum, const uint8_t *bytes, size_t len)
{
	const lanes low = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
	lanes even = {0}, odd = {0};
	uint64_t word;

	for (; len >= 2 * sizeof(lanes); len -= 2 * sizeof(lanes), bytes += 2 * sizeof(lanes)) {
		lanes first, second;

		memcpy(&first, bytes, sizeof(first));
		memcpy(&second, bytes + sizeof(first), sizeof(second));
		even += (first & low) + (first >> 32);
		odd += (second & low) + (second >> 32);
	}
	even += odd;
	sum += even[0] + even[1] + even[2] + even[3];
	for (; len >= sizeof(word); len -= sizeof(word), bytes += sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		sum = add_word(sum, word);
	}
	return len ? add_rest(sum, bytes, len) : sum;
}

uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	return add_all(sum, data, len);
}
