/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * perf: requests, connections and small packets, generated at a cost as small and as even as can
 * be, because the figures are read as ratios. Blocking system calls only, one per packet or
 * transaction, and the first WARMUP_NS of each test do not count.
 *
 *   perf server --bind ADDR --port P
 *   perf client --to ADDR --port P --test TEST [--secs S] [--size N] [--json]
 *
 * On TCP the first byte of a connection names what the server shall do with it (enum mode). On UDP
 * port P echoes and port P + 1 only counts; the count is asked for over TCP, where nothing is lost.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NSEC 1000000000ULL
#define WARMUP_NS (NSEC * 3 / 10)
#define BUF_SIZE (128 * 1024) /* largest message */
#define SINK_RCVBUF (32 << 20) /* bytes; the counting socket must survive the sender's time slice */
#define REPLY_TIMEOUT_MS 200 /* a UDP request without an answer is sent again */
#define CONNECT_TRIES 50 /* every 100 ms: the server may still be starting */
#define HIST_BITS 6 /* 64 steps per power of two: 1.6 % */
#define HIST_SIZE (64 << HIST_BITS)

enum mode {
	MODE_ECHO = 'r', /* send back what comes */
	MODE_ONCE = 'c', /* send this byte back, wait for the end */
	MODE_COUNT = 'q', /* answer a struct tally of the UDP sink so far */
};

struct tally {
	uint64_t packets;
	uint64_t ns; /* CLOCK_MONOTONIC at the count */
};

struct options {
	struct sockaddr_in addr;
	const char *test;
	double secs;
	size_t size; /* 0: the test's own default */
	bool json;
};

struct result {
	const char *unit;
	double rate;
	double secs;
	uint64_t sent; /* udp_pps: packets the client sent meanwhile */
	uint64_t lost; /* udp_rr: requests sent again */
	uint64_t start;
	uint64_t prev;
	uint64_t end;
	uint64_t samples;
	uint64_t hist[HIST_SIZE];
};

static char buf[BUF_SIZE];
static uint64_t *sink_packets; /* shared by the sink's process and the one that answers */

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "perf: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_timeout(int fd, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		die("SO_RCVTIMEO");
}

static bool send_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool recv_all(int fd, void *data, size_t len)
{
	char *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = recv(fd, p, len, 0);
		if (n <= 0)
			return false;
	}
	return true;
}

/* Histogram: bucket = exponent and the HIST_BITS bits below the leading one. */

static unsigned int hist_bucket(uint64_t ns)
{
	unsigned int shift;

	if (ns < (1 << HIST_BITS))
		return (unsigned int)ns;
	shift = 63 - (unsigned int)__builtin_clzll(ns) - HIST_BITS;
	return ((shift + 1) << HIST_BITS) + (unsigned int)(ns >> shift) - (1 << HIST_BITS);
}

static double hist_bucket_us(unsigned int bucket)
{
	unsigned int shift = bucket >> HIST_BITS;
	uint64_t low = bucket & ((1 << HIST_BITS) - 1);

	if (shift > 0)
		low = (low + (1 << HIST_BITS)) << (shift - 1);
	return (double)low / 1000;
}

static double hist_quantile_us(const struct result *res, double q)
{
	uint64_t left = (uint64_t)((double)res->samples * q);
	unsigned int i;

	for (i = 0; i < HIST_SIZE - 1; i++) {
		if (res->hist[i] > left)
			break;
		left -= res->hist[i];
	}
	return hist_bucket_us(i);
}

/* Account one transaction that has just ended; false when the time is over. */
static bool result_tick(struct result *res)
{
	uint64_t now = now_ns();
	uint64_t took = now - res->prev;

	res->prev = now;
	if (now < res->start)
		return true;
	if (res->samples++ == 0)
		res->start = now - took;
	res->hist[hist_bucket(took)]++;
	return now < res->end;
}

static void result_begin(struct result *res, const struct options *opt, const char *unit)
{
	res->unit = unit;
	res->prev = now_ns();
	res->start = res->prev + WARMUP_NS;
	res->end = res->start + (uint64_t)(opt->secs * (double)NSEC);
}

static void result_finish(struct result *res)
{
	res->secs = (double)(res->prev - res->start) / (double)NSEC;
	res->rate = res->secs > 0 ? (double)res->samples / res->secs : 0;
}

/* Server */

static int bound_socket(const struct options *opt, int type, unsigned int port_offset)
{
	struct sockaddr_in addr = opt->addr;
	int fd = socket(AF_INET, type, 0);

	if (fd < 0)
		die("socket");
	addr.sin_port = htons((uint16_t)(ntohs(addr.sin_port) + port_offset));
	if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0)
		die("SO_REUSEADDR");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("bind");
	return fd;
}

/* Fork a child that ends with its parent; true in the child. */
static bool child_forked(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	return pid == 0;
}

