/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Peers' next hops against a real kernel: see underlay_rig.h. Skipped without CAP_SYS_ADMIN. */
#include "underlay_rig.h"

#define PEER0 IP(10, 0, 0, 2)
#define FAR1 IP(10, 9, 0, 1)
#define FAR2 IP(10, 9, 0, 2)
#define FAR3 IP(10, 10, 0, 1)

/* Long enough for a burst of events to be coalesced, and for ARP over veth. */
#define SOON_MS 1000

static void set_peers(struct rig *rig, const uint32_t *ips, size_t n)
{
	assert_int_equal(underlay_set_peers(rig->underlay, ips, n), 0);
}

#define SET_PEERS(rig, ...) \
	do { \
		const uint32_t set_ips[] = {__VA_ARGS__}; \
		set_peers(rig, set_ips, ARRAY_SIZE(set_ips)); \
	} while (0)

static void start_with_peer0(struct rig *rig)
{
	*rig = rig_new_namespaces();
	rig_start(rig);
	SET_PEERS(rig, PEER0);
	expect_nexthop(rig, PEER0, on_link(0), SOON_MS);
	rig->peer_events = rig->lost_events = rig->uplink_events = 0;
}

static void direct_peer_is_resolved_without_traffic(void **state)
{
	struct rig rig;
	struct nexthop hop;

	(void)state;
	start_with_peer0(&rig);
	assert_int_equal(underlay_nexthop(rig.underlay, IP(10, 0, 0, 3), &hop), -ENOENT);
	/* Known to the kernel already, so known at once. */
	SET_PEERS(&rig, IP(10, 0, 0, 1), PEER0, IP(127, 0, 0, 1));
	assert_int_equal(underlay_nexthop(rig.underlay, PEER0, &hop), 0);
	assert_true(hop.resolved);
	/* Our own addresses are no peers. */
	expect_unresolved(&rig, IP(10, 0, 0, 1), 0);
	expect_unresolved(&rig, IP(127, 0, 0, 1), 0);
	assert_int_equal(rig.peer_events, 0);
	SET_PEERS(&rig, FAR1);
	assert_int_equal(underlay_nexthop(rig.underlay, PEER0, &hop), -ENOENT);
	underlay_probe(rig.underlay, PEER0);
	set_peers(&rig, NULL, 0);
	assert_int_equal(underlay_nexthop(rig.underlay, FAR1, &hop), -ENOENT);
	rig_run_for(&rig, 50);
	rig_stop(&rig);
}

static void absent_peer_is_resolved_once_it_appears(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	run("echo 100 > /proc/sys/net/ipv4/neigh/u0/retrans_time_ms");
	SET_PEERS(&rig, IP(10, 0, 0, 77));
	rig_run_for(&rig, 1000);
	expect_unresolved(&rig, IP(10, 0, 0, 77), 0);
	peer_ip(&rig, "addr add 10.0.0.77/24 dev p0");
	want = on_link(0);
	want.gateway = IP(10, 0, 0, 77);
	expect_nexthop(&rig, IP(10, 0, 0, 77), want, 5500);
	rig_stop(&rig);
}

static void stays_fresh_without_traffic(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	rig = rig_new_namespaces();
	run("echo 500 > /proc/sys/net/ipv4/neigh/u0/base_reachable_time_ms");
	run("echo 1 > /proc/sys/net/ipv4/neigh/u0/delay_first_probe_time");
	/* Only from 5.19 on; by default it is 5 s. */
	run("echo 500 2>/dev/null > /proc/sys/net/ipv4/neigh/u0/interval_probe_time_ms || true");
	run("echo 100 > /proc/sys/net/ipv4/neigh/u0/retrans_time_ms");
	rig_start(&rig);
	SET_PEERS(&rig, PEER0);
	expect_nexthop(&rig, PEER0, on_link(0), SOON_MS);
	/* Nothing tells of it, but that nobody confirms the old one, which the kernel must ask. */
	peer_ip(&rig, "link set p0 address 02:00:00:00:00:42");
	want = on_link(0);
	want.dst_mac[5] = 0x42;
	expect_nexthop(&rig, PEER0, want, 15000);
	rig_stop(&rig);
}

