/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A real underlay: the test's own network namespace, another one for the peers, and between them
 * u0-p0 (10.0.0.1/24, 10.0.0.2/24) and u1-p1 (10.1.0.1/24, 10.1.0.2/24). Nothing is mocked. The
 * peers' namespace is held by a child process and has no name, so nothing is left behind.
 */
#ifndef WEFT_TESTS_UNDERLAY_RIG_H
#define WEFT_TESTS_UNDERLAY_RIG_H

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "underlay.h"
#include "util.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define MAC(last) \
	{ \
		0x02, 0, 0, 0, 0, last \
	}
#define NEVER 0xffff

struct rig {
	pid_t peer;
	struct loop *loop;
	struct loop_timer *poll;
	struct underlay *underlay;
	size_t peer_events;
	size_t lost_events; /* reports of an unresolved peer */
	size_t uplink_events;
	uint32_t last_peer;
	/* The condition that rig_wait() waits for. */
	bool (*met)(struct rig *rig);
	const void *want;
	uint32_t want_ip;
	uint64_t deadline_ms;
};

static inline uint64_t rig_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static inline void run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* Arguments of ip(8), in our namespace and in the peers'. */
#define ip(fmt, ...) run("ip " fmt, ##__VA_ARGS__)
#define peer_ip(r, fmt, ...) run("nsenter -t %d -n ip " fmt, (r)->peer, ##__VA_ARGS__)

