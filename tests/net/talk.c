/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: talk serve PORT                       TCP and UDP, returns when it listens
 *        talk tcp ADDR PORT BYTES [COUNT]      a stream to the server, or one after the other
 *        talk udp ADDR PORT COUNTxSIZE...      round trips, one at a time, over one socket
 *        talk burst ADDR PORT COUNTxSIZE...    so many at a time, sent as one (UDP_SEGMENT)
 *
 * Traffic that proves its own integrity. Both ends generate the same pseudo-random bytes, so that
 * the receiver compares each of them with what was sent and not a digest only: a byte that is
 * wrong, missing, doubled or moved ends the test. A datagram is numbered; nothing is sent twice by
 * this program, a reply that takes longer than five seconds is lost, one that is not the expected
 * one is stray. The server answers from the address it was asked at.
 *
 * The client prints one line of figures and exits with 0 when all is as sent, 1 when not, 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (128 * 1024)
#define MAX_DATAGRAM 65507
#define TCP_TIMEOUT_S 10
#define UDP_TIMEOUT_MS 5000 /* a machine with other things to do takes more than one */
#define ROUNDS 20 /* the first tell a node of the flow, the others go the way it then takes */
#define MAX_BURST 64 /* what any kernel takes */
#define MAX_LOST 3 /* then the client gives up: every one costs its time */

struct request {
	uint64_t bytes, seed;
};

struct answer {
	uint64_t equal; /* bytes from the start that were as sent */
	uint64_t received; /* until one was not, none came for TCP_TIMEOUT_S, or the end */
	uint64_t complete; /* 1: as many as announced, then the end */
};

static uint8_t received[CHUNK], expected[CHUNK];

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: talk serve PORT\n"
			"       talk tcp ADDR PORT BYTES [COUNT]\n"
			"       talk udp ADDR PORT COUNTxSIZE...\n"
			"       talk burst ADDR PORT COUNTxSIZE...\n");
	exit(2);
}

/* splitmix64: any word of the stream can be made without those before it. */
static uint64_t stream_word(uint64_t seed, uint64_t index)
{
	uint64_t x = seed + (index + 1) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* offset is a multiple of 8; up to 7 bytes more than len are written. */
static void stream_fill(uint8_t *to, uint64_t seed, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = stream_word(seed, (offset + i) / 8);

		memcpy(to + i, &word, 8);
	}
}

static void socket_timeout(int fd, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		die("timeout");
}

