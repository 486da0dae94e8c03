/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "ip4.h"

#define ICMP_ERROR_TTL 64
/* Precedence "internetwork control", as RFC 1812 section 4.3.2.5 wants it of routers. */
#define ICMP_ERROR_TOS 0xc0
/* RFC 792: the offender's header and 64 bits of its data. */
#define ICMP_ERROR_DATA 8

uint16_t ip4_checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint64_t sum = 0;
	uint16_t word = 0;

	for (; len > 1; len -= 2, bytes += 2) {
		memcpy(&word, bytes, 2);
		sum += word;
	}
	if (len) {
		word = 0;
		memcpy(&word, bytes, 1);
		sum += word;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

enum weft_reason ip4_parse(const void *packet, size_t len, struct ip4_info *out)
{
	struct iphdr ip;
	size_t hlen, total;

	if (!len)
		return WEFT_R_SHORT;
	if (*(const uint8_t *)packet >> 4 != 4)
		return WEFT_R_NOT_IPV4;
	if (len < IP4_MIN_HLEN)
		return WEFT_R_SHORT;
	memcpy(&ip, packet, sizeof(ip));
	hlen = ip.ihl * 4U;
	total = ntohs(ip.tot_len);
	if (hlen < IP4_MIN_HLEN || total < hlen)
		return WEFT_R_BAD_IP4;
	if (total > len)
		return WEFT_R_SHORT;
	if (ip4_checksum(packet, hlen))
		return WEFT_R_BAD_IP4;
	*out = (struct ip4_info){
		.saddr = ntohl(ip.saddr),
		.daddr = ntohl(ip.daddr),
		.len = (uint16_t)total,
		.hlen = (uint8_t)hlen,
		.ttl = ip.ttl,
		.protocol = ip.protocol,
		.frag_off = ntohs(ip.frag_off),
	};
	return WEFT_R_OK;
}

/* A unicast address of one host: not 0/8, 127/8, multicast, class E or limited broadcast. */
static bool is_single_host(uint32_t addr)
{
	uint32_t first = addr >> 24;

	return first != 0 && first != IN_LOOPBACKNET && first < 224;
}

/* Everything not known to be a query or its answer counts as an error. */
static bool is_icmp_query(uint8_t type)
{
	switch (type) {
	case ICMP_ECHOREPLY:
	case ICMP_ECHO:
	case 9: /* router advertisement and solicitation, RFC 1256 */
	case 10:
	case ICMP_TIMESTAMP:
	case ICMP_TIMESTAMPREPLY:
	case ICMP_INFO_REQUEST:
	case ICMP_INFO_REPLY:
	case ICMP_ADDRESS:
	case ICMP_ADDRESSREPLY:
	case 42: /* extended echo and its reply, RFC 8335 */
	case 43:
		return true;
	default:
		return false;
	}
}

bool icmp_error_allowed(const void *packet, const struct ip4_info *info)
{
	const uint8_t *bytes = packet;

	if (info->frag_off & IP_OFFMASK)
		return false;
	if (!is_single_host(info->saddr))
		return false;
	if (!(info->daddr >> 24) || info->daddr >> 28 >= 0xe)
		return false;
	if (info->protocol != IPPROTO_ICMP)
		return true;
	return info->len > info->hlen && is_icmp_query(bytes[info->hlen]);
}

size_t icmp_error_build(uint8_t out[ICMP_ERROR_MAX], uint8_t type, uint8_t code, uint16_t mtu,
			uint32_t saddr, const void *packet, const struct ip4_info *info)
{
	size_t quoted = info->hlen + (size_t)ICMP_ERROR_DATA;
	struct icmphdr icmp = {.type = type, .code = code};
	struct iphdr ip = {
		.version = 4,
		.ihl = IP4_MIN_HLEN / 4,
		.tos = ICMP_ERROR_TOS,
		/* Atomic (RFC 6864), so the identification may stay zero. */
		.frag_off = htons(IP_DF),
		.ttl = ICMP_ERROR_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = htonl(saddr),
		.daddr = htonl(info->saddr),
	};
	size_t total;

	if (!icmp_error_allowed(packet, info))
		return 0;
	if (quoted > info->len)
		quoted = info->len;
	total = sizeof(ip) + sizeof(icmp) + quoted;
	if (type == ICMP_DEST_UNREACH && code == ICMP_FRAG_NEEDED)
		icmp.un.frag.mtu = htons(mtu);
	ip.tot_len = htons((uint16_t)total);
	ip.check = ip4_checksum(&ip, sizeof(ip));
	memcpy(out, &ip, sizeof(ip));
	memcpy(out + sizeof(ip), &icmp, sizeof(icmp));
	memcpy(out + sizeof(ip) + sizeof(icmp), packet, quoted);
	icmp.checksum = ip4_checksum(out + sizeof(ip), sizeof(icmp) + quoted);
	memcpy(out + sizeof(ip), &icmp, sizeof(icmp));
	return total;
}
