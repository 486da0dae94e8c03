/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packets of garbage.c: kinds[] of them, made from valid ones and a seed. */
#ifndef WEFT_TESTS_NET_GARBAGE_PACKETS_H
#define WEFT_TESTS_NET_GARBAGE_PACKETS_H

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "checksum.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* kernel headers before 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define DATAGRAM_MAX 65507
#define PAYLOAD_MAX 1300
#define SPORT 40000
#define SPORTS 1000

struct packet {
	size_t len;
	size_t segment; /* of so many bytes each; 0: it is one */
	unsigned int refused;
	struct virtio_net_hdr vnet; /* a pod's */
	uint8_t data[DATAGRAM_MAX];
};

static struct {
	const char *dev, *kind;
	struct in_addr from, to, src, dst;
	struct ether_header eth;
	unsigned long dport, count, secs, pps, seed, nocheck;
} opt = {.dport = 7000, .pps = 500, .seed = 1};

/* splitmix64 */
static uint64_t random_word(void)
{
	static uint64_t state;
	uint64_t x = opt.seed * 0xd1342543de82ef95ULL + (state += 0x9e3779b97f4a7c15ULL);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* From 0 to n - 1. */
static uint32_t below(uint32_t n)
{
	return (uint32_t)(random_word() % n);
}

static void fill(uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = random_word();

		memcpy(to + i, &word, len - i < 8 ? len - i : 8);
	}
}

/* Valid packets, that is what the others are made from */

static void put_ip(struct packet *p, struct iphdr ip)
{
	ip.check = 0;
	memcpy(p->data, &ip, sizeof(ip));
	ip.check = checksum(p->data, ip.ihl < 5 ? sizeof(ip) : ip.ihl * 4U);
	memcpy(p->data, &ip, sizeof(ip));
}

static struct iphdr get_ip(const struct packet *p)
{
	struct iphdr ip;

	memcpy(&ip, p->data, sizeof(ip));
	return ip;
}

static size_t check_offset(const struct packet *p)
{
	struct iphdr ip = get_ip(p);

	return ip.ihl * 4U + (ip.protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check)
							 : offsetof(struct udphdr, check));
}

/* As it is before a device completes it: the sum of the pseudo header. */
static void put_pending(struct packet *p)
{
	struct iphdr ip = get_ip(p);
	uint32_t rest = htonl((uint32_t)ip.protocol << 16 | ((uint32_t)p->len - ip.ihl * 4U));
	uint16_t sum = checksum_fold(checksum_add(checksum_add(0, &ip.saddr, 8), &rest, 4));

	memcpy(p->data + check_offset(p), &sum, sizeof(sum));
}

static void put_check(struct packet *p)
{
	size_t hlen = get_ip(p).ihl * 4U;
	uint16_t check;

	put_pending(p);
	check = checksum(p->data + hlen, p->len - hlen);
	check = check ? check : 0xffff;
	memcpy(p->data + check_offset(p), &check, sizeof(check));
}

static void put_valid(struct packet *p, uint8_t protocol, size_t hlen, size_t payload)
{
	size_t l4_hlen = protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	struct tcphdr tcp = {.source = htons((uint16_t)(SPORT + below(SPORTS))),
			     .dest = htons((uint16_t)opt.dport),
			     .seq = (uint32_t)random_word(),
			     .ack_seq = (uint32_t)random_word(),
			     .doff = sizeof(tcp) / 4,
			     .ack = 1,
			     .window = htons(500)};
	/* Neither from a server's port, as an answer, nor to one: its datagrams are counted. */
	struct udphdr udp = {.source = htons((uint16_t)(1024 + below(900))),
			     .dest = htons((uint16_t)(opt.dport + 2)),
			     .len = htons((uint16_t)(l4_hlen + payload))};
	struct iphdr ip = {.version = 4,
			   .ihl = (hlen / 4) & 15,
			   .tot_len = htons((uint16_t)(hlen + l4_hlen + payload)),
			   .id = (uint16_t)random_word(),
			   .ttl = (uint8_t)(3 + below(250)),
			   .protocol = protocol,
			   .saddr = opt.src.s_addr,
			   .daddr = opt.dst.s_addr};

	p->len = hlen + l4_hlen + payload;
	fill(p->data + sizeof(ip), p->len - sizeof(ip));
	if (protocol == IPPROTO_TCP)
		memcpy(p->data + hlen, &tcp, sizeof(tcp));
	else
		memcpy(p->data + hlen, &udp, sizeof(udp));
	put_ip(p, ip);
	put_check(p);
}

/* Of any protocol, with any options. */
static struct iphdr put_any(struct packet *p, uint32_t payload)
{
	put_valid(p, below(2) ? IPPROTO_TCP : IPPROTO_UDP, 20 + 4UL * below(11), payload);
	return get_ip(p);
}

/* Kinds */

static void make_random(struct packet *p)
{
	p->len = below(1473);
	fill(p->data, p->len);
	if (below(2))
		p->data[0] = (uint8_t)(0x40 | p->data[0] >> 4);
	p->refused = 1;
}

/* To nothing at all or into its headers: the smallest whole one has 68 bytes. */
static void make_truncated(struct packet *p)
{
	put_any(p, 40);
	p->len = below(4) ? below(61) : 0;
	p->refused = 1;
}

