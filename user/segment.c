/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "segment.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#include "checksum.h"

#define IP_FRAGMENT_BITS (IP_MF | IP_OFFMASK)

uint16_t segment_pseudo_sum(const struct ip4_info *info, size_t l4_len)
{
	const uint32_t words[3] = {
		htonl(info->saddr),
		htonl(info->daddr),
		htonl((uint32_t)info->protocol << 16 | (uint32_t)l4_len),
	};

	return checksum_fold(checksum_add(0, words, sizeof(words)));
}

static size_t udp_len(const uint8_t *udp)
{
	return (size_t)(udp[4] << 8 | udp[5]);
}

size_t segment_l4_header(const uint8_t *packet, const struct ip4_info *info)
{
	size_t l4_len = info->len - info->hlen;
	const uint8_t *l4 = packet + info->hlen;
	size_t hlen;

	if (info->frag_off & IP_FRAGMENT_BITS)
		return 0;
	if (info->protocol == IPPROTO_UDP)
		return l4_len >= sizeof(struct udphdr) && udp_len(l4) == l4_len
			       ? sizeof(struct udphdr)
			       : 0;
	if (info->protocol != IPPROTO_TCP || l4_len < sizeof(struct tcphdr))
		return 0;
	hlen = (l4[12] >> 4) * 4U;
	return hlen >= sizeof(struct tcphdr) && hlen <= l4_len ? hlen : 0;
}

/* Of the checksum, from the start of the packet; 0 where there is none. */
static size_t checksum_offset(const uint8_t *packet, const struct ip4_info *info)
{
	if (!segment_l4_header(packet, info))
		return 0;
	return info->hlen + (info->protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check)
							   : offsetof(struct udphdr, check));
}

