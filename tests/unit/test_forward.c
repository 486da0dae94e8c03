/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The slow path as it runs: bytes in, bytes out, the one counter that moved, and its life cycle. */
#include <netinet/ip_icmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "forward_rig.h"

/* The device's name for a packet's way. */
enum from { TUN, A, B, STRANGER_ };

struct way {
	const char *name;
	enum from from;
	struct ip4_packet packet;
	enum weft_reason reason;
	int icmp; /* type << 8 | code of the answer, 0 for none */
	uint16_t mtu;
	int trailing; /* bytes added behind the packet, or cut from it */
};

#define P(s, d, l, f, t) \
	{ \
		.saddr = (s), .daddr = (d), .len = (l), .frag_off = (f), .ttl = (t), \
		.protocol = 17 \
	}
#define NET_UNREACH (3 << 8)
#define FRAG_NEEDED (3 << 8 | 4)
#define TIME_EXCEEDED (11 << 8)

static const struct way ways[] = {
	{"smallest", TUN, P(POD, POD_A, 20, 0, 64), WEFT_R_OK, 0, 0, 0},
	{"full, DF", TUN, P(POD, POD_A, 1472, IP_DF, 64), WEFT_R_OK, 0, 0, 0},
	{"one too many, DF", TUN, P(POD, POD_A, 1473, IP_DF, 64), WEFT_R_TOO_BIG, FRAG_NEEDED, 1472,
	 0},
	{"one too many", TUN, P(POD, POD_A, 1473, 0, 64), WEFT_R_OK, 0, 0, 0},
	{"big", TUN, P(POD, POD_A, 30000, 0, 64), WEFT_R_OK, 0, 0, 0},
	{"ttl is left alone", TUN, P(POD, POD_A, 60, 0, 1), WEFT_R_OK, 0, 0, 0},
	{"inner fragment", TUN, P(POD, POD_A, 60, IP_MF | 3, 64), WEFT_R_OK, 0, 0, 0},
	{"ttl 0", TUN, P(POD, POD_A, 60, 0, 0), WEFT_R_TTL, TIME_EXCEEDED, 0, 0},
	{"no lease", TUN, P(POD, ADDR(10, 244, 9, 9), 60, 0, 64), WEFT_R_NO_ROUTE, NET_UNREACH, 0,
	 0},
	{"no lease, later fragment", TUN, P(POD, ADDR(10, 244, 9, 9), 60, 7, 64), WEFT_R_NO_ROUTE,
	 0, 0, 0},
	{"own subnet", TUN, P(POD, SUBNET + 9, 60, 0, 64), WEFT_R_NO_ROUTE, NET_UNREACH, 0, 0},
	{"outside", TUN, P(POD, ADDR(8, 8, 8, 8), 60, 0, 64), WEFT_R_NOT_OVERLAY, NET_UNREACH, 0,
	 0},
	{"multicast", TUN, P(POD, ADDR(224, 0, 0, 5), 60, 0, 64), WEFT_R_NOT_OVERLAY, 0, 0, 0},
	{"spoofed", TUN, P(POD_B, POD_A, 60, 0, 64), WEFT_R_SPOOFED_LOCAL, 0, 0, 0},
	{"spoofed, ttl 0", TUN, P(POD_B, POD_A, 60, 0, 0), WEFT_R_SPOOFED_LOCAL, 0, 0, 0},
	{"unreachable node", TUN, P(POD, POD_DARK, 60, 0, 64), WEFT_R_SEND, 0, 0, 0},
	{"cut", TUN, P(POD, POD_A, 60, 0, 64), WEFT_R_SHORT, 0, 0, -1},
	{"from a", A, P(POD_A, POD, 60, 0, 64), WEFT_R_OK, 0, 0, 0},
	{"from a, biggest", A, P(POD_A, POD, 65507, 0, 64), WEFT_R_OK, 0, 0, 0},
	{"from b to the node, ttl 1", B, P(POD_B, SUBNET, 60, 0, 1), WEFT_R_OK, 0, 0, 0},
	{"from a, ttl 0", A, P(POD_A, POD, 60, 0, 0), WEFT_R_TTL, 0, 0, 0},
	{"from a, cut", A, P(POD_A, POD, 60, 0, 64), WEFT_R_SHORT, 0, 0, -1},
	{"from a, empty", A, P(POD_A, POD, 60, 0, 64), WEFT_R_SHORT, 0, 0, -60},
	{"from a, glued", A, P(POD_A, POD, 60, 0, 64), WEFT_R_BAD_IP4, 0, 0, 20},
	{"a as b", A, P(POD_B, POD, 60, 0, 64), WEFT_R_SPOOFED_INNER, 0, 0, 0},
	{"a as us", A, P(POD, SUBNET + 9, 60, 0, 64), WEFT_R_SPOOFED_INNER, 0, 0, 0},
	{"a to b", A, P(POD_A, POD_B, 60, 0, 64), WEFT_R_FOREIGN_DST, 0, 0, 0},
	{"stranger", STRANGER_, P(POD_A, POD, 60, 0, 64), WEFT_R_UNKNOWN_PEER, 0, 0, 0},
};