static void udp_echo(int fd)
{
	struct sockaddr_in from;
	socklen_t len;
	ssize_t n;

	for (;;) {
		len = sizeof(from);
		n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		if (n >= 0)
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

/*
 * As a batch task the sink does not preempt the sender at every packet, so that on one CPU the
 * rate is the inverse of the path's cost, not of a task switch; SINK_RCVBUF holds what comes
 * meanwhile.
 */
static void udp_sink(int fd)
{
	struct sched_param param = {0};

	sched_setscheduler(0, SCHED_BATCH, &param);
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, SINK_RCVBUF) < 0)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, SINK_RCVBUF);
	for (;;) {
		if (recv(fd, buf, sizeof(buf), 0) >= 0)
			__atomic_fetch_add(sink_packets, 1, __ATOMIC_RELAXED);
	}
}

static void tcp_echo(int fd)
{
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		if (!send_all(fd, buf, (size_t)n))
			return;
	}
}

static void serve_long(int fd)
{
	if (!child_forked())
		return;
	set_timeout(fd, 0);
	tcp_echo(fd);
	exit(0);
}

static void serve_connection(int fd)
{
	struct tally tally;
	char mode;

	if (recv(fd, &mode, 1, 0) != 1)
		return;
	switch (mode) {
	case MODE_ONCE:
		if (send(fd, &mode, 1, MSG_NOSIGNAL) == 1)
			(void)!recv(fd, &mode, 1, 0);
		break;
	case MODE_COUNT:
		tally.packets = __atomic_load_n(sink_packets, __ATOMIC_RELAXED);
		tally.ns = now_ns();
		send_all(fd, &tally, sizeof(tally));
		break;
	case MODE_ECHO:
		serve_long(fd);
		break;
	}
}

static _Noreturn void server_main(const struct options *opt)
{
	int tcp = bound_socket(opt, SOCK_STREAM, 0);
	int echo = bound_socket(opt, SOCK_DGRAM, 0);
	int sink = bound_socket(opt, SOCK_DGRAM, 1);
	int fd;

	sink_packets = mmap(NULL, sizeof(*sink_packets), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sink_packets == MAP_FAILED)
		die("mmap");
	signal(SIGCHLD, SIG_IGN);
	if (child_forked())
		udp_echo(echo);
	if (child_forked())
		udp_sink(sink);
	set_int(tcp, IPPROTO_TCP, TCP_NODELAY, 1);
	/* Inherited by the connections: a silent client must not hold up the next one for long. */
	set_timeout(tcp, 1000);
	if (listen(tcp, 1024) < 0)
		die("listen");
	for (;;) {
		fd = accept(tcp, NULL, NULL);
		if (fd < 0)
			continue;
		serve_connection(fd);
		close(fd);
	}
}

/* Client */

/* A connected socket, or -1 with errno set. */
static int tcp_connect(const struct options *opt)
{
	int err, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, (const struct sockaddr *)&opt->addr, sizeof(opt->addr)) == 0)
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

static int tcp_open(const struct options *opt, char mode)
{
	int i, fd = -1;

	for (i = 0; i < CONNECT_TRIES; i++) {
		fd = tcp_connect(opt);
		if (fd >= 0)
			break;
		usleep(100000);
	}
	if (fd < 0)
		die("connect");
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (!send_all(fd, &mode, 1))
		die("send");
	return fd;
}

static int udp_open(const struct options *opt, unsigned int port_offset)
{
	struct sockaddr_in addr = opt->addr;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		die("socket");
	addr.sin_port = htons((uint16_t)(ntohs(addr.sin_port) + port_offset));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect");
	return fd;
}

static void test_tcp_rr(const struct options *opt, struct result *res)
{
	int fd = tcp_open(opt, MODE_ECHO);
	size_t size = opt->size ? opt->size : 1;

	result_begin(res, opt, "transactions/s");
	do {
		if (!send_all(fd, buf, size) || !recv_all(fd, buf, size))
			die("tcp_rr");
	} while (result_tick(res));
	result_finish(res);
	close(fd);
}

static void test_tcp_crr(const struct options *opt, struct result *res)
{
	char byte = MODE_ONCE;
	int fd;

	close(tcp_open(opt, MODE_ONCE)); /* waits for the server */
	result_begin(res, opt, "connections/s");
	do {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 ||
		    connect(fd, (const struct sockaddr *)&opt->addr, sizeof(opt->addr)) < 0 ||
		    send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
			die("tcp_crr");
		close(fd);
	} while (result_tick(res));
	result_finish(res);
}

