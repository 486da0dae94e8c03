/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A running slow path between a sequenced-packet socket that stands for the TUN device and real
 * UDP sockets on loopback addresses that stand for the peers. Runs in a network namespace of its
 * own when it may, else on the machine's loopback and another port.
 */
#ifndef WEFT_TESTS_FORWARD_RIG_H
#define WEFT_TESTS_FORWARD_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "forward.h"
#include "ip4_packet.h"
#include "util.h"

#define NODE ADDR(127, 0, 0, 1)
#define PEER_A ADDR(127, 0, 0, 2)
#define PEER_B ADDR(127, 0, 0, 3)
#define STRANGER ADDR(127, 0, 0, 9)
#define SUBNET ADDR(10, 244, 1, 0)
#define POD ADDR(10, 244, 1, 5)
#define POD_A ADDR(10, 244, 2, 7)
#define POD_B ADDR(10, 244, 3, 7)
#define POD_DARK ADDR(10, 244, 4, 7) /* its node cannot be reached */
#define ICMP_SOURCE ADDR(10, 244, 0, 0)

#define WAIT_MS 3000

struct rig {
	struct forward *fwd;
	int tun; /* the test's end */
	int tun_agent; /* the slow path's end */
	int peer_a, peer_b, stranger;
};

static bool rig_isolated;
static uint16_t rig_port = 18285;
static bool rig_plain; /* which of the loops runs */
static bool rig_fou; /* the kernel receives */

static inline void lo_ioctl(unsigned long request, struct ifreq *req)
{
	_close_ int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(req->ifr_name, "lo");
	assert_return_code(ioctl(fd, request, req), errno);
}

static inline void lo_set_mtu(int mtu)
{
	struct ifreq req = {.ifr_mtu = mtu};

	lo_ioctl(SIOCSIFMTU, &req);
}

/* Before any thread exists, as a user namespace demands. */
static inline void rig_isolate(void)
{
	struct ifreq req = {.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return;
	lo_ioctl(SIOCSIFFLAGS, &req);
	rig_isolated = true;
	rig_port = 8285;
}

static inline int udp_bound(uint32_t addr)
{
	const struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_port = htons(rig_port),
		.sin_addr.s_addr = htonl(addr),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	assert_return_code(bind(fd, (const struct sockaddr *)&local, sizeof(local)), errno);
	return fd;
}

/* route_a_to: who holds 10.244.2.0/24. */
static inline struct forward_table *rig_table(uint32_t route_a_to)
{
	struct forward_table *table = forward_table_new(3, 4);

	assert_non_null(table);
	table->network = (struct prefix4){ADDR(10, 244, 0, 0), 16};
	table->subnet = (struct prefix4){SUBNET, 24};
	table->port = rig_port;
	table->peer_check = true;
	table->routes[0] = (struct forward_route){
		.subnet = {ADDR(10, 244, 2, 0), 24}, .public_ip = route_a_to, .mtu = 1500};
	table->routes[1] = (struct forward_route){
		.subnet = {ADDR(10, 244, 3, 0), 24}, .public_ip = PEER_B, .mtu = 65535};
	table->routes[2] = (struct forward_route){
		.subnet = {ADDR(10, 244, 4, 0), 24}, .public_ip = ADDR(192, 0, 2, 1), .mtu = 1500};
	table->members[0] = NODE;
	table->members[1] = PEER_A;
	table->members[2] = PEER_B;
	table->members[3] = ADDR(192, 0, 2, 1);
	return table;
}

/* One queue without virtio headers. */
static inline int rig_forward_start(int tun_fd, uint32_t addr, uint16_t port, struct forward **out)
{
	const struct forward_config config = {
		.addr = addr,
		.port = port,
		.fou = rig_fou,
		.plain = rig_plain,
		.tun_fds = {tun_fd},
		.n_queues = 1,
	};

	return forward_start(&config, out);
}

/* Without a table yet. */
static inline struct rig rig_start(void)
{
	const int size = 4 << 20;
	struct rig rig;
	int ends[2];

	assert_return_code(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), errno);
	rig.tun = ends[0];
	rig.tun_agent = ends[1];
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	rig.peer_a = udp_bound(PEER_A);
	rig.peer_b = udp_bound(PEER_B);
	rig.stranger = udp_bound(STRANGER);
	assert_int_equal(rig_forward_start(rig.tun_agent, NODE, rig_port, &rig.fwd), 0);
	return rig;
}