static int peer_socket(const struct rig *rig, enum from from)
{
	return from == A ? rig->peer_a : from == B ? rig->peer_b : rig->stranger;
}

static void inject(const struct rig *rig, enum from from, const void *data, size_t len)
{
	if (from == TUN)
		assert_int_equal(write(rig->tun, data, len), len);
	else
		send_to_node(peer_socket(rig, from), data, len);
}

static void expect_icmp(const struct rig *rig, const uint8_t *packet, size_t len, int icmp,
			uint16_t mtu)
{
	uint8_t want[ICMP_ERROR_MAX];
	struct ip4_info info;
	size_t want_len;

	assert_int_equal(ip4_parse(packet, len, &info), WEFT_R_OK);
	want_len = icmp_error_build(want, (uint8_t)(icmp >> 8), (uint8_t)icmp, mtu, ICMP_SOURCE,
				    packet, &info);
	expect_packet(rig->tun, want, want_len, false);
}

static void way_check(const struct way *way)
{
	static uint8_t packet[65536];
	size_t len = ip4_packet_build(packet, &way->packet) + (size_t)way->trailing;
	enum weft_hook hook = way->from == TUN ? WEFT_HOOK_TUNFD : WEFT_HOOK_SOCKET;
	struct rig rig = rig_start_routed();

	print_message("%s\n", way->name);
	inject(&rig, way->from, packet, len);
	expect_one(&rig, hook, way->reason, len);
	if (way->reason == WEFT_R_OK)
		expect_packet(way->from == TUN ? rig.peer_a : rig.tun, packet, len,
			      way->from == TUN);
	if (way->icmp)
		expect_icmp(&rig, packet, len, way->icmp, way->mtu);
	expect_silence(rig.tun);
	expect_silence(rig.peer_a);
	expect_silence(rig.peer_b);
	rig_stop(&rig);
}

static void every_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		way_check(&ways[i]);
}

static void other_protocols_are_refused(void **state)
{
	static const uint8_t ip6[40] = {0x60};
	struct weft_counter want[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_start_routed();

	(void)state;
	inject(&rig, TUN, ip6, sizeof(ip6));
	inject(&rig, A, ip6, sizeof(ip6));
	want[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_DROP, WEFT_R_NOT_IPV4)] =
		(struct weft_counter){1, 40};
	want[WEFT_COUNTER(WEFT_HOOK_SOCKET, WEFT_DROP, WEFT_R_NOT_IPV4)] =
		(struct weft_counter){1, 40};
	expect_counters(&rig, want);
	expect_silence(rig.tun);
	rig_stop(&rig);
}

static void without_a_table_all_is_refused(void **state)
{
	struct weft_counter want[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_start();

	(void)state;
	inject(&rig, TUN, "x", 1);
	inject(&rig, A, "xy", 2);
	want[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_DROP, WEFT_R_DISABLED)] =
		(struct weft_counter){1, 1};
	want[WEFT_COUNTER(WEFT_HOOK_SOCKET, WEFT_DROP, WEFT_R_DISABLED)] =
		(struct weft_counter){1, 2};
	expect_counters(&rig, want);
	rig_stop(&rig);
}