static void routed_peer_has_its_gateway(void **state)
{
	struct nexthop want = {};
	struct rig rig;

	(void)state;
	rig = rig_new_namespaces();
	ip("route add 10.9.0.0/24 via 10.1.0.2 mtu 1400");
	ip("route add 10.9.0.2/32 via 10.0.0.2 mtu 9000");
	rig_start(&rig);
	SET_PEERS(&rig, FAR1, FAR2);
	want = on_link(1);
	want.mtu = 1400;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	/* A metric beyond what the device can carry does not count. */
	expect_nexthop(&rig, FAR2, on_link(0), SOON_MS);
	rig_stop(&rig);
}

static void route_change_is_reported_for_its_peers_only(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	rig = rig_new_namespaces();
	ip("route add 10.9.0.0/24 via 10.0.0.2");
	ip("route add 10.10.0.0/24 via 10.0.0.2");
	rig_start(&rig);
	SET_PEERS(&rig, PEER0, FAR1, FAR3);
	expect_nexthop(&rig, FAR1, on_link(0), SOON_MS);
	expect_nexthop(&rig, FAR3, on_link(0), SOON_MS);
	ip("route replace 10.9.0.0/24 via 10.1.0.2");
	rig.peer_events = 0;
	expect_nexthop(&rig, FAR1, on_link(1), SOON_MS);
	/* Once for the new gateway, once for its MAC. */
	assert_in_range(rig.peer_events, 1, 2);
	assert_int_equal(rig.last_peer, FAR1);
	ip("route change 10.9.0.0/24 via 10.1.0.2 mtu 1300");
	want = on_link(1);
	want.mtu = 1300;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	ip("route add 10.9.0.0/25 via 10.0.0.2");
	expect_nexthop(&rig, FAR1, on_link(0), SOON_MS);
	ip("route del 10.9.0.0/25");
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	rig.peer_events = 0;
	ip("route add 10.11.0.0/24 via 10.1.0.2");
	rig_run_for(&rig, 100);
	assert_int_equal(rig.peer_events, 0);
	rig_stop(&rig);
}

static void unusable_routes_leave_a_peer_unresolved(void **state)
{
	static const char *const routes[] = {
		"blackhole 10.9.0.0/24",
		"unreachable 10.9.0.0/24",
		"prohibit 10.9.0.0/24",
		"10.9.0.0/24 dev lo",
		"local 10.9.0.1/32 dev u0",
		"10.9.0.0/24 dev t0",
		"10.9.0.0/24 via inet6 fe80::1 dev u0",
	};
	struct rig rig;
	size_t i;

	(void)state;
	start_with_peer0(&rig);
	ip("tuntap add t0 mode tun");
	ip("link set t0 up");
	ip("route add 10.9.0.0/16 via 10.0.0.2");
	SET_PEERS(&rig, FAR1);
	for (i = 0; i < ARRAY_SIZE(routes); i++) {
		expect_nexthop(&rig, FAR1, on_link(0), SOON_MS);
		ip("route add %s", routes[i]);
		expect_unresolved(&rig, FAR1, SOON_MS);
		ip("route del %s", routes[i]);
	}
	expect_nexthop(&rig, FAR1, on_link(0), SOON_MS);
	ip("route del 10.9.0.0/16");
	expect_unresolved(&rig, FAR1, SOON_MS);
	rig_stop(&rig);
}

static void rules_on_the_source_are_honoured(void **state)
{
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	ip("route add 10.9.0.0/24 via 10.1.0.2");
	ip("route add 10.9.0.0/24 via 10.0.0.2 table 100");
	SET_PEERS(&rig, FAR1);
	expect_nexthop(&rig, FAR1, on_link(1), SOON_MS);
	ip("rule add from 10.0.0.1 lookup 100");
	expect_nexthop(&rig, FAR1, on_link(0), SOON_MS);
	ip("rule del from 10.0.0.1 lookup 100");
	expect_nexthop(&rig, FAR1, on_link(1), SOON_MS);
	ip("rule add from 10.1.0.1 lookup 100");
	rig_run_for(&rig, 100);
	expect_nexthop(&rig, FAR1, on_link(1), 0);
	rig_stop(&rig);
}

