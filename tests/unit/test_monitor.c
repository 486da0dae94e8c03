/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where --metrics listens, and what it says of an agent that has only begun: every part of it is
 * missing but the loop. Real requests, in a network namespace of the test's own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "agent_priv.h"
#include "http_server.h"
#include "store_priv.h"
#include "util.h"

#define PORT 9100

static const struct {
	const char *text;
	uint32_t addr; /* host byte order */
	uint16_t port;
} addresses[] = {
	{"127.0.0.1:9100", INADDR_LOOPBACK, 9100},
	{"192.0.2.7:1", 0xc0000207, 1},
	{"255.255.255.255:65535", INADDR_BROADCAST, 65535},
	{":9100", INADDR_ANY, 9100},
	{"*:9100", INADDR_ANY, 9100},
	{"0.0.0.0:9100", INADDR_ANY, 9100},
};

static const char *const no_addresses[] = {
	"",
	"9100",
	":",
	"127.0.0.1",
	"127.0.0.1:",
	":0",
	":65536",
	":100000",
	":99999999999",
	":09100",
	":+9100",
	":-1",
	": 9100",
	":9100 ",
	":9100x",
	":0x23",
	"::9100",
	"[::]:9100",
	"[::1]:9100",
	"1.2.3:9100",
	"1.2.3.4.5:80",
	"01.2.3.4:80",
	"256.0.0.1:80",
	" 1.2.3.4:80",
	"1.2.3.4 :80",
	"**:80",
	"localhost:80",
	"1.2.3.4:80:80",
	"1.2.3.4/24:80",
	"1.2.3.4\n:80",
	"111.111.111.1111:80",
};

static void test_addresses(void **state)
{
	struct sockaddr_in addr;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		if (http_address_parse(addresses[i].text, &addr))
			fail_msg("refused: %s", addresses[i].text);
		assert_int_equal(addr.sin_family, AF_INET);
		assert_int_equal(ntohl(addr.sin_addr.s_addr), addresses[i].addr);
		assert_int_equal(ntohs(addr.sin_port), addresses[i].port);
	}
}

static void test_no_addresses(void **state)
{
	static const struct sockaddr_in untouched = {.sin_port = 7};
	struct sockaddr_in addr = untouched;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(no_addresses); i++)
		if (http_address_parse(no_addresses[i], &addr) != -EINVAL)
			fail_msg("not refused: %s", no_addresses[i]);
	assert_memory_equal(&addr, &untouched, sizeof(addr));
}

/* One agent, and a client in a thread that stops the loop when it has its answer. */
struct rig {
	struct agent agent;
	const char *path;
	int end; /* shut down: the client is done */
	char answer[16384];
};

static void *client(void *arg)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct rig *rig = arg;
	size_t used = 0;
	ssize_t n = 0;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    dprintf(fd, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", rig->path) > 0)
		while ((n = recv(fd, rig->answer + used, sizeof(rig->answer) - 1 - used, 0)) > 0)
			used += (size_t)n;
	rig->answer[used] = '\0';
	/* Ends the loop from within: loop_stop() is for its own thread. */
	shutdown(rig->end, SHUT_RDWR);
	return NULL;
}

static void stop(void *arg)
{
	struct rig *rig = arg;

	loop_remove(rig->agent.loop, rig->end);
	loop_stop(rig->agent.loop);
}

static const char *ask(struct rig *rig, const char *path)
{
	pthread_t thread;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	rig->end = ends[0];
	rig->path = path;
	assert_int_equal(loop_add(rig->agent.loop, ends[0], stop, rig), 0);
	assert_int_equal(pthread_create(&thread, NULL, client, rig), 0);
	assert_int_equal(loop_run(rig->agent.loop), 0);
	pthread_join(thread, NULL);
	close(ends[0]);
	close(ends[1]);
	return rig->answer;
}

static bool has(const char *answer, const char *status, const char *text)
{
	return strncmp(answer, status, strlen(status)) == 0 && strstr(answer, text);
}

static void open_agent(struct rig *rig, const struct options *options)
{
	rig->agent.opt = options;
	assert_int_equal(loop_new(&rig->agent.loop), 0);
	assert_int_equal(monitor_open(&rig->agent), 0);
}

