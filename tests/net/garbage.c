/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: garbage from=ADDR to=ADDR src=ADDR dst=ADDR [KEY=VALUE...]
 *        garbage dev=NAME eth_dst=MAC src=ADDR dst=ADDR [KEY=VALUE...]
 *
 * Packets that no sound sender makes, the same ones for the same seed. The first form is a node of
 * the overlay: datagrams to to=, port 8285. The second is a pod: frames through a packet socket,
 * some of them large (GSO). Goes on until SIGTERM at the latest, whatever the network says.
 *
 *   src= dst=          of the inner packets that have proper addresses
 *   dport=7000         TCP's, from ports 40000 to 40999; UDP goes to the second next
 *   count=0 secs=0     0: without this end
 *   pps=500 seed=1
 *   kind=              only this one, see kinds[] of garbage_packets.h
 *   nocheck=0          1: a node's datagrams have no UDP checksum, as the overlay's
 *
 * Prints "sent N refused N unsent N": datagrams, those of them that a node must not let in, and
 * those the kernel did not take from us. Of a pod's packets the second figure says nothing.
 *
 * Exit status: 0 done, 1 failure, 2 usage.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "garbage_packets.h"

#define NSEC 1000000000ULL
#define PORT 8285
#define SOCKETS 8 /* source ports, so that every queue of the receiver gets some */

static volatile sig_atomic_t stopped;

static void stop(int signo)
{
	(void)signo;
	stopped = 1;
}

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static int frames_open(void)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET};
	struct ifreq req = {0};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", opt.dev);
	ll.sll_ifindex = (int)if_nametoindex(opt.dev);
	if (fd < 0 || !ll.sll_ifindex || ioctl(fd, SIOCGIFHWADDR, &req) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0)
		die(opt.dev);
	memcpy(opt.eth.ether_shost, req.ifr_hwaddr.sa_data, ETH_ALEN);
	return fd;
}

/* Large datagrams leave as fragments. */
static int datagrams_open(void)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = opt.from};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), cut = IP_PMTUDISC_DONT;
	int nocheck = (int)opt.nocheck;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &nocheck, sizeof(nocheck)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &cut, sizeof(cut)) < 0 ||
	    bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		die("bind");
	return fd;
}

static bool frame_send(int fd, struct packet *p)
{
	struct iovec iov[] = {
		{&p->vnet, sizeof(p->vnet)}, {&opt.eth, sizeof(opt.eth)}, {p->data, p->len}};

	return writev(fd, iov, 3) >= 0;
}

static bool datagram_send(int fd, struct packet *p)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = opt.to};
	int size = (int)p->segment;

	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0)
		die("UDP_SEGMENT");
	return sendto(fd, p->data, p->len, 0, (struct sockaddr *)&to, sizeof(to)) >= 0;
}

static void pace(const struct timespec *start, unsigned long number)
{
	uint64_t ns = (uint64_t)start->tv_nsec + number * NSEC / opt.pps;
	struct timespec due = {start->tv_sec + (time_t)(ns / NSEC), (long)(ns % NSEC)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static void run(void)
{
	unsigned long sent = 0, refused = 0, unsent = 0, n;
	static struct packet p;
	struct timespec start;
	int fds[SOCKETS];

	for (size_t i = 0; i < SOCKETS; i++)
		fds[i] = opt.dev ? frames_open() : datagrams_open();
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0;
	     !stopped && (!opt.count || i < opt.count) && (!opt.secs || i < opt.secs * opt.pps);
	     i++) {
		int fd = fds[below(SOCKETS)];

		make(&p);
		n = p.segment ? (p.len + p.segment - 1) / p.segment : 1;
		if (opt.dev ? frame_send(fd, &p) : datagram_send(fd, &p)) {
			sent += n;
			refused += p.refused;
		} else {
			unsent += n;
		}
		pace(&start, i + 1);
	}
	printf("sent %lu refused %lu unsent %lu\n", sent, refused, unsent);
}

static bool parse(char *arg)
{
	const struct {
		const char *key;
		struct in_addr *addr;
		unsigned long *number;
		const char **text;
	} keys[] = {
		{"from", &opt.from, NULL, NULL},       {"to", &opt.to, NULL, NULL},
		{"src", &opt.src, NULL, NULL},	       {"dst", &opt.dst, NULL, NULL},
		{"dport", NULL, &opt.dport, NULL},     {"count", NULL, &opt.count, NULL},
		{"secs", NULL, &opt.secs, NULL},       {"pps", NULL, &opt.pps, NULL},
		{"seed", NULL, &opt.seed, NULL},       {"dev", NULL, NULL, &opt.dev},
		{"kind", NULL, NULL, &opt.kind},       {"eth_dst", NULL, NULL, NULL},
		{"nocheck", NULL, &opt.nocheck, NULL},
	};
	const char *key = strsep(&arg, "=");

	for (size_t i = 0; arg && i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(keys[i].key, key))
			continue;
		if (keys[i].addr)
			return inet_aton(arg, keys[i].addr);
		if (keys[i].number)
			*keys[i].number = strtoul(arg, NULL, 10);
		else if (keys[i].text)
			*keys[i].text = arg;
		else
			return ether_aton_r(arg, (struct ether_addr *)opt.eth.ether_dhost);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	bool ok = argc > 1;

	opt.eth.ether_type = htons(ETHERTYPE_IP);
	for (int i = 1; i < argc; i++)
		ok = ok && parse(argv[i]);
	if (!ok || !opt.pps || !opt.src.s_addr || (!opt.dev && !opt.to.s_addr)) {
		fprintf(stderr, "garbage: see the head of garbage.c\n");
		return 2;
	}
	signal(SIGTERM, stop);
	run();
	return 0;
}