static inline struct rig rig_start_routed(void)
{
	struct rig rig = rig_start();

	forward_set_table(rig.fwd, rig_table(PEER_A));
	return rig;
}

static inline void rig_stop(struct rig *rig)
{
	forward_stop(rig->fwd);
	cleanup_close(&rig->tun);
	cleanup_close(&rig->tun_agent);
	cleanup_close(&rig->peer_a);
	cleanup_close(&rig->peer_b);
	cleanup_close(&rig->stranger);
}

static inline void send_to_node(int fd, const void *data, size_t len)
{
	const struct sockaddr_in node = {
		.sin_family = AF_INET,
		.sin_port = htons(rig_port),
		.sin_addr.s_addr = htonl(NODE),
	};

	assert_int_equal(sendto(fd, data, len, 0, (const struct sockaddr *)&node, sizeof(node)),
			 len);
}

/* The next packet on fd; for a UDP socket also checks that it comes from the node's one port. */
static inline size_t receive(int fd, uint8_t *buf, size_t size, bool udp)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct sockaddr_in from = {0};
	socklen_t from_len = sizeof(from);
	ssize_t n;

	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	n = recvfrom(fd, buf, size, 0, (struct sockaddr *)&from, &from_len);
	assert_return_code(n, errno);
	if (udp) {
		assert_int_equal(ntohl(from.sin_addr.s_addr), NODE);
		assert_int_equal(ntohs(from.sin_port), rig_port);
	}
	return (size_t)n;
}

static inline void expect_packet(int fd, const void *data, size_t len, bool udp)
{
	static uint8_t buf[65536];

	assert_int_equal(receive(fd, buf, sizeof(buf), udp), len);
	assert_memory_equal(buf, data, len);
}

static inline void expect_silence(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline uint64_t packets_total(const struct weft_counter *counters)
{
	uint64_t total = 0;

	for (size_t i = 0; i < WEFT_COUNTER_MAX; i++)
		total += counters[i].packets;
	return total;
}

/* Waits until as many packets as want holds are counted; then every counter must be as in want. */
static inline void expect_counters(const struct rig *rig, const struct weft_counter *want)
{
	struct weft_counter got[WEFT_COUNTER_MAX] = {0};
	uint64_t total = packets_total(want);

	for (int i = 0; i < WAIT_MS && packets_total(got) < total; i++) {
		forward_counters(rig->fwd, got);
		usleep(1000);
	}
	forward_counters(rig->fwd, got);
	for (size_t i = 0; i < WEFT_COUNTER_MAX; i++)
		if (got[i].packets != want[i].packets || got[i].bytes != want[i].bytes)
			fail_msg("hook %zu verdict %zu reason %zu: %llu packets %llu bytes, "
				 "not %llu and %llu",
				 i / WEFT_REASON_MAX / WEFT_VERDICT_MAX,
				 i / WEFT_REASON_MAX % WEFT_VERDICT_MAX, i % WEFT_REASON_MAX,
				 got[i].packets, got[i].bytes, want[i].packets, want[i].bytes);
}

static inline void expect_one(const struct rig *rig, enum weft_hook hook, enum weft_reason reason,
			      size_t bytes)
{
	enum weft_verdict verdict = reason == WEFT_R_OK ? WEFT_SLOW : WEFT_DROP;
	struct weft_counter want[WEFT_COUNTER_MAX] = {0};

	want[WEFT_COUNTER(hook, verdict, reason)] = (struct weft_counter){1, bytes};
	expect_counters(rig, want);
}

static inline double now_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

#endif
