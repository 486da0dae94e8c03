/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pods of a real bridge, followed through everything that happens to pods. Needs root. */
#include "endpoints_rig.h"

/* Lines of events. */
#define BRIDGE "+bridge " BRIDGE_MAC "\n"
#define POD(ip, port, mac) "+10.1.0." #ip " pod" #port " 02:00:00:00:00:" #mac "\n"
#define GONE(ip) "-10.1.0." #ip "\n"
#define PORT(n) "+port pod" #n "\n"
#define NO_PORT(n) "-port pod" #n "\n"

/* A followed node with pod 2. */
static struct rig *one_pod(void **state)
{
	struct rig *r = *state;

	bridge_up();
	rig_open(r);
	pod_start(r, 2);
	expect(r, BRIDGE PORT(2) POD(2, 2, 02));
	return r;
}

static void test_nothing_there(void **state)
{
	struct rig *r = *state;

	rig_open(r);
	expect(r, "");
}

static void test_starts_with_everything_present(void **state)
{
	struct rig *r = *state;

	bridge_up();
	pod_start(r, 2);
	pod_start(r, 3);
	rig_open(r);
	/* From within the call, the bridge first, then ports, then pods. */
	assert_int_equal(r->n_lines, 5);
	assert_memory_equal(r->events, BRIDGE PORT(2) PORT(3), strlen(BRIDGE PORT(2) PORT(3)));
	expect_set(r, BRIDGE PORT(2) PORT(3) POD(2, 2, 02) POD(3, 3, 03));
}

static void test_pod_appears(void **state)
{
	struct rig *r = *state;

	bridge_up();
	rig_open(r);
	expect(r, BRIDGE);
	pod_make(r, 2, 2);
	expect(r, "");
	pod_enslave(2);
	expect(r, PORT(2));
	pod_speak(r, 2);
	expect(r, POD(2, 2, 02));
	pod_speak(r, 2);
	expect(r, "");
}

static void test_pod_deleted(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link del pod2");
	expect(r, GONE(2) NO_PORT(2));
}

static void test_pod_namespace_ends(void **state)
{
	struct rig *r = one_pod(state);

	end_namespace(r, 2);
	expect(r, GONE(2) NO_PORT(2));
}

static void test_port_leaves_and_returns(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link set pod2 nomaster");
	expect(r, GONE(2) NO_PORT(2));
	pod_enslave(2);
	pod_speak(r, 2);
	expect(r, PORT(2) POD(2, 2, 02));
}

static void test_port_moves_to_another_bridge(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link add other type bridge && ip link set pod2 master other");
	expect(r, GONE(2) NO_PORT(2));
}

static void test_port_renamed(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link set pod2 down && ip link set pod2 name pod9 && ip link set pod9 up");
	pod_speak(r, 2);
	expect(r, GONE(2) PORT(9) POD(2, 9, 02));
}

static void test_carrier_lost_and_back(void **state)
{
	struct rig *r = one_pod(state);

	in_pod(r, 2, "ip link set eth0 down");
	expect(r, GONE(2));
	/* The pod says nothing: it is found by asking. */
	in_pod(r, 2, "ip link set eth0 up");
	expect(r, POD(2, 2, 02));
}

/* What a bridge is told of a port that does not run is no way to a pod. */
static void test_carrier_lost_static_mac(void **state)
{
	struct rig *r = one_pod(state);

	in_pod(r, 2, "ip link set eth0 down");
	expect(r, GONE(2));
	run("bridge fdb replace 02:00:00:00:00:02 dev pod2 master static");
	pod_start(r, 3);
	expect(r, PORT(3) POD(3, 3, 03));
	in_pod(r, 2, "ip link set eth0 up");
	expect(r, POD(2, 2, 02));
}

static void test_port_down_and_up(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link set pod2 down");
	expect(r, GONE(2));
	run("ip link set pod2 up");
	expect(r, POD(2, 2, 02));
}

static void test_pod_moves_to_another_port(void **state)
{
	struct rig *r = one_pod(state);

	pod_make(r, 3, 2);
	pod_enslave(3);
	pod_speak(r, 3);
	expect(r, PORT(3) POD(2, 3, 02));
	run("ip link del pod2");
	expect(r, NO_PORT(2));
}

static void test_mac_changes(void **state)
{
	struct rig *r = one_pod(state);

	in_pod(r, 2, "ip link set eth0 address 02:00:00:00:00:99");
	pod_speak(r, 2);
	expect(r, POD(2, 2, 99));
}