static uint16_t get_check(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* A zero would say "none" in UDP (RFC 768). */
static void put_check(uint8_t *at, uint64_t sum, uint8_t protocol)
{
	uint16_t check = (uint16_t)~checksum_fold(sum);

	if (!check && protocol == IPPROTO_UDP)
		check = 0xffff;
	memcpy(at, &check, sizeof(check));
}

bool segment_checksum_pending(const uint8_t *packet, const struct ip4_info *info)
{
	size_t at = checksum_offset(packet, info);

	return at && get_check(packet + at) == segment_pseudo_sum(info, info->len - info->hlen);
}

size_t segment_size(const uint8_t *packet, const struct ip4_info *info, uint32_t mtu,
		    size_t datagram)
{
	size_t headers = info->hlen + segment_l4_header(packet, info);

	if (info->protocol == IPPROTO_UDP && datagram)
		return datagram;
	if (!mtu || info->len <= mtu)
		return info->len;
	return info->protocol == IPPROTO_TCP && headers < mtu ? mtu - headers : 0;
}

void segment_checksum_complete(uint8_t *packet, const struct ip4_info *info)
{
	size_t at = checksum_offset(packet, info);
	size_t l4_len = info->len - info->hlen;
	uint16_t pseudo = segment_pseudo_sum(info, l4_len);

	if (!at)
		return;
	memcpy(packet + at, &pseudo, sizeof(pseudo));
	put_check(packet + at, checksum_add(0, packet + info->hlen, l4_len), info->protocol);
}

bool segment_checksum_holds(const uint8_t *packet, const struct ip4_info *info)
{
	size_t at = checksum_offset(packet, info);
	size_t l4_len = info->len - info->hlen;

	if (!at || (info->protocol == IPPROTO_UDP && !get_check(packet + at)))
		return false;
	return checksum_fold(checksum_add(segment_pseudo_sum(info, l4_len), packet + info->hlen,
					  l4_len)) == 0xffff;
}

/* Sums over the headers without the fields that differ from segment to segment. */
static void sum_headers(struct segments *s)
{
	const uint8_t *ip = s->packet, *l4 = ip + s->info.hlen;
	size_t l4_hlen = s->headers - s->info.hlen;

	/* Not: length and identification, checksum. */
	s->ip_sum = checksum_add(0, ip, 2);
	s->ip_sum = checksum_add(s->ip_sum, ip + 6, 4);
	s->ip_sum = checksum_add(s->ip_sum, ip + 12, s->info.hlen - 12U);
	s->l4_sum = checksum_add(segment_pseudo_sum(&s->info, 0), l4, 4);
	if (s->info.protocol == IPPROTO_UDP)
		return;
	/* Not: sequence number, flags, checksum. */
	s->l4_sum = checksum_add(s->l4_sum, l4 + 8, 4);
	s->l4_sum = checksum_add(s->l4_sum, l4 + 14, 2);
	s->l4_sum = checksum_add(s->l4_sum, l4 + 18, l4_hlen - 18);
}

bool segments_start(struct segments *s, const uint8_t *packet, const struct ip4_info *info,
		    size_t size)
{
	size_t l4_hlen = segment_l4_header(packet, info);

	if (!l4_hlen || !size || info->hlen + l4_hlen >= info->len)
		return false;
	*s = (struct segments){
		.packet = packet,
		.info = *info,
		.headers = info->hlen + l4_hlen,
		.size = size,
	};
	sum_headers(s);
	return true;
}

static void write_ip(struct segments *s, uint8_t *ip, size_t len)
{
	struct iphdr fields;

	memcpy(&fields, s->packet, sizeof(fields));
	fields.tot_len = htons((uint16_t)len);
	fields.id = htons((uint16_t)(ntohs(fields.id) + s->count));
	fields.check = (uint16_t)~checksum_fold(s->ip_sum + fields.tot_len + fields.id);
	memcpy(ip, &fields, sizeof(fields));
	memcpy(ip + sizeof(fields), s->packet + sizeof(fields), s->info.hlen - sizeof(fields));
}

/* CWR answers the congestion mark once, on the first; FIN and PSH belong to the last byte. */
static uint64_t write_tcp(const struct segments *s, uint8_t *tcp, size_t hlen, bool last)
{
	struct tcphdr fields;

	memcpy(tcp, s->packet + s->info.hlen, hlen);
	memcpy(&fields, tcp, sizeof(fields));
	fields.seq = htonl(ntohl(fields.seq) + (uint32_t)s->done);
	if (!last)
		fields.th_flags &= (uint8_t) ~(TH_FIN | TH_PUSH);
	if (s->done)
		fields.th_flags &= (uint8_t)~0x80;
	memcpy(tcp, &fields, sizeof(fields));
	return checksum_add(checksum_add(s->l4_sum, tcp + 4, 4), tcp + 12, 2);
}

static uint64_t write_udp(const struct segments *s, uint8_t *udp, size_t payload)
{
	uint16_t len = htons((uint16_t)(sizeof(struct udphdr) + payload));

	memcpy(udp, s->packet + s->info.hlen, sizeof(struct udphdr));
	memcpy(udp + 4, &len, sizeof(len));
	return s->l4_sum + len;
}

size_t segments_next(struct segments *s, uint8_t *headers, const uint8_t **payload)
{
	size_t left = s->info.len - s->headers - s->done;
	size_t n = left < s->size ? left : s->size;
	size_t l4_hlen = s->headers - s->info.hlen;
	uint8_t *l4 = headers + s->info.hlen;
	bool tcp = s->info.protocol == IPPROTO_TCP;
	uint64_t sum;

	if (!n)
		return 0;
	*payload = s->packet + s->headers + s->done;
	write_ip(s, headers, s->headers + n);
	sum = tcp ? write_tcp(s, l4, l4_hlen, n == left) : write_udp(s, l4, n);
	sum += htons((uint16_t)(l4_hlen + n));
	put_check(l4 + (tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check)),
		  checksum_add(sum, *payload, n), s->info.protocol);
	s->done += n;
	s->count++;
	return n;
}