static void probe_finds_a_changed_mac(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	peer_ip(&rig, "link set p0 address 02:00:00:00:00:42");
	underlay_probe(rig.underlay, PEER0);
	want = on_link(0);
	want.dst_mac[5] = 0x42;
	expect_nexthop(&rig, PEER0, want, 200);
	assert_int_equal(rig.peer_events, 1);
	/* At most once a second: the second change is not found before that. */
	peer_ip(&rig, "link set p0 address 02:00:00:00:00:43");
	underlay_probe(rig.underlay, PEER0);
	rig_run_for(&rig, 300);
	expect_nexthop(&rig, PEER0, want, 0);
	rig_run_for(&rig, 700);
	underlay_probe(rig.underlay, PEER0);
	want.dst_mac[5] = 0x43;
	expect_nexthop(&rig, PEER0, want, 200);
	assert_int_equal(rig.lost_events, 0);
	rig_stop(&rig);
}

/* A router, say, that is reached by a MAC which it does not send from. */
static void probe_that_changes_nothing_is_the_last_for_a_while(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	underlay_probe(rig.underlay, PEER0);
	want = on_link(0);
	want.asymmetric = true;
	expect_nexthop(&rig, PEER0, want, 200);
	assert_int_equal(rig.peer_events, 1);
	ip("neigh flush dev u0");
	rig_run_for(&rig, 300);
	expect_nexthop(&rig, PEER0, want, 200);
	peer_ip(&rig, "link set p0 address 02:00:00:00:00:42");
	rig_run_for(&rig, 700);
	underlay_probe(rig.underlay, PEER0);
	want.dst_mac[5] = 0x42;
	want.asymmetric = false;
	expect_nexthop(&rig, PEER0, want, 200);
	assert_int_equal(rig.lost_events, 0);
	rig_stop(&rig);
}

static void probe_without_answer_keeps_the_mac_for_a_while(void **state)
{
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	peer_ip(&rig, "link set p0 arp off");
	underlay_probe(rig.underlay, PEER0);
	rig_run_for(&rig, 2500);
	expect_nexthop(&rig, PEER0, on_link(0), 0);
	expect_unresolved(&rig, PEER0, 1500);
	peer_ip(&rig, "link set p0 arp on");
	expect_nexthop(&rig, PEER0, on_link(0), 5500);
	rig_stop(&rig);
}

static void permanent_entry_is_left_alone(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:ee dev u0 nud permanent");
	want = on_link(0);
	want.dst_mac[5] = 0xee;
	expect_nexthop(&rig, PEER0, want, SOON_MS);
	underlay_probe(rig.underlay, PEER0);
	rig_run_for(&rig, 500);
	expect_nexthop(&rig, PEER0, want, 0);
	set_peers(&rig, NULL, 0);
	SET_PEERS(&rig, PEER0);
	expect_nexthop(&rig, PEER0, want, SOON_MS);
	run("ip neigh show 10.0.0.2 nud permanent | grep -q 02:00:00:00:00:ee");
	ip("neigh del 10.0.0.2 dev u0");
	expect_nexthop(&rig, PEER0, on_link(0), SOON_MS);
	rig_stop(&rig);
}

static void vanished_entry_is_resolved_again(void **state)
{
	struct rig rig;
	int i;

	(void)state;
	start_with_peer0(&rig);
	for (i = 0; i < 3; i++) {
		ip("neigh flush dev u0");
		rig_run_for(&rig, 300);
		run("ip neigh show 10.0.0.2 nud reachable | grep -q 02:00:00:00:00:02");
	}
	expect_nexthop(&rig, PEER0, on_link(0), 0);
	assert_int_equal(rig.peer_events, 0);
	rig_stop(&rig);
}

static void link_down_and_up(void **state)
{
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	ip("link set u0 down");
	expect_unresolved(&rig, PEER0, SOON_MS);
	ip("link set u0 up");
	expect_nexthop(&rig, PEER0, on_link(0), SOON_MS);
	/* The carrier alone, which the kernel may report up to a second later. */
	peer_ip(&rig, "link set p0 down");
	expect_unresolved(&rig, PEER0, 1000 + SOON_MS);
	peer_ip(&rig, "link set p0 up");
	expect_nexthop(&rig, PEER0, on_link(0), 1000 + SOON_MS);
	rig_stop(&rig);
}

