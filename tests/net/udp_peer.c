/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: udp_peer [--record FILE] TUN ADDR[:PORT] SUBNET/LEN=PUBLICIP...
 *
 * A node that is not weft: what flannel's udp backend does with packets, and none of weft's code.
 * Opens (or attaches to) the TUN device, binds UDP ADDR:PORT (8285), prints nothing and moves raw
 * IPv4 packets both ways until SIGTERM or SIGINT. The device's address, MTU, link state and route
 * are left to the caller; they may be set before (ip tuntap add) or while it runs.
 *
 * Like flanneld: the TTL is decremented at both crossings and a packet whose TTL is used up
 * vanishes; less than 20 bytes vanish; nothing else is checked, neither the outer source nor the
 * inner addresses; the destination port is the own one; first matching route wins. Unlike it, no
 * ICMP error is made for a destination without a route.
 *
 * With --record each datagram appends a line, its payload in hex as it is on the wire:
 *   tx|rx SRC:PORT DST:PORT PAYLOAD
 * where the end that is not the peer's is the bound address.
 *
 * Exit status: 0 ended by signal, 1 failure, 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ROUTES 256
#define MIN_PACKET 20
#define BURST 64

struct route {
	uint32_t base, mask; /* host byte order */
	in_addr_t next_hop;
};

static struct route routes[MAX_ROUTES];
static size_t n_routes;
static struct sockaddr_in local;
static FILE *record;
static uint8_t packet[65536];

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: udp_peer [--record FILE] TUN ADDR[:PORT] SUBNET/LEN=PUBLICIP...\n");
	exit(2);
}

/* SUBNET/LEN=PUBLICIP */
static void route_add(const char *text)
{
	char subnet[INET_ADDRSTRLEN], hop[INET_ADDRSTRLEN];
	struct route *route = &routes[n_routes];
	struct in_addr base, next;
	unsigned len = 0;

	if (n_routes == MAX_ROUTES ||
	    sscanf(text, "%15[0-9.]/%u=%15[0-9.]", subnet, &len, hop) != 3)
		usage();
	if (len > 32 || !inet_aton(subnet, &base) || !inet_aton(hop, &next))
		usage();
	route->mask = len ? UINT32_MAX << (32 - len) : 0;
	route->base = ntohl(base.s_addr) & route->mask;
	route->next_hop = next.s_addr;
	n_routes++;
}

static const struct route *route_find(uint32_t addr)
{
	for (size_t i = 0; i < n_routes; i++)
		if ((addr & routes[i].mask) == routes[i].base)
			return &routes[i];
	return NULL;
}

/* ADDR[:PORT] */
static void local_parse(const char *text)
{
	char addr[INET_ADDRSTRLEN];
	unsigned port = 8285;

	if (sscanf(text, "%15[0-9.]:%u", addr, &port) < 1 || !port || port > 65535)
		usage();
	local.sin_family = AF_INET;
	local.sin_port = htons((uint16_t)port);
	if (!inet_aton(addr, &local.sin_addr))
		usage();
}

static int tun_open(const char *name)
{
	struct ifreq req = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (strlen(name) >= sizeof(req.ifr_name))
		usage();
	memcpy(req.ifr_name, name, strlen(name) + 1);
	if (fd < 0)
		die("/dev/net/tun");
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		die(name);
	return fd;
}

static int udp_open(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		die("udp socket");
	return fd;
}

static int signals_open(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		die("signalfd");
	return fd;
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), m the word of TTL and protocol. */
static int ttl_decrement(void)
{
	uint32_t check = (uint32_t)packet[10] << 8 | packet[11];
	uint32_t before = (uint32_t)packet[8] << 8 | packet[9];
	uint32_t sum;

	if (packet[8] <= 1)
		return 0;
	packet[8]--;
	sum = (~check & 0xffff) + (~before & 0xffff) + (before - 0x100);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	packet[10] = (uint8_t)(~sum >> 8);
	packet[11] = (uint8_t)~sum;
	return 1;
}

static void record_endpoint(const struct sockaddr_in *end)
{
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &end->sin_addr, text, sizeof(text));
	fprintf(record, " %s:%u", text, ntohs(end->sin_port));
}

static void record_datagram(const char *direction, const struct sockaddr_in *from,
			    const struct sockaddr_in *to, size_t len)
{
	if (!record)
		return;
	fputs(direction, record);
	record_endpoint(from);
	record_endpoint(to);
	fputc(' ', record);
	for (size_t i = 0; i < len; i++)
		fprintf(record, "%02x", packet[i]);
	fputc('\n', record);
	fflush(record);
}

/* False when there is nothing to read. Whatever fails to be sent is lost, as with flannel. */
static int from_tun(int tun, int udp)
{
	ssize_t n = read(tun, packet, sizeof(packet));
	struct sockaddr_in peer = local;
	const struct route *route;
	uint32_t daddr;

	if (n < 0)
		return 0;
	if (n < MIN_PACKET)
		return 1;
	memcpy(&daddr, packet + 16, sizeof(daddr));
	route = route_find(ntohl(daddr));
	if (!route || !ttl_decrement())
		return 1;
	peer.sin_addr.s_addr = route->next_hop;
	if (sendto(udp, packet, (size_t)n, 0, (struct sockaddr *)&peer, sizeof(peer)) == n)
		record_datagram("tx", &local, &peer, (size_t)n);
	return 1;
}

static int from_udp(int tun, int udp)
{
	struct sockaddr_in peer;
	socklen_t peer_len = sizeof(peer);
	ssize_t n = recvfrom(udp, packet, sizeof(packet), 0, (struct sockaddr *)&peer, &peer_len);

	if (n < 0)
		return 0;
	record_datagram("rx", &peer, &local, (size_t)n);
	if (n < MIN_PACKET || !ttl_decrement())
		return 1;
	if (write(tun, packet, (size_t)n) < 0)
		return 1;
	return 1;
}

static void run(int tun, int udp, int signals)
{
	struct pollfd fds[] = {{.fd = tun, .events = POLLIN},
			       {.fd = udp, .events = POLLIN},
			       {.fd = signals, .events = POLLIN}};

	for (;;) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			die("poll");
		if (fds[2].revents)
			return;
		if (fds[0].revents & (POLLERR | POLLNVAL)) {
			errno = ENODEV;
			die("tun");
		}
		for (int i = 0; i < BURST && from_tun(tun, udp); i++)
			;
		for (int i = 0; i < BURST && from_udp(tun, udp); i++)
			;
	}
}

int main(int argc, char **argv)
{
	int arg = 1, signals = signals_open();

	if (argc > 2 && !strcmp(argv[1], "--record")) {
		record = fopen(argv[2], "ae");
		if (!record)
			die(argv[2]);
		arg = 3;
	}
	if (argc - arg < 3)
		usage();
	local_parse(argv[arg + 1]);
	for (int i = arg + 2; i < argc; i++)
		route_add(argv[i]);
	run(tun_open(argv[arg]), udp_open(), signals);
	return 0;
}
