/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 packets for tests: a valid UDP-like packet from a few words, checksum filled in. */
#ifndef WEFT_TESTS_IP4_PACKET_H
#define WEFT_TESTS_IP4_PACKET_H

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <string.h>

#include "ip4.h"

#define ADDR(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

struct ip4_packet {
	uint32_t saddr, daddr;
	uint16_t len; /* at least 20 */
	uint16_t frag_off;
	uint8_t ttl;
	uint8_t protocol;
	uint8_t seed; /* of the payload's pattern */
};

/* buf holds p->len bytes. Returns p->len. */
static inline size_t ip4_packet_build(uint8_t *buf, const struct ip4_packet *p)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons(p->len),
		.id = htons(0x4242),
		.frag_off = htons(p->frag_off),
		.ttl = p->ttl,
		.protocol = p->protocol,
		.saddr = htonl(p->saddr),
		.daddr = htonl(p->daddr),
	};

	ip.check = ip4_checksum(&ip, sizeof(ip));
	memcpy(buf, &ip, sizeof(ip));
	for (size_t i = sizeof(ip); i < p->len; i++)
		buf[i] = (uint8_t)(i * 13 + p->seed);
	return p->len;
}

#endif
