/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: witness DEVICE
 *
 * Says "listening", then prints each IPv4 frame that arrives at the device, in hex, one a line,
 * until SIGTERM; "lost N" if it was too slow for N of them. A frame that every host discards at
 * once, as its IP header is wrong (version, lengths, checksum: RFC 1122 3.2.1), was not delivered
 * and is left out.
 *
 * Exit status: 0 told all, 1 not, 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ip4.h"
#include "segment.h"

#define BUFFER_BYTES (64 << 20)
#define FRAME_MAX 65600

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

static int listen_at(const char *device)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_IP),
				 .sll_ifindex = (int)if_nametoindex(device)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), bytes = BUFFER_BYTES;

	if (fd < 0 || !ll.sll_ifindex ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		die(device);
	return fd;
}

/* Its length without what a host cuts off, 0 if nothing of it was delivered. */
static size_t delivered(uint8_t *frame, size_t len)
{
	uint8_t *packet = frame + ETH_HLEN;
	struct ip4_info info;

	if (len < ETH_HLEN || ip4_parse(packet, len - ETH_HLEN, &info))
		return 0;
	if (segment_checksum_pending(packet, &info))
		segment_checksum_complete(packet, &info);
	return ETH_HLEN + info.len;
}

static void print_frame(const uint8_t *frame, size_t len)
{
	for (size_t i = 0; i < len; i++)
		printf("%02x", frame[i]);
	if (len)
		putchar('\n');
}

static unsigned int lost(int fd)
{
	struct tpacket_stats stats;
	socklen_t len = sizeof(stats);

	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		die("statistics");
	return stats.tp_drops;
}

int main(int argc, char **argv)
{
	static uint8_t frame[FRAME_MAX];
	struct sigaction action = {.sa_handler = stop}; /* no restart: recv() is to end */
	unsigned int n_lost;
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: witness DEVICE\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	fd = listen_at(argv[1]);
	printf("listening\n");
	fflush(stdout);
	while (!stopped) {
		ssize_t len = recv(fd, frame, sizeof(frame), 0);

		if (len < 0 && errno != EINTR)
			die("recv");
		if (len > 0)
			print_frame(frame, delivered(frame, (size_t)len));
	}
	n_lost = lost(fd);
	if (n_lost)
		printf("lost %u\n", n_lost);
	return n_lost != 0;
}