static inline pid_t rig_fork_namespace(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static inline void rig_add_link(const struct rig *rig, int n)
{
	ip("link add u%d address 02:00:00:00:00:%d1 type veth peer name p%d address "
	   "02:00:00:00:00:%d2 netns %d",
	   n, n, n, n, rig->peer);
	ip("addr add 10.%d.0.1/24 dev u%d", n, n);
	ip("link set u%d up", n);
	peer_ip(rig, "addr add 10.%d.0.2/24 dev p%d", n, n);
	peer_ip(rig, "link set p%d up", n);
}

/* The device's carrier is reported a moment after the last end came up. */
static inline void rig_await_carrier(int n)
{
	run("for i in $(seq 200); do ip -o link show u%d up | grep -q 'state UP' && exit 0; "
	    "sleep 0.01; done; exit 1",
	    n);
}

static inline struct rig rig_new_namespaces(void)
{
	struct rig rig = {};

	if (unshare(CLONE_NEWNET))
		skip();
	rig.peer = rig_fork_namespace();
	ip("link set lo up");
	peer_ip(&rig, "link set lo up");
	rig_add_link(&rig, 0);
	rig_add_link(&rig, 1);
	rig_await_carrier(0);
	rig_await_carrier(1);
	return rig;
}

static inline void rig_on_peer(uint32_t public_ip, void *arg)
{
	struct rig *rig = arg;
	struct nexthop hop;

	assert_int_equal(underlay_nexthop(rig->underlay, public_ip, &hop), 0);
	rig->peer_events++;
	rig->lost_events += !hop.resolved;
	rig->last_peer = public_ip;
}

static inline void rig_on_uplink(void *arg)
{
	((struct rig *)arg)->uplink_events++;
}

static inline void rig_on_poll(void *arg)
{
	struct rig *rig = arg;

	if ((rig->met && rig->met(rig)) || rig_now_ms() >= rig->deadline_ms)
		loop_stop(rig->loop);
}

/* *rig must stay where it is. */
static inline void rig_start(struct rig *rig)
{
	const struct underlay_select select = {.iface = "u0"};

	assert_int_equal(loop_new(&rig->loop), 0);
	assert_int_equal(loop_timer_new(rig->loop, rig_on_poll, rig, &rig->poll), 0);
	assert_int_equal(underlay_open(rig->loop, &select, &rig->underlay), 0);
	underlay_on_change(rig->underlay, rig_on_peer, rig_on_uplink, rig);
}

static inline void rig_stop(struct rig *rig)
{
	underlay_close(rig->underlay);
	loop_free(rig->loop);
	kill(rig->peer, SIGKILL);
	waitpid(rig->peer, NULL, 0);
}

/* Run the loop until met() or for timeout_ms. */
static inline void rig_wait(struct rig *rig, bool (*met)(struct rig *rig), uint64_t timeout_ms)
{
	rig->met = met;
	rig->deadline_ms = rig_now_ms() + timeout_ms;
	loop_timer_arm(rig->poll, 1, 5);
	assert_int_equal(loop_run(rig->loop), 0);
	loop_timer_arm(rig->poll, UINT32_MAX, 0);
}

static inline void rig_run_for(struct rig *rig, uint64_t ms)
{
	rig_wait(rig, NULL, ms);
}

static inline bool is_wanted_nexthop(struct rig *rig)
{
	const struct nexthop *want = rig->want;
	struct nexthop hop;

	return underlay_nexthop(rig->underlay, rig->want_ip, &hop) == 0 &&
	       hop.resolved == want->resolved && hop.ifindex == want->ifindex &&
	       hop.gateway == want->gateway && hop.mtu == want->mtu &&
	       memcmp(hop.dst_mac, want->dst_mac, 6) == 0 &&
	       memcmp(hop.src_mac, want->src_mac, 6) == 0 && hop.asymmetric == want->asymmetric;
}

static inline void expect_nexthop(struct rig *rig, uint32_t public_ip, struct nexthop want,
				  uint64_t timeout_ms)
{
	struct nexthop hop = {};

	rig->want = &want;
	rig->want_ip = public_ip;
	rig_wait(rig, is_wanted_nexthop, timeout_ms);
	assert_int_equal(underlay_nexthop(rig->underlay, public_ip, &hop), 0);
	assert_int_equal(hop.resolved, want.resolved);
	assert_int_equal(hop.ifindex, want.ifindex);
	assert_int_equal(hop.gateway, want.gateway);
	assert_int_equal(hop.mtu, want.mtu);
	assert_memory_equal(hop.dst_mac, want.dst_mac, 6);
	assert_memory_equal(hop.src_mac, want.src_mac, 6);
	assert_int_equal(hop.asymmetric, want.asymmetric);
}

static inline bool is_unresolved(struct rig *rig)
{
	struct nexthop hop;

	return underlay_nexthop(rig->underlay, rig->want_ip, &hop) == 0 && !hop.resolved;
}

static inline void expect_unresolved(struct rig *rig, uint32_t public_ip, uint64_t timeout_ms)
{
	rig->want_ip = public_ip;
	rig_wait(rig, is_unresolved, timeout_ms);
	assert_true(is_unresolved(rig));
}

static inline bool is_wanted_uplink(struct rig *rig)
{
	const struct uplink *up = underlay_uplink(rig->underlay), *want = rig->want;

	return up->ifindex == want->ifindex && strcmp(up->ifname, want->ifname) == 0 &&
	       memcmp(up->mac, want->mac, 6) == 0 && up->mtu == want->mtu &&
	       up->addr == want->addr && up->up == want->up &&
	       up->addr_present == want->addr_present;
}

static inline void expect_uplink(struct rig *rig, struct uplink want, uint64_t timeout_ms)
{
	rig->want = &want;
	rig_wait(rig, is_wanted_uplink, timeout_ms);
	assert_int_equal(underlay_uplink(rig->underlay)->ifindex, want.ifindex);
	assert_int_equal(underlay_uplink(rig->underlay)->up, want.up);
	assert_int_equal(underlay_uplink(rig->underlay)->addr_present, want.addr_present);
	assert_int_equal(underlay_uplink(rig->underlay)->mtu, want.mtu);
	assert_true(is_wanted_uplink(rig));
}

/* The peer at the other end of u0 or u1, on link. */
static inline struct nexthop on_link(int n)
{
	return (struct nexthop){
		.resolved = true,
		.ifindex = if_nametoindex(n ? "u1" : "u0"),
		.dst_mac = MAC(n ? 0x12 : 0x02),
		.src_mac = MAC(n ? 0x11 : 0x01),
		.gateway = n ? IP(10, 1, 0, 2) : IP(10, 0, 0, 2),
		.mtu = 1500,
	};
}

#endif
