/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flannel's choice of the interface (flannel.md 4.2), and the chosen one's later life. */
#include "underlay_rig.h"

#define SOON_MS 1000

static struct uplink link_u0(void)
{
	return (struct uplink){
		.ifindex = if_nametoindex("u0"),
		.ifname = "u0",
		.mac = MAC(0x01),
		.mtu = 1500,
		.addr = IP(10, 0, 0, 1),
		.up = true,
		.addr_present = true,
	};
}

/* The name and address that the flags choose; NULL: none. */
static void expect_choice(const struct underlay_select select, const char *ifname, uint32_t addr)
{
	struct underlay *u = NULL;
	struct loop *loop;

	assert_int_equal(loop_new(&loop), 0);
	if (!ifname) {
		assert_int_equal(underlay_open(loop, &select, &u), -ENODEV);
		assert_null(u);
	} else {
		assert_int_equal(underlay_open(loop, &select, &u), 0);
		assert_string_equal(underlay_uplink(u)->ifname, ifname);
		assert_int_equal(underlay_uplink(u)->ifindex, if_nametoindex(ifname));
		assert_int_equal(underlay_uplink(u)->addr, addr);
		assert_true(underlay_uplink(u)->addr_present);
	}
	underlay_close(u);
	loop_free(loop);
}

#define EXPECT(ifname, addr, ...) expect_choice((struct underlay_select){__VA_ARGS__}, ifname, addr)

static void stop_peer(const struct rig *rig)
{
	kill(rig->peer, SIGKILL);
	waitpid(rig->peer, NULL, 0);
}

static void by_name_or_address(void **state)
{
	struct rig rig = rig_new_namespaces();

	(void)state;
	ip("link add empty type bridge");
	EXPECT("u0", IP(10, 0, 0, 1), .iface = "u0");
	EXPECT("u1", IP(10, 1, 0, 1), .iface = "10.1.0.1");
	EXPECT(NULL, 0, .iface = "10.1.0.2");
	EXPECT(NULL, 0, .iface = "u2");
	EXPECT(NULL, 0, .iface = "a-name-longer-than-an-interface-can-have");
	EXPECT(NULL, 0, .iface = "empty");
	EXPECT(NULL, 0, .iface = "lo");
	/* The published address does not change the choice. */
	EXPECT("u0", IP(10, 0, 0, 1), .iface = "u0", .public_ip = "192.0.2.1");
	EXPECT("u1", IP(10, 1, 0, 1), .public_ip = "10.1.0.1");
	EXPECT(NULL, 0, .public_ip = "192.0.2.1");
	EXPECT(NULL, 0, .public_ip = "10.1.0.1x");
	stop_peer(&rig);
}

static void best_usable_address(void **state)
{
	struct rig rig = rig_new_namespaces();

	(void)state;
	ip("addr flush dev u0");
	ip("addr add 169.254.7.7/16 dev u0 scope link");
	EXPECT("u0", IP(169, 254, 7, 7), .iface = "u0");
	ip("addr add 127.5.5.5/32 dev u0");
	EXPECT("u0", IP(169, 254, 7, 7), .iface = "u0");
	ip("addr add 10.0.0.3/24 dev u0 valid_lft 1000 preferred_lft 0");
	EXPECT("u0", IP(169, 254, 7, 7), .iface = "u0");
	ip("addr add 10.2.0.4/24 dev u0 valid_lft 1000 preferred_lft 1000");
	EXPECT("u0", IP(10, 2, 0, 4), .iface = "u0");
	ip("addr add 10.2.0.5/24 dev u0");
	EXPECT("u0", IP(10, 2, 0, 5), .iface = "u0");
	ip("addr add 10.3.0.6/24 dev u0");
	EXPECT("u0", IP(10, 3, 0, 6), .iface = "u0");
	/* Asked for by address, any will do. */
	EXPECT("u0", IP(10, 0, 0, 3), .iface = "10.0.0.3");
	ip("addr flush dev u0");
	ip("addr add 10.4.0.1 peer 10.4.0.9 dev u0");
	EXPECT("u0", IP(10, 4, 0, 1), .iface = "u0");
	stop_peer(&rig);
}

static void by_regex(void **state)
{
	struct rig rig = rig_new_namespaces();

	(void)state;
	/* Addresses of all interfaces come before any name. */
	ip("link add x10.1.0.1 type bridge");
	EXPECT("u1", IP(10, 1, 0, 1), .iface_regex = "10\\.1\\.0\\.1");
	EXPECT("u0", IP(10, 0, 0, 1), .iface_regex = "^10\\.[0-9]+\\.0\\.1$");
	EXPECT("u1", IP(10, 1, 0, 1), .iface_regex = "^(eth|u)1$");
	EXPECT("u0", IP(10, 0, 0, 1), .iface_regex = "u");
	EXPECT(NULL, 0, .iface_regex = "^eth");
	EXPECT(NULL, 0, .iface_regex = "^x");
	EXPECT(NULL, 0, .iface_regex = "(");
	/* Each flag has its turn until one succeeds. */
	EXPECT("u1", IP(10, 1, 0, 1), .iface = "eth0", .iface_regex = "u1");
	EXPECT("u0", IP(10, 0, 0, 1), .iface = "u0", .iface_regex = "u1");
	stop_peer(&rig);
}

