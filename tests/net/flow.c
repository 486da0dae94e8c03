/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: flow send ADDR PORT RATE SECONDS      RATE datagrams a second, until SIGTERM at the latest
 *        flow receive PORT                     says "listening", then what became of one flow
 *
 * A numbered flow: the receiver notes of each number whether it arrived. No datagram is sent twice
 * by this program, none waits for another one, and the sockets hold seconds of traffic, so that
 * what is lost, doubled or out of order is the network's doing. The sender's last word, repeated,
 * is how many there were.
 *
 * The receiver prints one line of figures and the first ranges that are missing; gap is the longest
 * time without an arrival. It exits with 0 when it has heard the end, whatever was lost, 1 when
 * not, 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000ULL
#define NS_PER_S 1000000000ULL
#define BUFFER_BYTES (64 << 20)
#define MAX_NUMBERS (64u << 20) /* what a receiver is ready to remember */
#define PAYLOAD 64
/*
 * A sender that was not scheduled catches up in steps: more at once than a CPU's backlog holds
 * (net.core.netdev_max_backlog, 1000) would be lost before it reaches what is tested.
 */
#define MAX_BURST 100
#define END_REPEATS 10
#define QUIET_MS 10000 /* then nothing comes any more; disturbances are shorter */
#define SETTLE_MS 300 /* after the end: what is late or doubled shows until then */
#define MAX_RANGES 8

struct datagram {
	uint64_t flow; /* random, so that an earlier flow's stragglers are not counted */
	uint64_t number;
	uint64_t total; /* 0: goes on; else this is no datagram of the flow but its end */
	uint8_t rest[PAYLOAD - 24]; /* zeros */
};

struct tally {
	uint64_t flow;
	uint64_t total; /* 0: not yet known */
	uint64_t received, duplicated, reordered, stray;
	uint64_t next; /* one more than the highest number so far */
	uint64_t last_ns, gap_ns, gap_before;
	uint8_t *seen;
	size_t capacity;
};

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

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: flow send ADDR PORT RATE SECONDS\n"
			"       flow receive PORT\n");
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static unsigned long parse_number(const char *arg, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*end || n < 1 || n > max)
		usage();
	return n;
}

/* With room for seconds, beyond what net.core.rmem_max and wmem_max allow. */
static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = BUFFER_BYTES;

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		die("buffer size");
	return fd;
}

static void sleep_ms(uint64_t ms)
{
	const struct timespec rest = {.tv_sec = (time_t)(ms / 1000),
				      .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};

	nanosleep(&rest, NULL);
}

/* An error is a loss: the number is spent. The socket is not connected, so that no ICMP ends it. */
static bool send_one(int fd, const struct sockaddr_in *to, const struct datagram *d)
{
	return sendto(fd, d, sizeof(*d), 0, (const struct sockaddr *)to, sizeof(*to)) == sizeof(*d);
}

static int run_send(const struct sockaddr_in *to, uint64_t rate, uint64_t seconds)
{
	int fd = open_socket();
	uint64_t start = now_ns(), end = start + seconds * NS_PER_S, unsent = 0, last = 0;
	struct datagram d = {.flow = start ^ (uint64_t)getpid() << 48};

	while (!stopped && last < end) {
		uint64_t now = now_ns(), due = (now - start) * rate / NS_PER_S;

		for (int i = 0; i < MAX_BURST && d.number < due; i++, d.number++)
			unsent += !send_one(fd, to, &d);
		last = now;
		sleep_ms(1);
	}
	d.total = d.number;
	for (int i = 0; i < END_REPEATS; i++) {
		send_one(fd, to, &d);
		sleep_ms(10);
	}
	printf("sent %llu unsent %llu ms %llu\n", (unsigned long long)d.total,
	       (unsigned long long)unsent, (unsigned long long)((last - start) / NS_PER_MS));
	return 0;
}

static void grow(struct tally *t, uint64_t number)
{
	size_t more = t->capacity ? t->capacity : 1 << 20;

	while (more <= number)
		more *= 2;
	if (more == t->capacity)
		return;
	t->seen = realloc(t->seen, more);
	if (!t->seen)
		die("memory");
	memset(t->seen + t->capacity, 0, more - t->capacity);
	t->capacity = more;
}

static void note_gap(struct tally *t, uint64_t now)
{
	if (t->last_ns && now - t->last_ns > t->gap_ns) {
		t->gap_ns = now - t->last_ns;
		t->gap_before = t->next;
	}
	t->last_ns = now;
}

static void note(struct tally *t, const struct datagram *d)
{
	static const uint8_t nothing[sizeof(d->rest)];

	if (!t->flow)
		t->flow = d->flow;
	if (d->flow != t->flow || d->number > MAX_NUMBERS ||
	    memcmp(d->rest, nothing, sizeof(nothing))) {
		t->stray++;
		return;
	}
	if (d->total) {
		/* The time to the end counts, too, when the last ones are missing. */
		if (!t->total)
			note_gap(t, now_ns());
		t->total = d->total;
		return;
	}
	note_gap(t, now_ns());
	grow(t, d->number);
	if (t->seen[d->number]) {
		t->duplicated++;
		return;
	}
	t->seen[d->number] = 1;
	t->received++;
	if (d->number < t->next)
		t->reordered++;
	else
		t->next = d->number + 1;
}

static void print_missing(const struct tally *t)
{
	int ranges = 0;

	for (uint64_t i = 0; i < t->total && ranges < MAX_RANGES; i++) {
		uint64_t first = i;

		while (i < t->total && (i >= t->capacity || !t->seen[i]))
			i++;
		if (i == first)
			continue;
		printf("missing %llu to %llu\n", (unsigned long long)first,
		       (unsigned long long)i - 1);
		ranges++;
	}
}

static void print_tally(const struct tally *t)
{
	printf("sent %llu received %llu lost %llu duplicated %llu reordered %llu stray %llu"
	       " gap %llu before %llu\n",
	       (unsigned long long)t->total, (unsigned long long)t->received,
	       (unsigned long long)(t->total - t->received), (unsigned long long)t->duplicated,
	       (unsigned long long)t->reordered, (unsigned long long)t->stray,
	       (unsigned long long)(t->gap_ns / NS_PER_MS), (unsigned long long)t->gap_before);
	print_missing(t);
}

static void set_timeout(int fd, int ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		die("timeout");
}

static int run_receive(uint16_t port)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = open_socket();
	struct tally t = {0};
	struct datagram d;

	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		die("bind");
	set_timeout(fd, QUIET_MS);
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		bool ended = t.total;
		ssize_t n = recv(fd, &d, sizeof(d), 0);

		if (n < 0)
			break;
		if (n == sizeof(d))
			note(&t, &d);
		if (t.total && !ended)
			set_timeout(fd, SETTLE_MS);
	}
	if (!t.total) {
		fprintf(stderr, "no end of the flow after %llu datagrams\n",
			(unsigned long long)t.received);
		return 1;
	}
	print_tally(&t);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};

	signal(SIGTERM, stop);
	if (argc == 6 && !strcmp(argv[1], "send") && inet_aton(argv[2], &to.sin_addr)) {
		to.sin_port = htons((uint16_t)parse_number(argv[3], 65535));
		return run_send(&to, parse_number(argv[4], 1000000), parse_number(argv[5], 3600));
	}
	if (argc == 3 && !strcmp(argv[1], "receive")) {
		signal(SIGTERM, SIG_DFL);
		return run_receive((uint16_t)parse_number(argv[2], 65535));
	}
	usage();
}