static void counters_of_other_hooks_are_left_alone(void **state)
{
	struct weft_counter counters[WEFT_COUNTER_MAX];
	struct rig rig = rig_start();

	(void)state;
	memset(counters, 0xa5, sizeof(counters));
	forward_counters(rig.fwd, counters);
	for (size_t i = 0; i < WEFT_COUNTER_MAX; i++) {
		bool ours = i >= WEFT_COUNTER(WEFT_HOOK_TUNFD, 0, 0);

		assert_int_equal(counters[i].packets, ours ? 0 : 0xa5a5a5a5a5a5a5a5ULL);
	}
	rig_stop(&rig);
}

/* After forward_set_table() returned, not one packet goes the old way. */
static void table_takes_effect_at_once(void **state)
{
	const struct ip4_packet spec = P(POD, POD_A, 60, 0, 64);
	struct rig rig = rig_start();
	uint8_t packet[60];

	(void)state;
	ip4_packet_build(packet, &spec);
	for (int i = 0; i < 200; i++) {
		forward_set_table(rig.fwd, rig_table(i % 2 ? PEER_B : PEER_A));
		inject(&rig, TUN, packet, sizeof(packet));
		expect_packet(i % 2 ? rig.peer_b : rig.peer_a, packet, sizeof(packet), true);
	}
	forward_set_table(rig.fwd, NULL);
	rig_stop(&rig);
}

static void icmp_errors_are_limited(void **state)
{
	const struct ip4_packet spec = P(POD, ADDR(10, 244, 9, 9), 60, 0, 64);
	struct weft_counter want[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_start_routed();
	double start = now_ms(CLOCK_MONOTONIC), spent;
	int answers = 0;
	uint8_t packet[100];

	(void)state;
	ip4_packet_build(packet, &spec);
	for (int i = 0; i < 200; i++)
		inject(&rig, TUN, packet, 60);
	want[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_DROP, WEFT_R_NO_ROUTE)] =
		(struct weft_counter){200, 200 * 60};
	expect_counters(&rig, want);
	spent = now_ms(CLOCK_MONOTONIC) - start;
	while (recv(rig.tun, packet, sizeof(packet), 0) > 0)
		answers++;
	assert_in_range(answers, 50, 51 + (int)(spent / 10));
	rig_stop(&rig);
}

struct flood {
	struct rig *rig;
	atomic_bool stop;
	_Atomic uint64_t from_tun;
};

/* Both sides at once, as fast as they take it; what comes out is read and thrown away. */
static void *flood_run(void *arg)
{
	const struct ip4_packet out = P(POD, POD_A, 200, 0, 64), in = P(POD_A, POD, 200, 0, 64);
	struct flood *flood = arg;
	uint8_t out_packet[200], in_packet[200], sink[256];

	ip4_packet_build(out_packet, &out);
	ip4_packet_build(in_packet, &in);
	while (!atomic_load(&flood->stop)) {
		if (write(flood->rig->tun, out_packet, sizeof(out_packet)) > 0)
			flood->from_tun++;
		send_to_node(flood->rig->peer_a, in_packet, sizeof(in_packet));
		while (recv(flood->rig->tun, sink, sizeof(sink), 0) > 0)
			assert_memory_equal(sink, in_packet, sizeof(in_packet));
		while (recv(flood->rig->peer_a, sink, sizeof(sink), 0) > 0 ||
		       recv(flood->rig->peer_b, sink, sizeof(sink), 0) > 0)
			assert_memory_equal(sink, out_packet, sizeof(out_packet));
	}
	return NULL;
}

static void tables_replaced_under_traffic(void **state)
{
	const size_t ok = WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_SLOW, WEFT_R_OK);
	struct weft_counter counters[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_start_routed();
	struct flood flood = {.rig = &rig};
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, flood_run, &flood), 0);
	for (int i = 0; i < 10000; i++) {
		/* Many replaced untaken, and some traffic between every hundred. */
		uint64_t seen = flood.from_tun;

		forward_set_table(rig.fwd, rig_table(i % 2 ? PEER_B : PEER_A));
		while (i % 100 == 0 && flood.from_tun == seen)
			usleep(50);
	}
	atomic_store(&flood.stop, true);
	pthread_join(thread, NULL);
	assert_true(flood.from_tun >= 100);
	for (int i = 0; i < WAIT_MS && counters[ok].packets < flood.from_tun; i++) {
		usleep(1000);
		forward_counters(rig.fwd, counters);
	}
	assert_int_equal(counters[ok].packets, flood.from_tun);
	assert_int_equal(counters[ok].bytes, flood.from_tun * 200);
	rig_stop(&rig);
}

