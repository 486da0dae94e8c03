/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: advert DEVICE [COUNT]
 *
 * Router advertisements to all nodes (RFC 4861): a default route by this host for an hour, and a
 * prefix to take addresses from. Every second one travels behind a hop-by-hop header.
 *
 * Exit status: 0 sent, 1 failure, 2 usage.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "checksum.h"

#define LIFETIME_S 3600
#define PREFIX "2001:db8:bad::"

static const uint8_t all_nodes[] = {0x33, 0x33, 0, 0, 0, 1};
/* Hop-by-hop options: one of padding (RFC 8200 4.2). */
static const uint8_t hop_by_hop[] = {IPPROTO_ICMPV6, 0, 1, 4, 0, 0, 0, 0};

struct advert {
	struct nd_router_advert head;
	struct nd_opt_prefix_info prefix;
} __attribute__((packed));

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static int frames_open(const char *device, uint8_t mac[ETH_ALEN])
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(device)};
	struct ifreq req = {0};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
	if (fd < 0 || !ll.sll_ifindex || ioctl(fd, SIOCGIFHWADDR, &req) ||
	    bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		die(device);
	memcpy(mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	return fd;
}

static struct advert make_advert(const struct ip6_hdr *ip)
{
	uint32_t rest[] = {htonl(sizeof(struct advert)), htonl(IPPROTO_ICMPV6)};
	struct advert ra = {
		.head.nd_ra_type = ND_ROUTER_ADVERT,
		.prefix.nd_opt_pi_type = ND_OPT_PREFIX_INFORMATION,
		.prefix.nd_opt_pi_len = sizeof(ra.prefix) / 8,
		.prefix.nd_opt_pi_prefix_len = 64,
		.prefix.nd_opt_pi_flags_reserved = ND_OPT_PI_FLAG_ONLINK | ND_OPT_PI_FLAG_AUTO,
		.prefix.nd_opt_pi_valid_time = htonl(LIFETIME_S),
		.prefix.nd_opt_pi_preferred_time = htonl(LIFETIME_S),
	};
	uint64_t sum = checksum_add(0, &ip->ip6_src, sizeof(ip->ip6_src));

	/* Members of one union, which an initializer names only once */
	ra.head.nd_ra_curhoplimit = 64;
	ra.head.nd_ra_router_lifetime = htons(LIFETIME_S);
	inet_pton(AF_INET6, PREFIX, &ra.prefix.nd_opt_pi_prefix);
	sum = checksum_add(sum, &ip->ip6_dst, sizeof(ip->ip6_dst));
	sum = checksum_add(checksum_add(sum, rest, sizeof(rest)), &ra, sizeof(ra));
	ra.head.nd_ra_cksum = (uint16_t)~checksum_fold(sum);
	return ra;
}

static size_t build(uint8_t *frame, const uint8_t mac[ETH_ALEN], int wrapped)
{
	size_t ext = wrapped ? sizeof(hop_by_hop) : 0;
	struct ether_header eth = {.ether_type = htons(ETHERTYPE_IPV6)};
	struct ip6_hdr ip = {
		.ip6_flow = htonl(6U << 28),
		.ip6_plen = htons((uint16_t)(ext + sizeof(struct advert))),
		.ip6_nxt = wrapped ? IPPROTO_HOPOPTS : IPPROTO_ICMPV6,
		.ip6_hlim = 255,
	};
	struct advert ra;
	uint8_t *at = frame;

	memcpy(eth.ether_dhost, all_nodes, ETH_ALEN);
	memcpy(eth.ether_shost, mac, ETH_ALEN);
	inet_pton(AF_INET6, "fe80::bad", &ip.ip6_src);
	inet_pton(AF_INET6, "ff02::1", &ip.ip6_dst);
	ra = make_advert(&ip);
	at = mempcpy(at, &eth, sizeof(eth));
	at = mempcpy(at, &ip, sizeof(ip));
	at = mempcpy(at, hop_by_hop, ext);
	at = mempcpy(at, &ra, sizeof(ra));
	return (size_t)(at - frame);
}

int main(int argc, char **argv)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int count = argc > 2 ? atoi(argv[2]) : 1, fd;
	uint8_t mac[ETH_ALEN], frame[256];

	if (argc < 2 || argc > 3 || count < 1) {
		fprintf(stderr, "usage: advert DEVICE [COUNT]\n");
		return 2;
	}
	fd = frames_open(argv[1], mac);
	for (int i = 0; i < count; i++) {
		size_t len = build(frame, mac, i & 1);

		if (send(fd, frame, len, 0) != (ssize_t)len)
			die("send");
		nanosleep(&pause, NULL);
	}
	return 0;
}
