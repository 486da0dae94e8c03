/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames for the program tests, built from fields; a field left 0 takes the usual value, so that a
 * row of a table shows only what is special about it. Checksums and layouts are computed here from
 * the RFCs, independently of bpf/.
 */
#ifndef WEFT_TESTS_PACKET_H
#define WEFT_TESTS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 4096
/* An explicit zero for a field whose 0 means "the usual". */
#define ZERO 0xffff

struct ip_fields {
	uint32_t saddr, daddr; /* host order */
	uint16_t ver; /* 4 */
	uint16_t ihl; /* 5, in words; option bytes are NOP */
	uint8_t tos;
	uint16_t ttl; /* 64; ZERO */
	uint16_t id;
	uint16_t frag; /* flags and offset as on the wire, host order */
	uint8_t proto; /* 17 */
	uint16_t payload; /* bytes behind the header: 24; ZERO */
	int len_delta; /* added to the true total length */
	uint16_t check; /* 0: the right one */
	uint16_t sport, dport; /* 1000, 2000; ICMP: sport is the identifier */
	uint16_t tcp_flags; /* 0x10, ACK; ZERO */
	uint16_t icmp; /* type: 8, echo; ZERO; the code is 0 */
};

struct outer_fields {
	uint32_t saddr, daddr;
	uint16_t dport; /* 8285 */
	uint8_t proto; /* 17 */
	uint16_t ihl; /* 5 */
	uint16_t ver; /* 4 */
	uint16_t frag;
	int len_delta, udp_delta;
	uint16_t udp_check;
	uint8_t tos;
	bool bare; /* IPv4 alone, with protocol 4 */
};

struct frame {
	size_t len;
	uint8_t data[FRAME_MAX];
};

/* RFC 1071 over len bytes, as a host order number ready for put16(). */
uint16_t packet_checksum(const uint8_t *data, size_t len);
void put16(uint8_t *at, uint16_t value);
void put32(uint8_t *at, uint32_t value);

/* Appends an IPv4 packet and returns its length. */
size_t packet_put_ip(struct frame *frame, const struct ip_fields *ip);
/* Appends an Ethernet header; eth_type 0 means IPv4. */
void packet_put_eth(struct frame *frame, const uint8_t dst[6], const uint8_t src[6],
		    uint16_t eth_type);
/* Appends outer IPv4 and, unless bare, UDP headers for inner_len bytes that follow. */
void packet_put_outer(struct frame *frame, const struct outer_fields *outer, size_t inner_len);

/* One router's work on the IPv4 packet at offset: TTL and checksum, recomputed whole. */
void packet_route(struct frame *frame, size_t offset);

#endif