/* What a router says is believed if it is less, down to a floor, and of this peer only. */
static void path_mtu_is_learnt(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	ip("route add 10.9.0.0/24 via 10.0.0.2 mtu 1450");
	SET_PEERS(&rig, PEER0, FAR1);
	want = on_link(0);
	want.mtu = 1450;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	rig.peer_events = 0;
	underlay_learn_mtu(rig.underlay, FAR1, 1451);
	underlay_learn_mtu(rig.underlay, PEER0 + 7, 1000);
	assert_int_equal(rig.peer_events, 0);
	underlay_learn_mtu(rig.underlay, FAR1, 1300);
	assert_int_equal(rig.peer_events, 1);
	assert_int_equal(rig.last_peer, FAR1);
	want.mtu = 1300;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	expect_nexthop(&rig, PEER0, on_link(0), SOON_MS);
	/* It survives a new set of peers, and a route that says less counts. */
	SET_PEERS(&rig, FAR1);
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	ip("route change 10.9.0.0/24 via 10.0.0.2 mtu 1200");
	want.mtu = 1200;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	underlay_learn_mtu(rig.underlay, FAR1, 0);
	want.mtu = UNDERLAY_MIN_MTU;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	rig_stop(&rig);
}

static void own_mac_and_mtu_reach_the_peers(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	start_with_peer0(&rig);
	ip("route add 10.9.0.0/24 via 10.0.0.2 mtu 1450");
	SET_PEERS(&rig, PEER0, FAR1);
	ip("link set u0 mtu 1420");
	want = on_link(0);
	want.mtu = 1420;
	expect_nexthop(&rig, PEER0, want, SOON_MS);
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	ip("link set u0 mtu 1500");
	expect_nexthop(&rig, PEER0, on_link(0), SOON_MS);
	want.mtu = 1450;
	expect_nexthop(&rig, FAR1, want, SOON_MS);
	rig.lost_events = 0;
	ip("link set u0 address 02:00:00:00:00:51");
	want = on_link(0);
	want.src_mac[5] = 0x51;
	expect_nexthop(&rig, PEER0, want, SOON_MS);
	assert_int_equal(rig.lost_events, 0);
	/* Asking again told the peer the new address too. */
	rig_run_for(&rig, 100);
	run("nsenter -t %d -n ip neigh show 10.0.0.1 | grep -q 02:00:00:00:00:51", rig.peer);
	rig_stop(&rig);
}

/* More events than the socket can hold: the last ones are lost, but not their effect. */
static void overrun_loses_nothing(void **state)
{
	struct nexthop want;
	struct rig rig;

	(void)state;
	rig = rig_new_namespaces();
	ip("route add 10.9.0.0/24 via 10.0.0.2");
	rig_start(&rig);
	SET_PEERS(&rig, PEER0, FAR1);
	expect_nexthop(&rig, FAR1, on_link(0), SOON_MS);
	run("for i in $(seq 0 30000); do echo route add 10.$((100 + i / 65536)).$((i / 256 %% "
	    "256))."
	    "$((i %% 256))/32 via 10.1.0.2; done | ip -batch -");
	ip("route replace 10.9.0.0/24 via 10.1.0.2");
	ip("link set u1 mtu 1400");
	ip("link set u0 address 02:00:00:00:00:51");
	want = on_link(1);
	want.mtu = 1400;
	expect_nexthop(&rig, FAR1, want, 3000);
	want = on_link(0);
	want.src_mac[5] = 0x51;
	expect_nexthop(&rig, PEER0, want, 3000);
	assert_int_equal(underlay_uplink(rig.underlay)->mac[5], 0x51);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(direct_peer_is_resolved_without_traffic),
		cmocka_unit_test(absent_peer_is_resolved_once_it_appears),
		cmocka_unit_test(stays_fresh_without_traffic),
		cmocka_unit_test(routed_peer_has_its_gateway),
		cmocka_unit_test(route_change_is_reported_for_its_peers_only),
		cmocka_unit_test(unusable_routes_leave_a_peer_unresolved),
		cmocka_unit_test(rules_on_the_source_are_honoured),
		cmocka_unit_test(probe_finds_a_changed_mac),
		cmocka_unit_test(probe_that_changes_nothing_is_the_last_for_a_while),
		cmocka_unit_test(probe_without_answer_keeps_the_mac_for_a_while),
		cmocka_unit_test(permanent_entry_is_left_alone),
		cmocka_unit_test(vanished_entry_is_resolved_again),
		cmocka_unit_test(link_down_and_up),
		cmocka_unit_test(own_mac_and_mtu_reach_the_peers),
		cmocka_unit_test(path_mtu_is_learnt),
		cmocka_unit_test(overrun_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