static void test_udp_rr(const struct options *opt, struct result *res)
{
	size_t size = opt->size ? opt->size : 1;
	uint8_t seq = 0;
	int fd;

	close(tcp_open(opt, MODE_COUNT)); /* waits for the server */
	fd = udp_open(opt, 0);
	set_timeout(fd, REPLY_TIMEOUT_MS);
	result_begin(res, opt, "transactions/s");
	do {
		buf[0] = (char)++seq;
		(void)!send(fd, buf, size, 0);
		while (recv(fd, buf, sizeof(buf), 0) < 0 || (uint8_t)buf[0] != seq) {
			if (now_ns() >= res->end)
				break;
			res->lost++;
			buf[0] = (char)seq;
			(void)!send(fd, buf, size, 0);
		}
	} while (result_tick(res));
	result_finish(res);
	close(fd);
}

static struct tally sink_tally(const struct options *opt)
{
	int fd = tcp_open(opt, MODE_COUNT);
	struct tally tally;

	if (!recv_all(fd, &tally, sizeof(tally)))
		die("count");
	close(fd);
	return tally;
}

static uint64_t udp_blast(int fd, size_t size, uint64_t ns)
{
	uint64_t end = now_ns() + ns, sent = 0;

	do {
		if (send(fd, buf, size, 0) >= 0)
			sent++;
	} while (now_ns() < end);
	return sent;
}

static void test_udp_pps(const struct options *opt, struct result *res)
{
	size_t size = opt->size ? opt->size : 64;
	int fd = udp_open(opt, 1);
	struct tally before, after;

	before = sink_tally(opt); /* waits for the server */
	udp_blast(fd, size, WARMUP_NS);
	before = sink_tally(opt);
	res->sent = udp_blast(fd, size, (uint64_t)(opt->secs * (double)NSEC));
	after = sink_tally(opt);
	res->unit = "packets/s";
	res->secs = (double)(after.ns - before.ns) / (double)NSEC;
	res->rate = (double)(after.packets - before.packets) / res->secs;
	close(fd);
}

static const struct test {
	const char *name;
	void (*run)(const struct options *opt, struct result *res);
} tests[] = {
	{"tcp_rr", test_tcp_rr},
	{"tcp_crr", test_tcp_crr},
	{"udp_rr", test_udp_rr},
	{"udp_pps", test_udp_pps},
};

static void result_print(const struct options *opt, const struct result *res)
{
	double p50 = res->samples ? hist_quantile_us(res, 0.50) : 0;
	double p99 = res->samples ? hist_quantile_us(res, 0.99) : 0;

	if (opt->json) {
		printf("{\"test\": \"%s\", \"rate\": %.1f, \"unit\": \"%s\", \"p50_us\": %.3f, "
		       "\"p99_us\": %.3f, \"secs\": %.3f, \"sent\": %llu, \"lost\": %llu}\n",
		       opt->test, res->rate, res->unit, p50, p99, res->secs,
		       (unsigned long long)res->sent, (unsigned long long)res->lost);
		return;
	}
	printf("%s: %.0f %s", opt->test, res->rate, res->unit);
	if (res->samples)
		printf(", P50 %.2f us, P99 %.2f us", p50, p99);
	printf(" (%.2f s)\n", res->secs);
}

static int client_main(const struct options *opt)
{
	static struct result res;
	size_t i;

	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (opt->test && !strcmp(opt->test, tests[i].name)) {
			tests[i].run(opt, &res);
			result_print(opt, &res);
			return 0;
		}
	}
	fprintf(stderr, "perf: no such test; there are:");
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		fprintf(stderr, " %s", tests[i].name);
	fprintf(stderr, "\n");
	return 2;
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: perf server --bind ADDR --port P\n"
			"       perf client --to ADDR --port P --test TEST [--secs S] [--size N] "
			"[--json]\n");
	exit(2);
}

static bool option_take(struct options *opt, int c)
{
	long n;

	switch (c) {
	case 'a':
		return inet_pton(AF_INET, optarg, &opt->addr.sin_addr) == 1;
	case 'p':
		n = strtol(optarg, NULL, 10);
		opt->addr.sin_port = htons((uint16_t)n);
		return n > 0 && n < 65535;
	case 't':
		opt->test = optarg;
		return true;
	case 's':
		opt->secs = strtod(optarg, NULL);
		return opt->secs > 0 && opt->secs <= 3600;
	case 'n':
		n = strtol(optarg, NULL, 10);
		opt->size = (size_t)n;
		return n > 0 && n <= BUF_SIZE;
	case 'j':
		opt->json = true;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"bind", required_argument, NULL, 'a'}, {"to", required_argument, NULL, 'a'},
		{"port", required_argument, NULL, 'p'}, {"test", required_argument, NULL, 't'},
		{"secs", required_argument, NULL, 's'}, {"size", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},	{0},
	};
	struct options opt = {.secs = 2, .addr = {.sin_family = AF_INET}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (!option_take(&opt, c))
			usage();
	}
	if (optind + 1 != argc || opt.addr.sin_port == 0)
		usage();
	if (!strcmp(argv[optind], "server"))
		server_main(&opt);
	if (!strcmp(argv[optind], "client"))
		return client_main(&opt);
	usage();
}