static void by_route(void **state)
{
	struct rig rig = rig_new_namespaces();

	(void)state;
	ip("addr add 10.1.0.50/32 dev u1");
	ip("route add 10.9.0.0/24 via 10.1.0.2 src 10.1.0.50");
	EXPECT("u1", IP(10, 1, 0, 50), .can_reach = "10.9.0.1");
	EXPECT("u0", IP(10, 0, 0, 1), .can_reach = "10.0.0.200");
	EXPECT(NULL, 0, .can_reach = "10.10.0.1");
	EXPECT(NULL, 0, .can_reach = "10.0.0.1");
	EXPECT(NULL, 0, .can_reach = "host");
	EXPECT("u0", IP(10, 0, 0, 1), .iface_regex = "eth", .can_reach = "10.0.0.2");
	stop_peer(&rig);
}

static void by_default_route(void **state)
{
	struct rig rig = rig_new_namespaces();

	(void)state;
	EXPECT(NULL, 0, .iface = NULL);
	ip("route add default via 10.0.0.2 table 77");
	EXPECT(NULL, 0, .iface = NULL);
	ip("route add default via 10.1.0.2 metric 50");
	EXPECT("u1", IP(10, 1, 0, 1), .iface = NULL);
	ip("route add default via 10.0.0.2 metric 10");
	EXPECT("u0", IP(10, 0, 0, 1), .iface = NULL);
	ip("route add default metric 5 nexthop via 10.0.0.2 nexthop via 10.1.0.2");
	EXPECT(NULL, 0, .iface = NULL);
	stop_peer(&rig);
}

static void address_removed_and_added_again(void **state)
{
	struct uplink want;
	struct rig rig;
	const uint32_t peer = IP(10, 0, 0, 2);

	(void)state;
	rig = rig_new_namespaces();
	rig_start(&rig);
	expect_uplink(&rig, link_u0(), 0);
	assert_int_equal(underlay_set_peers(rig.underlay, &peer, 1), 0);
	expect_nexthop(&rig, peer, on_link(0), SOON_MS);
	ip("addr del 10.0.0.1/24 dev u0");
	want = link_u0();
	want.addr_present = false;
	expect_uplink(&rig, want, SOON_MS);
	assert_int_equal(rig.uplink_events, 1);
	expect_unresolved(&rig, peer, SOON_MS);
	ip("addr add 10.0.0.1/24 dev u0");
	expect_uplink(&rig, link_u0(), SOON_MS);
	assert_int_equal(rig.uplink_events, 2);
	expect_nexthop(&rig, peer, on_link(0), SOON_MS);
	ip("addr add 10.5.0.1/24 dev u0");
	rig_run_for(&rig, 100);
	assert_int_equal(rig.uplink_events, 2);
	rig_stop(&rig);
}

static void mac_mtu_state_and_name_are_followed(void **state)
{
	struct uplink want = {};
	struct rig rig;

	(void)state;
	rig = rig_new_namespaces();
	rig_start(&rig);
	want = link_u0();
	want.mtu = 1400;
	ip("link set u0 mtu 1400");
	expect_uplink(&rig, want, SOON_MS);
	want.mac[5] = 0x77;
	ip("link set u0 address 02:00:00:00:00:77");
	expect_uplink(&rig, want, SOON_MS);
	want.up = false;
	ip("link set u0 down");
	expect_uplink(&rig, want, SOON_MS);
	strcpy(want.ifname, "wan0");
	ip("link set u0 name wan0");
	expect_uplink(&rig, want, SOON_MS);
	want.up = true;
	ip("link set wan0 up");
	expect_uplink(&rig, want, 1000 + SOON_MS);
	want.up = false;
	peer_ip(&rig, "link set p0 down");
	expect_uplink(&rig, want, 1000 + SOON_MS);
	rig_stop(&rig);
}

static void interface_made_anew(void **state)
{
	struct uplink want;
	struct rig rig;
	const uint32_t peer = IP(10, 0, 0, 2);
	uint32_t old;

	(void)state;
	rig = rig_new_namespaces();
	rig_start(&rig);
	assert_int_equal(underlay_set_peers(rig.underlay, &peer, 1), 0);
	expect_nexthop(&rig, peer, on_link(0), SOON_MS);
	want = link_u0();
	old = want.ifindex;
	ip("link del u0");
	want.up = want.addr_present = false;
	expect_uplink(&rig, want, SOON_MS);
	expect_unresolved(&rig, peer, SOON_MS);
	rig_add_link(&rig, 0);
	assert_int_not_equal(if_nametoindex("u0"), old);
	expect_uplink(&rig, link_u0(), 1000 + SOON_MS);
	expect_nexthop(&rig, peer, on_link(0), 1000 + SOON_MS);
	/* The same name and the same index. */
	old = if_nametoindex("u0");
	ip("link del u0");
	ip("link add u0 index %u address 02:00:00:00:00:01 type veth peer name p0 address "
	   "02:00:00:00:00:02 netns %d",
	   old, rig.peer);
	ip("addr add 10.0.0.1/24 dev u0");
	ip("link set u0 up");
	peer_ip(&rig, "addr add 10.0.0.2/24 dev p0");
	peer_ip(&rig, "link set p0 up");
	expect_uplink(&rig, link_u0(), 1000 + SOON_MS);
	expect_nexthop(&rig, peer, on_link(0), 1000 + SOON_MS);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_name_or_address),
		cmocka_unit_test(best_usable_address),
		cmocka_unit_test(by_regex),
		cmocka_unit_test(by_route),
		cmocka_unit_test(by_default_route),
		cmocka_unit_test(address_removed_and_added_again),
		cmocka_unit_test(mac_mtu_state_and_name_are_followed),
		cmocka_unit_test(interface_made_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