static void make_header(struct packet *p)
{
	static const uint32_t no_pods[] = {0, 0x7f000001, 0xe0000001, 0xffffffff, 0xc0000203};
	struct iphdr ip = put_any(p, below(PAYLOAD_MAX));
	uint32_t hlen = ip.ihl * 4U, len = (uint32_t)p->len, host = htonl(no_pods[below(5)]);

	p->refused = 1;
	switch (below(8)) {
	case 0:
		ip.version = (5 + below(15)) & 15; /* not 4 */
		break;
	case 1:
		ip.ihl = below(5) & 7;
		break;
	case 2:
		ip.tot_len = htons((uint16_t)below(hlen));
		break;
	case 3:
		ip.tot_len = htons((uint16_t)(len + 1 + below(65535 - len)));
		break;
	case 4:
		ip.tot_len = htons((uint16_t)(len - 1 - below(len - hlen)));
		break;
	case 5:
		ip.ttl = 0;
		break;
	case 6:
		ip.saddr = below(2) ? host : opt.dst.s_addr;
		break;
	default:
		ip.daddr = host;
	}
	put_ip(p, ip);
	p->data[offsetof(struct iphdr, check)] ^= below(8) ? 0 : 0x55;
}

static void make_l4(struct packet *p)
{
	struct iphdr ip = put_any(p, below(PAYLOAD_MAX));
	uint32_t hlen = ip.ihl * 4U;
	bool tcp = ip.protocol == IPPROTO_TCP;

	if (below(2))
		fill(p->data + hlen + (tcp ? 12 : 4), 2);
	else
		p->len = hlen + below(tcp ? 20 : 8);
	ip.tot_len = htons((uint16_t)p->len);
	ip.protocol = below(4) ? ip.protocol : (uint8_t)random_word();
	put_ip(p, ip);
}

static void make_fragment(struct packet *p)
{
	struct iphdr ip = put_any(p, below(PAYLOAD_MAX));

	ip.frag_off = htons((uint16_t)(below(2) ? IP_MF | below(4) : random_word()));
	put_ip(p, ip);
}

static void make_checksum(struct packet *p)
{
	put_any(p, below(PAYLOAD_MAX));
	if (below(2))
		put_pending(p);
	else
		p->data[check_offset(p)] ^= 0x55;
}

/* What a connection has that exists, but for the numbers and flags. */
static void make_flow(struct packet *p)
{
	put_valid(p, IPPROTO_TCP, sizeof(struct iphdr), below(PAYLOAD_MAX));
	fill(p->data + sizeof(struct iphdr) + 13, 1);
	put_check(p);
}

static void make_huge(struct packet *p)
{
	uint32_t less = below(2) ? below(63000) : 0;

	put_any(p, opt.dev ? PAYLOAD_MAX : DATAGRAM_MAX - 80 - less);
	if (below(2)) {
		p->data[0] &= 0xf;
		p->refused = 1;
	}
}

/* Segments of a stream, one in three of them broken, that travel as one datagram. */
static void make_glued(struct packet *p)
{
	static struct packet one;
	uint32_t seq = htonl((uint32_t)random_word()), size = 41 + below(1300), n = 2 + below(40);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t next = htonl(ntohl(seq) + i * (size - 40));

		put_valid(&one, IPPROTO_TCP, sizeof(struct iphdr),
			  i + 1 < n ? size - 40 : below(size - 39));
		memcpy(one.data + sizeof(struct iphdr) + 4, &next, sizeof(next));
		put_check(&one);
		memcpy(p->data + p->len, one.data, one.len);
		if (below(3) == 0) {
			p->data[p->len] &= 0xf;
			p->refused++;
		}
		p->len += one.len;
	}
	p->segment = size;
}

/* What a pod leaves to its device, or claims to. */
static void make_large(struct packet *p)
{
	struct iphdr ip = put_any(p, 1400 + below(60000));
	size_t l4 = ip.ihl * 4U;
	bool tcp = ip.protocol == IPPROTO_TCP;

	put_pending(p);
	p->vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = (uint16_t)(sizeof(opt.eth) + l4 + (tcp ? 20 : 8)),
		.gso_size = (uint16_t)(below(8) ? 48 + below(1400) : 1400 + below(5000)),
		.csum_start = (uint16_t)(sizeof(opt.eth) + l4),
		.csum_offset = (uint16_t)(check_offset(p) - l4),
	};
	if (below(4) == 0)
		fill(p->data + l4 + (tcp ? 12 : 4), 2);
}

static const struct kind {
	const char *name;
	void (*make)(struct packet *p);
} kinds[] = {
	{"random", make_random}, {"truncated", make_truncated}, {"header", make_header},
	{"l4", make_l4},	 {"fragment", make_fragment},	{"checksum", make_checksum},
	{"flow", make_flow},	 {"huge", make_huge},		{"glued", make_glued},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void make(struct packet *p)
{
	const struct kind *kind = &kinds[below(KINDS)];

	for (size_t i = 0; opt.kind && i < KINDS; i++)
		if (!strcmp(kinds[i].name, opt.kind))
			kind = &kinds[i];
	p->len = p->segment = p->refused = 0;
	p->vnet = (struct virtio_net_hdr){0};
	if (opt.dev && kind->make == make_glued)
		make_large(p);
	else
		kind->make(p);
}

#endif
