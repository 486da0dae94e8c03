/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whole TCP and UDP packets for tests, and their checksums by the book (RFC 1071), which share
 * nothing with the code under test.
 */
#ifndef WEFT_TESTS_L4_PACKET_H
#define WEFT_TESTS_L4_PACKET_H

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <string.h>

#include "ip4.h"

#define TCP_ECE 0x40
#define TCP_CWR 0x80

/* Zero is a good value of everything but the lengths. */
struct l4_packet {
	uint8_t protocol, tos, ttl;
	uint16_t id, frag_off;
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags, reserved;
	uint16_t window, urgent;
	const uint8_t *ip_options, *tcp_options;
	size_t ip_options_len, tcp_options_len; /* multiples of 4 */
	size_t payload;
	size_t from; /* place of the payload's first byte in the pattern */
	bool pending; /* the checksum is left to a device */
	bool no_sum; /* UDP without a checksum */
};

static inline uint8_t l4_pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + 3);
}

static inline uint32_t l4_sum(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* Of the pseudo header (RFC 9293 section 3.1), host byte order, not complemented. */
static inline uint32_t l4_pseudo(const uint8_t *packet, size_t l4_len)
{
	return l4_sum((uint32_t)(packet[9] + l4_len), packet + 12, 8);
}

/* Over the whole packet with its checksum: 0xffff if it is right. */
static inline uint32_t l4_total(const uint8_t *packet, size_t len)
{
	size_t hlen = (packet[0] & 15) * 4U;

	return l4_sum(l4_pseudo(packet, len - hlen), packet + hlen, len - hlen);
}

static inline size_t l4_check_at(const uint8_t *packet)
{
	return (packet[0] & 15) * 4U + (packet[9] == IPPROTO_TCP ? 16 : 6);
}

static inline void l4_put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void l4_put32(uint8_t *at, uint32_t value)
{
	l4_put16(at, value >> 16);
	l4_put16(at + 2, value);
}

static inline void l4_put_ip_sum(uint8_t *packet)
{
	l4_put16(packet + 10, 0);
	l4_put16(packet + 10, ~l4_sum(0, packet, (packet[0] & 15) * 4U));
}

static inline void l4_put_sum(uint8_t *packet, size_t len, bool pending)
{
	size_t hlen = (packet[0] & 15) * 4U;
	uint32_t sum;

	l4_put16(packet + l4_check_at(packet), 0);
	if (pending) {
		sum = l4_pseudo(packet, len - hlen);
	} else {
		sum = ~l4_total(packet, len) & 0xffff;
		if (!sum && packet[9] == IPPROTO_UDP)
			sum = 0xffff;
	}
	l4_put16(packet + l4_check_at(packet), sum);
}

static inline size_t l4_put_tcp(uint8_t *tcp, const struct l4_packet *p)
{
	l4_put32(tcp + 4, p->seq);
	l4_put32(tcp + 8, p->ack);
	tcp[12] = (uint8_t)((5 + p->tcp_options_len / 4) << 4 | p->reserved);
	tcp[13] = p->flags;
	l4_put16(tcp + 14, p->window);
	l4_put16(tcp + 18, p->urgent);
	if (p->tcp_options_len)
		memcpy(tcp + 20, p->tcp_options, p->tcp_options_len);
	return 20 + p->tcp_options_len;
}

/* 10.244.1.2 to 10.244.2.2. Returns the length. */
static inline size_t l4_packet_build(uint8_t *buf, const struct l4_packet *p)
{
	size_t hlen = 20 + p->ip_options_len, len = hlen;
	uint8_t *l4 = buf + hlen;

	memset(buf, 0, hlen + 20);
	buf[0] = (uint8_t)(0x40 | hlen / 4);
	buf[1] = p->tos;
	l4_put16(buf + 4, p->id);
	l4_put16(buf + 6, p->frag_off);
	buf[8] = p->ttl ? p->ttl : 64;
	buf[9] = p->protocol;
	l4_put32(buf + 12, 0x0af40102);
	l4_put32(buf + 16, 0x0af40202);
	if (p->ip_options_len)
		memcpy(buf + 20, p->ip_options, p->ip_options_len);
	l4_put16(l4, p->sport);
	l4_put16(l4 + 2, p->dport);
	len += p->protocol == IPPROTO_TCP ? l4_put_tcp(l4, p) : 8;
	for (size_t i = 0; i < p->payload; i++)
		buf[len + i] = l4_pattern(p->from + i);
	len += p->payload;
	if (p->protocol == IPPROTO_UDP)
		l4_put16(l4 + 4, (uint32_t)(len - hlen));
	l4_put16(buf + 2, (uint32_t)len);
	l4_put_ip_sum(buf);
	if (!p->no_sum)
		l4_put_sum(buf, len, p->pending);
	return len;
}

#endif