static void test_address_taken_over_by_another_pod(void **state)
{
	struct rig *r = one_pod(state);

	pod_start(r, 3);
	expect(r, PORT(3) POD(3, 3, 03));
	in_pod(r, 2, "ip addr flush dev eth0");
	in_pod(r, 3, "ip addr add 10.1.0.2/24 dev eth0");
	/* The old owner is asked first, then everybody. */
	endpoints_hint(r->endpoints, IP(10, 1, 0, 2), if_nametoindex("pod3"));
	expect(r, GONE(2) POD(2, 3, 03));
}

static void test_two_addresses_of_one_pod(void **state)
{
	struct rig *r = one_pod(state);

	in_pod(r, 2, "ip addr add 10.1.0.77/24 dev eth0");
	in_pod(r, 2, "ping -q -c 1 -W 5 -I 10.1.0.77 10.1.0.1 >/dev/null");
	expect(r, POD(77, 2, 02));
	run("ip link del pod2");
	expect_set(r, GONE(2) GONE(77) NO_PORT(2));
}

static void test_bridge_deleted_and_recreated(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link del cni0");
	expect(r, GONE(2) NO_PORT(2) "-bridge\n");
	bridge_up();
	pod_enslave(2);
	pod_speak(r, 2);
	expect(r, BRIDGE PORT(2) POD(2, 2, 02));
}

static void test_bridge_replaced_unseen(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link del cni0");
	bridge_up();
	pod_enslave(2);
	pod_speak(r, 2);
	expect(r, GONE(2) NO_PORT(2) "-bridge\n" BRIDGE PORT(2) POD(2, 2, 02));
}

static void test_bridge_renamed(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link set cni0 down && ip link set cni0 name cni1");
	expect(r, GONE(2) NO_PORT(2) "-bridge\n");
	run("ip link set cni1 name cni0 && ip link set cni0 up");
	pod_speak(r, 2);
	expect(r, BRIDGE PORT(2) POD(2, 2, 02));
}

static void test_not_a_bridge(void **state)
{
	struct rig *r = *state;

	run("ip link add cni0 type veth peer name cni1");
	rig_open(r);
	run("ip link set cni0 up");
	expect(r, "");
}

static void test_bridge_mac_changes(void **state)
{
	struct rig *r = one_pod(state);

	run("ip link set cni0 address 02:00:00:00:ff:02");
	expect(r, "+bridge 02:00:00:00:ff:02\n");
}

static void test_forgotten_neighbour_keeps_the_endpoint(void **state)
{
	struct rig *r = one_pod(state);

	run("ip neigh del 10.1.0.2 dev cni0");
	expect(r, "");
	assert_true(output_has("ip neigh show dev cni0", "02:00:00:00:00:02"));
	run("ip neigh flush dev cni0");
	expect(r, "");
	assert_true(output_has("ip neigh show dev cni0", "02:00:00:00:00:02"));
	/* This one deletes without failing the entry first. */
	run("ip link set cni0 arp off && ip link set cni0 arp on");
	expect(r, "");
}

static void test_aged_fdb_entry_keeps_the_endpoint(void **state)
{
	struct rig *r = one_pod(state);

	run("bridge fdb del 02:00:00:00:00:02 dev pod2 master");
	expect(r, "");
	assert_true(output_has("bridge fdb show br cni0", "02:00:00:00:00:02 dev pod2"));
}

static void test_silent_pod_is_gone_after_a_failed_probe(void **state)
{
	struct rig *r = one_pod(state);

	in_pod(r, 2, "ip addr flush dev eth0");
	run("ip neigh del 10.1.0.2 dev cni0");
	expect(r, GONE(2));
	in_pod(r, 2, "ip addr add 10.1.0.2/24 dev eth0");
	endpoints_hint(r->endpoints, IP(10, 1, 0, 2), if_nametoindex("pod2"));
	expect(r, POD(2, 2, 02));
}

static void test_permanent_neighbour_stays_permanent(void **state)
{
	struct rig *r = one_pod(state);

	run("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 dev cni0 nud permanent");
	run("bridge fdb del 02:00:00:00:00:02 dev pod2 master");
	endpoints_hint(r->endpoints, IP(10, 1, 0, 2), 0);
	expect(r, "");
	assert_true(output_has("ip neigh show dev cni0", "PERMANENT"));
}

static void test_neighbour_made_permanent_before_its_turn(void **state)
{
	struct rig *r = one_pod(state);

	/* The turn has come when the kernel is told, and the agent has yet to hear of that. */
	endpoints_hint(r->endpoints, IP(10, 1, 0, 2), 0);
	usleep(300 * 1000);
	run("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 dev cni0 nud permanent");
	expect(r, "");
	assert_true(output_has("ip neigh show dev cni0", "PERMANENT"));
}