static void stop_under_traffic_is_quick(void **state)
{
	struct rig rig = rig_start_routed();
	struct flood flood = {.rig = &rig};
	pthread_t thread;
	double start, spent;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, flood_run, &flood), 0);
	usleep(100000);
	start = now_ms(CLOCK_MONOTONIC);
	forward_stop(rig.fwd);
	spent = now_ms(CLOCK_MONOTONIC) - start;
	atomic_store(&flood.stop, true);
	pthread_join(thread, NULL);
	rig.fwd = NULL;
	rig_stop(&rig);
	assert_true(spent < 100);
}

static void stop_before_first_table_and_idle(void **state)
{
	struct rig rig = rig_start();

	(void)state;
	rig_stop(&rig);
	rig = rig_start();
	/* Perhaps not taken by the thread yet: must not leak either way. */
	forward_set_table(rig.fwd, rig_table(PEER_A));
	forward_set_table(rig.fwd, rig_table(PEER_B));
	rig_stop(&rig);
	forward_stop(NULL);
}

/* The device is gone: packets from peers are counted, and the thread does not spin. */
static void broken_device_is_survived_without_spinning(void **state)
{
	const struct ip4_packet spec = P(POD_A, POD, 60, 0, 64);
	struct rig rig = rig_start_routed();
	uint8_t packet[60];
	double cpu;

	(void)state;
	ip4_packet_build(packet, &spec);
	cleanup_close(&rig.tun);
	rig.tun = -1;
	cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID);
	usleep(500000);
	cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	assert_true(cpu < 100);
	inject(&rig, A, packet, sizeof(packet));
	expect_one(&rig, WEFT_HOOK_SOCKET, WEFT_R_SEND, sizeof(packet));
	rig_stop(&rig);
}

static void start_refuses_what_it_cannot_use(void **state)
{
	struct rig rig = rig_start();
	struct forward *other = NULL;
	const struct forward_config none = {.addr = NODE, .port = 1};

	(void)state;
	assert_int_equal(rig_forward_start(rig.tun, NODE, rig_port, &other), -EADDRINUSE);
	assert_int_equal(rig_forward_start(-1, NODE, rig_port + 1, &other), -EBADF);
	assert_int_equal(forward_start(&none, &other), -EINVAL);
	assert_null(other);
	rig_stop(&rig);
}

static void address_may_be_absent(void **state)
{
	struct rig rig = rig_start();
	struct forward *other = NULL;

	(void)state;
	assert_int_equal(rig_forward_start(rig.tun, ADDR(192, 0, 2, 77), rig_port, &other), 0);
	forward_stop(other);
	rig_stop(&rig);
}

/* Unblocked here when the thread starts, blocked afterwards: only a thread that blocked it itself
 * leaves the signal for us; otherwise its default action ends the test. */
static void thread_blocks_signals(void **state)
{
	const struct timespec wait = {.tv_sec = 1};
	struct rig rig = rig_start();
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	assert_int_equal(sigtimedwait(&set, NULL, &wait), SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way),
		cmocka_unit_test(other_protocols_are_refused),
		cmocka_unit_test(without_a_table_all_is_refused),
		cmocka_unit_test(counters_of_other_hooks_are_left_alone),
		cmocka_unit_test(table_takes_effect_at_once),
		cmocka_unit_test(icmp_errors_are_limited),
		cmocka_unit_test(tables_replaced_under_traffic),
		cmocka_unit_test(stop_under_traffic_is_quick),
		cmocka_unit_test(stop_before_first_table_and_idle),
		cmocka_unit_test(broken_device_is_survived_without_spinning),
		cmocka_unit_test(start_refuses_what_it_cannot_use),
		cmocka_unit_test(address_may_be_absent),
		cmocka_unit_test(thread_blocks_signals),
	};

	int failed;

	rig_isolate();
	rig_plain = true;
	failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
	rig_plain = false;
	return failed + cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