static void close_agent(struct rig *rig)
{
	monitor_close(rig->agent.monitor);
	loop_free(rig->agent.loop);
}

static void test_starting(void **state)
{
	const struct options options = {.metrics = "127.0.0.1:9100"};
	static struct rig rig;
	const char *answer;

	(void)state;
	open_agent(&rig, &options);
	assert_true(has(ask(&rig, "/healthz"), "HTTP/1.1 200 ", "\r\n\r\nok\n"));
	assert_true(has(ask(&rig, "/readyz"), "HTTP/1.1 503 ", "\r\n\r\nstarting\n"));
	assert_true(has(ask(&rig, "/"), "HTTP/1.1 404 ", "\r\n\r\nnot found\n"));
	answer = ask(&rig, "/metrics?x=1");
	assert_true(has(answer, "HTTP/1.1 200 ", "\nweft_ready 0\n"));
	assert_non_null(strstr(answer, "\r\nContent-Type: text/plain; version=0.0.4; "));
	assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(answer, ",datapath=\"none\",format=\"udp\"} 1\n"));
	assert_non_null(strstr(answer, "\nweft_store_up 0\n"));
	assert_null(strstr(answer, "\nweft_packets_total{"));
	close_agent(&rig);
}

static bool registry_is_up(struct store *store, struct store_status *out)
{
	(void)store;
	*out = (struct store_status){.up = true};
	return true;
}

/* What the store said last, though it is there to be asked, is not in force. */
static void test_refused_state(void **state)
{
	const struct options options = {.metrics = "127.0.0.1:9100"};
	const struct store_ops ops = {.status = registry_is_up};
	struct store store = {.ops = &ops};
	static struct rig rig;

	(void)state;
	rig.agent.store = &store;
	open_agent(&rig, &options);
	assert_non_null(strstr(ask(&rig, "/metrics"), "\nweft_store_up 1\n"));
	strcpy(rig.agent.store_error, "$.Network: gone");
	assert_non_null(strstr(ask(&rig, "/metrics"), "\nweft_store_up 0\n"));
	close_agent(&rig);
}

/* A node may hold a lease of old besides the one it goes by. */
static void test_peers_are_nodes(void **state)
{
	const struct options options = {.metrics = "127.0.0.1:9100"};
	struct lease leases[] = {{.public_ip = 7}, {.public_ip = 8}, {.public_ip = 8}};
	const struct lease *peers[] = {&leases[1]};
	static struct rig rig;
	const char *answer;

	(void)state;
	rig.agent.public_ip = 7;
	rig.agent.conf.leases = leases;
	rig.agent.conf.n_leases = ARRAY_SIZE(leases);
	rig.agent.peers = peers;
	rig.agent.n_peers = ARRAY_SIZE(peers);
	open_agent(&rig, &options);
	answer = ask(&rig, "/metrics");
	assert_non_null(strstr(answer, "\nweft_leases 3\n"));
	assert_non_null(strstr(answer, "\nweft_peers 1\n"));
	close_agent(&rig);
}

static void test_not_asked_for(void **state)
{
	const struct options options = {};
	struct rig rig = {};

	(void)state;
	open_agent(&rig, &options);
	assert_null(rig.agent.monitor);
	close_agent(&rig);
}

static void test_in_use(void **state)
{
	const struct options options = {.metrics = ":9100"};
	struct agent second = {.opt = &options};
	static struct rig first;

	(void)state;
	open_agent(&first, &options);
	assert_int_equal(loop_new(&second.loop), 0);
	assert_int_equal(monitor_open(&second), -EADDRINUSE);
	assert_null(second.monitor);
	loop_free(second.loop);
	assert_true(has(ask(&first, "/healthz"), "HTTP/1.1 200 ", "ok"));
	close_agent(&first);
}

static int own_namespace(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET) || system("ip link set lo up");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),     cmocka_unit_test(test_no_addresses),
		cmocka_unit_test(test_refused_state), cmocka_unit_test(test_peers_are_nodes),
		cmocka_unit_test(test_not_asked_for), cmocka_unit_test(test_starting),
		cmocka_unit_test(test_in_use),
	};

	return cmocka_run_group_tests(tests, own_namespace, NULL);
}