static void test_hint_finds_a_pod_that_never_spoke(void **state)
{
	struct rig *r = *state;

	bridge_up();
	rig_open(r);
	pod_make(r, 2, 2);
	pod_enslave(2);
	expect(r, BRIDGE PORT(2));
	endpoints_hint(r->endpoints, IP(10, 1, 0, 2), if_nametoindex("pod2"));
	expect(r, POD(2, 2, 02));
}

static void test_forged_hints_are_bounded(void **state)
{
	struct rig *r = one_pod(state);
	int asked;

	for (int round = 0; round < 1000; round++) {
		for (uint32_t host = 0; host < 300; host++)
			endpoints_hint(r->endpoints, IP(10, 1, 0, 0) + host, 7);
	}
	rig_run_for(r, 500);
	/* Ten at once, ten each tenth of a second at most, and some slack. */
	asked = output_lines("ip neigh show dev cni0");
	assert_in_range(asked, 10, 90);
	for (int i = 0; i < 50 && asked < 30; i++) {
		rig_run_for(r, 100);
		asked = output_lines("ip neigh show dev cni0");
	}
	assert_true(asked >= 30);
	assert_false(output_has("ip neigh show", "10.1.1."));
	assert_false(output_has("ip neigh show", "10.1.0.0 "));
	assert_false(output_has("ip neigh show", "10.1.0.1 "));
	expect(r, "");
}

/* A pod that claims the node's own address, which the node would never ask for by itself. */
static void test_own_addresses_are_no_endpoints(void **state)
{
	struct rig *r = one_pod(state);

	in_pod(r, 2, "ip addr add 10.1.0.1/24 dev eth0");
	endpoints_hint(r->endpoints, IP(10, 1, 0, 1), if_nametoindex("pod2"));
	run("ip neigh replace 10.1.0.1 lladdr 02:00:00:00:00:02 dev cni0");
	expect(r, "");
	in_pod(r, 2, "ip addr del 10.1.0.1/24 dev eth0");
	run("ip addr add 10.1.0.2/32 dev lo");
	expect(r, GONE(2));
	run("ip addr del 10.1.0.2/32 dev lo");
	expect(r, POD(2, 2, 02));
}

/* While an address is our own, the kernel forgets the pod that had it. */
static void test_own_address_back_to_a_pod(void **state)
{
	struct rig *r = one_pod(state);

	run("cd /proc/sys/net/ipv4/neigh/cni0; echo 20 > retrans_time_ms; echo 1 > ucast_solicit; "
	    "echo 1 > mcast_solicit");
	run("ip addr add 10.1.0.2/32 dev lo");
	expect(r, GONE(2));
	in_pod(r, 2, "echo 8 > /proc/sys/net/ipv4/conf/eth0/arp_ignore");
	run("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 dev cni0 nud probe");
	rig_run_for(r, 500);
	in_pod(r, 2, "echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_ignore");
	run("ip addr del 10.1.0.2/32 dev lo");
	expect(r, POD(2, 2, 02));
}

static void test_other_subnets_are_ignored(void **state)
{
	struct rig *r = one_pod(state);

	run("ip neigh add 10.1.1.2 lladdr 02:00:00:00:00:02 dev cni0");
	run("ip neigh add 10.1.0.0 lladdr 02:00:00:00:00:02 dev cni0");
	run("ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:02 dev pod2");
	run("ip neigh add 10.1.0.10 lladdr 01:00:5e:00:00:01 dev cni0");
	run("ip neigh add 10.1.0.11 lladdr " BRIDGE_MAC " dev cni0");
	expect(r, "");
}

static void test_vlan_filtering(void **state)
{
	struct rig *r = *state;

	bridge_up();
	if (system("ip link set cni0 type bridge vlan_filtering 1 2>/dev/null"))
		skip(); /* a kernel without CONFIG_BRIDGE_VLAN_FILTERING */
	rig_open(r);
	pod_start(r, 2);
	expect(r, BRIDGE PORT(2) POD(2, 2, 02));
	/* A second address of a MAC that is known to the bridge already, and not to us. */
	run("ip link del pod2");
	expect(r, GONE(2) NO_PORT(2));
	pod_start(r, 3);
	run("ip neigh flush dev cni0");
	expect(r, PORT(3) POD(3, 3, 03));
}

