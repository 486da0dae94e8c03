/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "packet.h"

#include <string.h>

uint16_t packet_checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	if (len & 1)
		sum += (uint32_t)data[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static unsigned int usual(unsigned int value, unsigned int otherwise)
{
	return value == ZERO ? 0 : value ? value : otherwise;
}

static void put_ports(uint8_t *at, size_t room, const struct ip_fields *ip)
{
	for (size_t i = 0; i < room; i++)
		at[i] = (uint8_t)(i * 7 + 3);
	if (room < 8)
		return;
	put16(at, usual(ip->sport, 1000));
	put16(at + 2, usual(ip->dport, 2000));
	put16(at + 4, room);
	put16(at + 6, 0);
	if (ip->proto == 1) {
		put16(at, usual(ip->icmp, 8) << 8);
		put16(at + 4, usual(ip->sport, 1000));
	}
	if (ip->proto == 6 && room >= 14) {
		at[12] = 5 << 4;
		at[13] = usual(ip->tcp_flags, 0x10);
	}
}

size_t packet_put_ip(struct frame *frame, const struct ip_fields *ip)
{
	uint8_t *at = frame->data + frame->len;
	size_t words = usual(ip->ihl, 5), hlen = words < 5 ? 20 : words * 4;
	size_t payload = usual(ip->payload, 24);

	memset(at, 0, hlen);
	memset(at + 20, 1, hlen - 20);
	at[0] = usual(ip->ver, 4) << 4 | words;
	at[1] = ip->tos;
	put16(at + 2, hlen + payload + ip->len_delta);
	put16(at + 4, ip->id);
	put16(at + 6, ip->frag);
	at[8] = usual(ip->ttl, 64);
	at[9] = usual(ip->proto, 17);
	put32(at + 12, ip->saddr);
	put32(at + 16, ip->daddr);
	put16(at + 10, ip->check ? ip->check : packet_checksum(at, hlen));
	put_ports(at + hlen, payload, ip);
	frame->len += hlen + payload;
	return hlen + payload;
}

void packet_put_eth(struct frame *frame, const uint8_t dst[6], const uint8_t src[6],
		    uint16_t eth_type)
{
	uint8_t *at = frame->data + frame->len;

	memcpy(at, dst, 6);
	memcpy(at + 6, src, 6);
	put16(at + 12, eth_type ? eth_type : 0x0800);
	frame->len += 14;
}

void packet_put_outer(struct frame *frame, const struct outer_fields *outer, size_t inner_len)
{
	const struct ip_fields ip = {
		.saddr = outer->saddr,
		.daddr = outer->daddr,
		.ver = outer->ver,
		.ihl = outer->ihl,
		.proto = outer->bare ? 4 : outer->proto,
		.tos = outer->tos,
		.frag = outer->frag ? outer->frag : 0x4000,
		.payload = outer->bare ? ZERO : 8,
		.len_delta = (int)inner_len + outer->len_delta,
		.sport = 50000,
		.dport = outer->dport ? outer->dport : 8285,
	};
	uint8_t *udp;

	packet_put_ip(frame, &ip);
	if (outer->bare)
		return;
	udp = frame->data + frame->len - 8;
	put16(udp + 4, 8 + inner_len + outer->udp_delta);
	put16(udp + 6, outer->udp_check);
}

void packet_route(struct frame *frame, size_t offset)
{
	uint8_t *ip = frame->data + offset;

	ip[8]--;
	put16(ip + 10, 0);
	put16(ip + 10, packet_checksum(ip, (ip[0] & 0xf) * 4));
}
