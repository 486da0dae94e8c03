/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A real node: the test's own network namespace with a bridge cni0 (10.1.0.1/24), and pods, each in
 * a namespace that a child process holds and that has no name, so nothing is left behind. Pod N
 * has the host end podN, the address 10.1.0.N and the MAC 02:00:00:00:00:N unless a test says
 * otherwise.
 *
 * Every event becomes a line of text; a test states the lines it wants, all of them.
 */
#ifndef WEFT_TESTS_ENDPOINTS_RIG_H
#define WEFT_TESTS_ENDPOINTS_RIG_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "endpoints.h"
#include "log.h"
#include "util.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define BRIDGE_MAC "02:00:00:00:ff:01"
#define MAX_PODS 256
/* Room for the kernel's deferred work before an event counts as missing, on a busy machine. */
#define DEADLINE_MS 8000
/* An event that must not come gets this long to come. */
#define QUIET_MS 150

struct rig {
	pid_t pods[MAX_PODS]; /* who holds its namespace; 0: none */
	struct loop *loop;
	struct loop_timer *timer;
	struct endpoints *endpoints;
	char events[64 * 1024]; /* lines, since the last expect() */
	size_t len;
	size_t n_lines;
	size_t want_lines;
};

__attribute__((format(printf, 1, 2))) static inline void run(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

static inline bool output_has(const char *command, const char *text)
{
	char line[512];
	bool found = false;
	FILE *f = popen(command, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, text) != NULL;
	pclose(f);
	return found;
}

static inline int output_lines(const char *command)
{
	char line[512];
	int n = 0;
	FILE *f = popen(command, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n++;
	pclose(f);
	return n;
}

/* A shell command in a pod. */
#define in_pod(r, n, fmt, ...) run("nsenter -t %d -n sh -c '" fmt "'", (r)->pods[n], ##__VA_ARGS__)

static inline void rig_stop(void *arg)
{
	loop_stop(((struct rig *)arg)->loop);
}

/* Events. */

__attribute__((format(printf, 2, 3))) static inline void rig_note(struct rig *r, const char *fmt,
								  ...)
{
	va_list ap;

	va_start(ap, fmt);
	r->len += vsnprintf(r->events + r->len, sizeof(r->events) - r->len, fmt, ap);
	va_end(ap);
	assert_true(r->len < sizeof(r->events));
	if (++r->n_lines == r->want_lines)
		loop_stop(r->loop);
}

static inline void rig_on_endpoint(const struct endpoint *ep, void *arg)
{
	char ip[INET_ADDRSTRLEN];
	const uint8_t *m = ep->mac;

	snprintf(ip, sizeof(ip), "%u.%u.%u.%u", ep->addr >> 24, ep->addr >> 16 & 255,
		 ep->addr >> 8 & 255, ep->addr & 255);
	if (!ep->ifindex)
		rig_note(arg, "-%s\n", ip);
	else
		rig_note(arg, "+%s %s %02x:%02x:%02x:%02x:%02x:%02x\n", ip, ep->ifname, m[0], m[1],
			 m[2], m[3], m[4], m[5]);
	if (ep->ifindex && if_nametoindex(ep->ifname))
		assert_int_equal(ep->ifindex, if_nametoindex(ep->ifname));
}

static inline void rig_on_port(uint32_t ifindex, const char *ifname, bool up, void *arg)
{
	assert_int_not_equal(ifindex, 0);
	rig_note(arg, "%cport %s\n", up ? '+' : '-', ifname);
}

static inline void rig_on_bridge(uint32_t ifindex, const uint8_t m[6], void *arg)
{
	if (ifindex)
		rig_note(arg, "+bridge %02x:%02x:%02x:%02x:%02x:%02x\n", m[0], m[1], m[2], m[3],
			 m[4], m[5]);
	else
		rig_note(arg, "-bridge\n");
}

static inline void rig_run_for(struct rig *r, uint64_t ms)
{
	loop_timer_arm(r->timer, ms, 0);
	assert_int_equal(loop_run(r->loop), 0);
	loop_timer_arm(r->timer, UINT64_MAX, 0);
}

/* Until there are so many lines of events, and then a while longer for any that must not come. */
static inline void rig_run_until(struct rig *r, size_t lines)
{
	r->want_lines = lines;
	if (r->n_lines < lines)
		rig_run_for(r, DEADLINE_MS);
	r->want_lines = 0;
	rig_run_for(r, QUIET_MS);
}

static inline int rig_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void rig_sort_lines(const char *text, char *out, size_t size)
{
	char copy[4096], *lines[128], *save;
	size_t n = 0;

	assert_true(snprintf(copy, sizeof(copy), "%s", text) < (int)sizeof(copy));
	for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		assert_true(n < ARRAY_SIZE(lines));
		lines[n++] = l;
	}
	qsort(lines, n, sizeof(*lines), rig_compare);
	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(out + strlen(out), size - strlen(out), "%s\n", lines[i]);
}

static inline void rig_clear(struct rig *r)
{
	r->events[0] = '\0';
	r->len = r->n_lines = 0;
}

static inline size_t count_lines(const char *text)
{
	size_t n = 0;

	while ((text = strchr(text, '\n'))) {
		n++;
		text++;
	}
	return n;
}

/* These events, in this order, and no others. */
static inline void expect(struct rig *r, const char *lines)
{
	rig_run_until(r, count_lines(lines));
	assert_string_equal(r->events, lines);
	rig_clear(r);
}

/* These events, in any order, and no others. */
static inline void expect_set(struct rig *r, const char *lines)
{
	char want[4096], got[4096];

	rig_run_until(r, count_lines(lines));
	rig_sort_lines(lines, want, sizeof(want));
	rig_sort_lines(r->events, got, sizeof(got));
	assert_string_equal(got, want);
	rig_clear(r);
}

/* Life. */

static inline void rig_open(struct rig *r)
{
	const struct endpoints_events events = {
		.endpoint = rig_on_endpoint,
		.port = rig_on_port,
		.bridge = rig_on_bridge,
		.arg = r,
	};
	const struct prefix4 subnet = {IP(10, 1, 0, 0), 24};

	assert_int_equal(endpoints_open(r->loop, "cni0", subnet, &events, &r->endpoints), 0);
}

static inline void bridge_up(void)
{
	run("ip link add cni0 address " BRIDGE_MAC " type bridge && ip link set cni0 up && "
	    "ip addr add 10.1.0.1/24 dev cni0");
	/* A probe that fails does so in a third of a second, not in three. */
	run("echo 100 > /proc/sys/net/ipv4/neigh/cni0/retrans_time_ms");
}

static inline pid_t hold_namespace(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static inline void end_namespace(struct rig *r, int n)
{
	if (!r->pods[n])
		return;
	kill(r->pods[n], SIGKILL);
	waitpid(r->pods[n], NULL, 0);
	r->pods[n] = 0;
}

/* A namespace and its veth, with the address and MAC of pod `like`; not on the bridge yet. */
static inline void pod_make(struct rig *r, int n, int like)
{
	r->pods[n] = hold_namespace();
	run("ip link add pod%d type veth peer name eth0 address 02:00:00:00:00:%02x netns %d", n,
	    like, r->pods[n]);
	in_pod(r, n,
	       "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set eth0 up; "
	       "ip addr add 10.1.0.%d/24 dev eth0",
	       like);
}

static inline void pod_enslave(int n)
{
	run("ip link set pod%d master cni0 up", n);
}

static inline void pod_speak(struct rig *r, int n)
{
	in_pod(r, n, "ping -q -c 1 -W 5 10.1.0.1 >/dev/null");
}

/* What the container runtime and the pod's first packet do. */
static inline void pod_start(struct rig *r, int n)
{
	pod_make(r, n, n);
	pod_enslave(n);
	pod_speak(r, n);
}

static inline size_t count_fds(void)
{
	size_t n = 0;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	log_setup(LOG_LEVEL_WARN, false);
	if (!r || unshare(CLONE_NEWNET) || loop_new(&r->loop) ||
	    loop_timer_new(r->loop, rig_stop, r, &r->timer))
		return -1;
	run("ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;

	endpoints_close(r->endpoints);
	loop_free(r->loop);
	for (int i = 0; i < MAX_PODS; i++)
		end_namespace(r, i);
	free(r);
	return 0;
}

#endif