static void test_lost_events(void **state)
{
	struct rig *r = one_pod(state);

	/* More than the socket holds, while nobody reads; the pod's move drowns in it. */
	run("for i in $(seq 0 65535); do printf 'fdb add 06:00:00:00:%%02x:%%02x dev pod2 master "
	    "static\\n' $((i / 256)) $((i %% 256)); done | bridge -batch -");
	pod_make(r, 3, 2);
	pod_enslave(3);
	run("bridge fdb del 02:00:00:00:00:02 dev pod2 master");
	pod_speak(r, 3);
	pod_start(r, 4);
	expect_set(r, PORT(3) PORT(4) POD(2, 3, 02) POD(4, 4, 04));
}

static void list(const struct endpoint *ep, void *arg)
{
	char **at = arg;

	*at += sprintf(*at, "%u:%s ", ep->addr & 255, ep->ifname);
}

static void test_each_is_ascending(void **state)
{
	struct rig *r = one_pod(state);
	char text[128] = "", *at = text;

	pod_start(r, 9);
	pod_start(r, 4);
	expect_set(r, PORT(9) POD(9, 9, 09) PORT(4) POD(4, 4, 04));
	endpoints_each(r->endpoints, list, &at);
	assert_string_equal(text, "2:pod2 4:pod4 9:pod9 ");
}

static void test_churn_leaves_nothing(void **state)
{
	struct rig *r = one_pod(state);
	size_t fds = count_fds();
	char text[128] = "", *at = text;

	for (int n = 10; n < 60; n++)
		pod_start(r, n);
	rig_run_until(r, 100);
	for (int n = 10; n < 60; n++)
		end_namespace(r, n);
	rig_run_until(r, 200);
	assert_int_equal(r->n_lines, 200);
	endpoints_each(r->endpoints, list, &at);
	assert_string_equal(text, "2:pod2 ");
	assert_int_equal(count_fds(), fds);
	/* Every one of them came and went once. */
	for (int n = 10; n < 60; n++) {
		snprintf(text, sizeof(text), "+10.1.0.%d pod%d 02:00:00:00:00:%02x\n", n, n, n);
		assert_non_null(strstr(r->events, text));
		snprintf(text, sizeof(text), "-10.1.0.%d\n", n);
		assert_non_null(strstr(r->events, text));
	}
}

static void test_close_releases_everything(void **state)
{
	struct rig *r = *state;
	size_t fds;

	bridge_up();
	pod_start(r, 2);
	rig_open(r);
	fds = count_fds();
	endpoints_hint(r->endpoints, IP(10, 1, 0, 5), 1);
	endpoints_close(r->endpoints);
	r->endpoints = NULL;
	/* The two sockets; the three timers are the loop's. */
	assert_int_equal(count_fds(), fds - 2);
	rig_run_for(r, QUIET_MS);
}

static void test_refuses_what_it_cannot_hold(void **state)
{
	struct rig *r = *state;
	const struct endpoints_events none = {};
	struct endpoints *e = NULL;

	assert_int_equal(
		endpoints_open(r->loop, "cni0", (struct prefix4){IP(10, 0, 0, 0), 15}, &none, &e),
		-EINVAL);
	assert_int_equal(endpoints_open(r->loop, "a-name-of-16-chr",
					(struct prefix4){IP(10, 1, 0, 0), 24}, &none, &e),
			 -EINVAL);
	assert_null(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_there, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_starts_with_everything_present, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_pod_appears, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_pod_deleted, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_pod_namespace_ends, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_port_leaves_and_returns, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_port_moves_to_another_bridge, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_port_renamed, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_carrier_lost_static_mac, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_carrier_lost_and_back, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_port_down_and_up, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_pod_moves_to_another_port, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_mac_changes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_address_taken_over_by_another_pod, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_two_addresses_of_one_pod, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_bridge_deleted_and_recreated, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_bridge_replaced_unseen, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_bridge_renamed, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_not_a_bridge, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_bridge_mac_changes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_neighbour_keeps_the_endpoint,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_aged_fdb_entry_keeps_the_endpoint, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_silent_pod_is_gone_after_a_failed_probe,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_permanent_neighbour_stays_permanent, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_neighbour_made_permanent_before_its_turn,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_hint_finds_a_pod_that_never_spoke, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_forged_hints_are_bounded, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_own_addresses_are_no_endpoints, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_own_address_back_to_a_pod, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_other_subnets_are_ignored, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_vlan_filtering, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_lost_events, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_each_is_ascending, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_churn_leaves_nothing, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_close_releases_everything, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_refuses_what_it_cannot_hold, rig_setup,
						rig_teardown),
	};
	return cmocka_run_group_tests_name("endpoints", tests, NULL, NULL);
}