/* All of len, or what comes before the end or an error. */
static size_t read_all(int fd, void *to, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(fd, (uint8_t *)to + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static bool write_all(int fd, const void *from, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(fd, (const uint8_t *)from + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static size_t equal_bytes(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t i = 0;

	if (!memcmp(a, b, len))
		return len;
	while (a[i] == b[i])
		i++;
	return i;
}

static void serve_stream(int fd)
{
	struct answer answer = {0};
	struct request req;

	socket_timeout(fd, TCP_TIMEOUT_S * 1000);
	if (read_all(fd, &req, sizeof(req)) != sizeof(req))
		return;
	while (answer.equal < req.bytes) {
		uint64_t left = req.bytes - answer.equal;
		size_t len = left < CHUNK ? (size_t)left : CHUNK, got, equal;

		got = read_all(fd, received, len);
		stream_fill(expected, req.seed, answer.equal, len);
		equal = equal_bytes(received, expected, got);
		answer.equal += equal;
		answer.received += got;
		if (got < len || equal < len)
			break;
	}
	/* Nothing may follow: the sender has shut its side down. */
	answer.complete = answer.equal == req.bytes && !read_all(fd, received, 1);
	write_all(fd, &answer, sizeof(answer));
}

static _Noreturn void serve_tcp(int listener)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (!fork()) {
			close(listener);
			serve_stream(fd);
			exit(0);
		}
		close(fd);
	}
}

static _Noreturn void serve_udp(int fd)
{
	char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct sockaddr_in from;
	struct iovec iov = {.iov_base = received};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};

	for (;;) {
		ssize_t n;

		iov.iov_len = sizeof(received);
		msg.msg_name = &from;
		msg.msg_namelen = sizeof(from);
		msg.msg_controllen = sizeof(control);
		n = recvmsg(fd, &msg, 0);
		if (n < 0)
			continue;
		iov.iov_len = (size_t)n;
		/* The packet's IP_PKTINFO is the source of the reply, by whatever device. */
		if (CMSG_FIRSTHDR(&msg))
			((struct in_pktinfo *)CMSG_DATA(CMSG_FIRSTHDR(&msg)))->ipi_ifindex = 0;
		if (sendmsg(fd, &msg, 0) < 0)
			continue;
	}
}

static uint16_t parse_port(const char *text)
{
	unsigned long port = strtoul(text, NULL, 10);

	if (!port || port > 65535)
		usage();
	return (uint16_t)port;
}

static int socket_bound(int type, uint16_t port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		die("bind");
	return fd;
}

static void serve(uint16_t port)
{
	int tcp = socket_bound(SOCK_STREAM, port), udp = socket_bound(SOCK_DGRAM, port), on = 1;

	if (listen(tcp, 64) < 0 || setsockopt(udp, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0)
		die("listen");
	if (daemon(0, 0) < 0)
		die("daemon");
	if (fork())
		serve_tcp(tcp);
	close(tcp);
	serve_udp(udp);
}

static int socket_connected(int type, const char *addr, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(parse_port(port))};
	int fd = socket(AF_INET, type, 0);

	if (!inet_aton(addr, &to.sin_addr))
		usage();
	if (fd < 0)
		die("socket");
	socket_timeout(fd, type == SOCK_STREAM ? TCP_TIMEOUT_S * 1000 : UDP_TIMEOUT_MS);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	return fd;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int run_tcp(int fd, uint64_t bytes)
{
	struct request req = {.bytes = bytes, .seed = (uint64_t)getpid() << 32 | now_ms()};
	struct answer answer = {0};

	if (!write_all(fd, &req, sizeof(req)))
		die("send");
	for (uint64_t done = 0; done < bytes;) {
		size_t len = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;

		stream_fill(expected, req.seed, done, len);
		if (!write_all(fd, expected, len))
			die("send");
		done += len;
	}
	if (shutdown(fd, SHUT_WR) < 0 || read_all(fd, &answer, sizeof(answer)) != sizeof(answer))
		die("no answer to the stream");
	if (!answer.complete)
		printf("sent %llu received %llu equal %llu\n", (unsigned long long)bytes,
		       (unsigned long long)answer.received, (unsigned long long)answer.equal);
	close(fd);
	return answer.complete ? 0 : 1;
}

/* Stops at the first connection that fails. */
static int run_streams(char **to, uint64_t bytes, unsigned long count)
{
	unsigned long done = 0;

	while (done < count && !run_tcp(socket_connected(SOCK_STREAM, to[0], to[1]), bytes))
		done++;
	printf("streams of %llu bytes: %lu of %lu as sent\n", (unsigned long long)bytes, done,
	       count);
	return done < count;
}

struct datagrams {
	int fd;
	uint64_t seed;
	uint64_t number, lost, stray; /* sent so far, and of these */
};

static void datagram_fill(uint8_t *to, const struct datagrams *d, uint64_t number, size_t size)
{
	stream_fill(to, d->seed + number, 0, size);
	memcpy(to, &number, sizeof(number));
}

/* Is what was received one of the count datagrams from d->number on, and not seen before? */
static bool is_awaited(const struct datagrams *d, size_t len, unsigned long count, size_t size,
		       bool *seen)
{
	uint64_t number;

	memcpy(&number, received, sizeof(number));
	if (len != size || number < d->number || number - d->number >= count ||
	    seen[number - d->number])
		return false;
	datagram_fill(expected, d, number, size);
	if (memcmp(received, expected, size))
		return false;
	return seen[number - d->number] = true;
}

/* Those that come back as sent, in any order. */
static unsigned long await_replies(struct datagrams *d, unsigned long count, size_t size)
{
	uint64_t end = now_ms() + UDP_TIMEOUT_MS;
	bool seen[MAX_BURST] = {false};
	unsigned long replies = 0;

	do {
		ssize_t n = recv(d->fd, received, sizeof(received), 0);

		if (n < 0)
			continue;
		if (is_awaited(d, (size_t)n, count, size, seen))
			replies++;
		else
			d->stray++;
	} while (replies < count && now_ms() < end);
	return replies;
}

/* count datagrams by one system call, of which the kernel makes one packet; then their replies. */
static void round_trip(struct datagrams *d, unsigned long count, size_t size)
{
	static uint8_t sent[MAX_DATAGRAM + 8];
	int segment = count > 1 ? (int)size : 0;

	for (unsigned long i = 0; i < count; i++)
		datagram_fill(sent + i * size, d, d->number + i, size);
	if (setsockopt(d->fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0)
		die("UDP_SEGMENT");
	if (send(d->fd, sent, count * size, 0) < 0)
		d->lost += count;
	else
		d->lost += count - await_replies(d, count, size);
	d->number += count;
}

static int run_udp(int fd, char **phases, bool burst)
{
	struct datagrams d = {.fd = fd, .seed = now_ms()};

	for (; *phases; phases++) {
		unsigned long count, size, rounds;

		if (sscanf(*phases, "%lux%lu", &count, &size) != 2 || size < 8 ||
		    (burst ? count * size : size) > MAX_DATAGRAM || (burst && count > MAX_BURST))
			usage();
		rounds = burst ? ROUNDS : count;
		for (unsigned long i = 0; i < rounds && d.lost < MAX_LOST; i++)
			round_trip(&d, burst ? count : 1, size);
	}
	printf("sent %llu lost %llu stray %llu\n", (unsigned long long)d.number,
	       (unsigned long long)d.lost, (unsigned long long)d.stray);
	return d.lost || d.stray ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve")) {
		serve(parse_port(argv[2]));
		return 0;
	}
	if ((argc == 5 || argc == 6) && !strcmp(argv[1], "tcp"))
		return run_streams(argv + 2, strtoull(argv[4], NULL, 10),
				   argc == 6 ? strtoul(argv[5], NULL, 10) : 1);
	if (argc >= 5 && (!strcmp(argv[1], "udp") || !strcmp(argv[1], "burst")))
		return run_udp(socket_connected(SOCK_DGRAM, argv[2], argv[3]), argv + 4,
			       !strcmp(argv[1], "burst"));
	usage();
}
