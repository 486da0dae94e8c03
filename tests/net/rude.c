/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: rude SOCKET stall N             N clients that never ask, ask half, ask for a large answer
 *                                        and do not read it, a third each; says "stalling", until
 *                                        SIGTERM
 *        rude SOCKET random COUNT [SEED] so many requests of random bytes, oversize ones and valid
 *                                        beginnings, one connection each
 *        rude SOCKET ask COUNT           a polite client: "asked N failed N median N slowest N"
 *                                        (milliseconds)
 *
 * A control socket's clients. Exit status: 0 done, 1 failure, 2 usage.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 300 /* more than any server has room for */
#define PATIENCE_S 10

static struct sockaddr_un addr = {.sun_family = AF_UNIX};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static int client(void)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die(addr.sun_path);
	return fd;
}

/* What cannot be sent, as the server has had enough, is not. */
static void say(int fd, const void *text, size_t len)
{
	if (send(fd, text, len, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		die("send");
}

static _Noreturn void stall(unsigned long n)
{
	static const char *const words[] = {"", "stat", "routes\n"};

	for (unsigned long i = 0; i < n; i++) {
		const char *word = words[i % 3];
		int fd = client();

		if (*word)
			say(fd, word, strlen(word));
	}
	printf("stalling\n");
	fflush(stdout);
	for (;;)
		pause();
}

static size_t make_request(char request[REQUEST_MAX], unsigned int *seed)
{
	static const char *const words[] = {"status", "routes\n", "peers\nstatus\n", "stat", "\n"};
	size_t len = (size_t)rand_r(seed) % REQUEST_MAX;

	for (size_t i = 0; i < len; i++)
		request[i] = (char)rand_r(seed);
	if (rand_r(seed) % 4 == 0) {
		const char *word = words[(size_t)rand_r(seed) % 5];

		memcpy(request, word, strlen(word));
	}
	return len;
}

/* Half of the answers are read, the others are turned away from. */
static int random_requests(unsigned long count, unsigned int seed)
{
	char request[REQUEST_MAX], answer[4096];

	for (unsigned long i = 0; i < count; i++) {
		int fd = client();

		say(fd, request, make_request(request, &seed));
		if (i & 1) {
			shutdown(fd, SHUT_WR);
			while (recv(fd, answer, sizeof(answer), 0) > 0)
				;
		}
		close(fd);
	}
	printf("sent %lu\n", count);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A whole document that is no error. */
static bool is_answered(int fd)
{
	static char text[1 << 20];
	size_t len = 0;
	ssize_t n;

	say(fd, "status\n", 7);
	while (len < sizeof(text) - 1 && (n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return len && text[len - 1] == '}' && strstr(text, "\"ready\"");
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int ask(unsigned long count)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	uint64_t *ms = calloc(count, sizeof(*ms));
	unsigned long failed = 0;

	for (unsigned long i = 0; ms && i < count; i++) {
		uint64_t start = now_ms();
		int fd = client();

		failed += !is_answered(fd);
		close(fd);
		ms[i] = now_ms() - start;
		nanosleep(&pause, NULL);
	}
	if (!ms)
		die("memory");
	qsort(ms, count, sizeof(*ms), compare);
	printf("asked %lu failed %lu median %llu slowest %llu\n", count, failed,
	       (unsigned long long)ms[count / 2], (unsigned long long)ms[count - 1]);
	free(ms);
	return failed != 0;
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;

	if (n && strlen(argv[1]) < sizeof(addr.sun_path)) {
		strcpy(addr.sun_path, argv[1]);
		if (argc == 4 && !strcmp(argv[2], "stall"))
			stall(n);
		if (argc < 6 && !strcmp(argv[2], "random"))
			return random_requests(n, argc == 5 ? (unsigned int)atoi(argv[4]) : 1);
		if (argc == 4 && !strcmp(argv[2], "ask"))
			return ask(n);
	}
	fprintf(stderr, "usage: rude SOCKET stall N | random COUNT [SEED] | ask COUNT\n");
	return 2;
}
