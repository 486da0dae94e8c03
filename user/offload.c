/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "offload.h"

#include <netinet/in.h>
#include <string.h>

#include "weft/abi.h"

#define TCP_MIN_HLEN 20
#define TCP_SEQ 4
#define TCP_OFFSET 12
#define TCP_FLAGS 13
#define TCP_CHECK 16
#define UDP_CHECK 6
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

#define IP_TOT_LEN 2
#define IP_ID 4
#define IP_CHECK 10
#define IP_FRAGMENT_BITS 0x3fff /* more fragments, and the offset */

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static uint16_t pseudo_sum(const struct ip4_info *info, size_t l4_len)
{
	return fold((info->saddr >> 16) + (info->saddr & 0xffff) + (info->daddr >> 16) +
		    (info->daddr & 0xffff) + info->protocol + (uint32_t)l4_len);
}

/* Offset of the checksum from the start of the packet; 0 when there is none to look at. */
static size_t checksum_offset(const struct ip4_info *info)
{
	size_t l4_len = info->len - info->hlen;

	if (info->frag_off & IP_FRAGMENT_BITS)
		return 0;
	if (info->protocol == IPPROTO_TCP && l4_len >= TCP_MIN_HLEN)
		return info->hlen + TCP_CHECK;
	if (info->protocol == IPPROTO_UDP && l4_len >= WEFT_UDP_HLEN)
		return info->hlen + UDP_CHECK;
	return 0;
}

bool offload_checksum_pending(const uint8_t *packet, const struct ip4_info *info)
{
	size_t at = checksum_offset(info);

	return at && get16(packet + at) == pseudo_sum(info, info->len - info->hlen);
}

/* ip4_checksum() over the segment with the pseudo header's sum standing in the field. */
static void complete(uint8_t *packet, const struct ip4_info *info, size_t at)
{
	size_t l4_len = info->len - info->hlen;
	uint16_t check;

	put16(packet + at, pseudo_sum(info, l4_len));
	check = ip4_checksum(packet + info->hlen, l4_len);
	/* Zero would say "no checksum" (RFC 768). */
	if (check == 0 && info->protocol == IPPROTO_UDP)
		check = 0xffff;
	memcpy(packet + at, &check, sizeof(check));
}

void offload_checksum_complete(uint8_t *packet, const struct ip4_info *info)
{
	size_t at = checksum_offset(info);

	if (at)
		complete(packet, info, at);
}

bool offload_segments_start(struct offload_segments *s, const uint8_t *packet,
			    const struct ip4_info *info, size_t mtu)
{
	size_t tcp_hlen;

	if (info->protocol != IPPROTO_TCP || !checksum_offset(info))
		return false;
	tcp_hlen = (packet[info->hlen + TCP_OFFSET] >> 4) * 4;
	if (tcp_hlen < TCP_MIN_HLEN || info->hlen + tcp_hlen >= info->len ||
	    info->hlen + tcp_hlen >= mtu)
		return false;
	*s = (struct offload_segments){
		.packet = packet,
		.info = *info,
		.headers = info->hlen + tcp_hlen,
		.payload = mtu - info->hlen - tcp_hlen,
	};
	return true;
}

/* CWR answers the congestion mark once, on the first; FIN and PSH belong to the last byte. */
static void fix_tcp(const struct offload_segments *s, uint8_t *tcp, bool last)
{
	put32(tcp + TCP_SEQ, get32(tcp + TCP_SEQ) + (uint32_t)s->done);
	if (!last)
		tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (s->done > 0)
		tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
}

size_t offload_segments_next(struct offload_segments *s, uint8_t *out)
{
	size_t left = s->info.len - s->headers - s->done;
	size_t n = left < s->payload ? left : s->payload;
	struct ip4_info info = s->info;
	uint16_t check;

	if (n == 0)
		return 0;
	info.len = (uint16_t)(s->headers + n);
	memcpy(out, s->packet, s->headers);
	memcpy(out + s->headers, s->packet + s->headers + s->done, n);
	put16(out + IP_TOT_LEN, info.len);
	put16(out + IP_ID, (uint16_t)(get16(out + IP_ID) + s->count));
	put16(out + IP_CHECK, 0);
	check = ip4_checksum(out, info.hlen);
	memcpy(out + IP_CHECK, &check, sizeof(check));
	fix_tcp(s, out + info.hlen, n == left);
	complete(out, &info, info.hlen + TCP_CHECK);
	s->done += n;
	s->count++;
	return info.len;
}
