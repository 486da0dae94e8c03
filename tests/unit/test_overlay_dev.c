/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The overlay device on the real kernel, each test in its own network namespace. Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cmocka.h>

#include <linux/rtnetlink.h>

#include "log.h"
#include "netlink.h"
#include "overlay_dev.h"
#include "util.h"

#define NAME "flannel0"
#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static const struct prefix4 network = {IP(10, 244, 0, 0), 16};
static const struct prefix4 subnet = {IP(10, 244, 1, 0), 24};
static const struct prefix4 other = {IP(10, 244, 2, 0), 24};

static int setup(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_ERROR, false);
	if (unshare(CLONE_NEWNET))
		return -errno;
	return system("ip link set lo up");
}

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* The standard output of a command, spaces at line ends removed, in a static buffer. */
static const char *output(const char *command)
{
	static char text[4096];
	FILE *f = popen(command, "r");
	size_t n, kept = 0;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	pclose(f);
	for (size_t i = 0; i < n; i++) {
		while (text[i] == '\n' && kept && text[kept - 1] == ' ')
			kept--;
		text[kept++] = text[i];
	}
	text[kept] = '\0';
	return text;
}

static const char *routes(void)
{
	return output("ip -4 route show table main");
}

static const char *addresses(void)
{
	return output("ip -4 -o addr show dev " NAME " | awk '{print $4, $5, $6}'");
}

#define ROUTE(prefix, src) prefix " dev " NAME " proto static src " src "\n"
#define GROUP(name) (1u << (RTNLGRP_##name - 1))

static struct overlay_dev opened(void)
{
	struct overlay_dev dev;

	assert_int_equal(overlay_dev_open(NAME, 2, true, &dev), 0);
	return dev;
}

/* Returns whether something did differ. */
static bool configure(const struct overlay_dev *dev, struct prefix4 net, struct prefix4 sub,
		      uint32_t mtu)
{
	bool changed;

	assert_int_equal(overlay_dev_configure(dev, net, sub, mtu, &changed), 0);
	return changed;
}

static struct overlay_dev configured(void)
{
	struct overlay_dev dev = opened();

	configure(&dev, network, subnet, 1472);
	return dev;
}

/* What the kernel announced: changes of addresses and of the main table's routes, in order. */

static struct nl *watch(void)
{
	struct nl *nl;

	assert_int_equal(nl_open(GROUP(LINK) | GROUP(IPV4_IFADDR) | GROUP(IPV4_ROUTE), &nl), 0);
	return nl;
}

static int note(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = NLMSG_DATA(nlh);
	const char *what = NULL;

	if (nlh->nlmsg_type == RTM_NEWADDR)
		what = "+addr ";
	else if (nlh->nlmsg_type == RTM_DELADDR)
		what = "-addr ";
	else if (nlh->nlmsg_type == RTM_DELLINK)
		what = "-link ";
	else if (nlh->nlmsg_type == RTM_NEWROUTE && rtm->rtm_table == RT_TABLE_MAIN)
		what = "+route ";
	else if (nlh->nlmsg_type == RTM_DELROUTE && rtm->rtm_table == RT_TABLE_MAIN)
		what = "-route ";
	if (what)
		strcat(arg, what);
	return 0;
}

static const char *noted(struct nl *nl)
{
	static char text[1024];
	bool overrun;

	text[0] = '\0';
	assert_int_equal(nl_receive(nl, note, text, &overrun), 0);
	assert_false(overrun);
	nl_close(nl);
	return text;
}

static void test_creates_a_persistent_tun(void **state)
{
	struct overlay_dev dev = opened();

	(void)state;
	assert_string_equal(dev.ifname, NAME);
	assert_int_equal(dev.ifindex, if_nametoindex(NAME));
	assert_int_equal(dev.n_queues, 2);
	assert_true(fcntl(dev.queues[0], F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(dev.queues[1], F_GETFD) & FD_CLOEXEC);
	assert_non_null(strstr(output("ip -d link show " NAME),
			       "tun type tun pi off vnet_hdr on multi_queue numqueues 2 "
			       "numdisabled 0 persist on"));
	assert_string_equal(output("cat /proc/sys/net/ipv6/conf/" NAME "/disable_ipv6"), "1\n");
	overlay_dev_close(&dev);
	assert_int_equal(dev.n_queues, 0);
	overlay_dev_close(&dev);
	assert_int_not_equal(if_nametoindex(NAME), 0);
}

static const char *tso(void)
{
	return output("ethtool -k " NAME " | awk '/^tcp-segmentation-offload/ { print $2 }'");
}

/* What one owner could do, the next one may not want. */
static void test_offloads_are_the_owners_choice(void **state)
{
	struct overlay_dev dev;

	(void)state;
	assert_int_equal(overlay_dev_open(NAME, 2, true, &dev), 0);
	assert_true(dev.vnet);
	assert_true(dev.uso);
	assert_string_equal(tso(), "on\n");
	overlay_dev_close(&dev);
	assert_int_equal(overlay_dev_open(NAME, 1, false, &dev), 0);
	assert_int_equal(dev.n_queues, 1);
	assert_false(dev.vnet);
	assert_false(dev.uso);
	assert_string_equal(tso(), "off\n");
	assert_non_null(strstr(output("ip -d link show " NAME), "vnet_hdr off"));
	overlay_dev_close(&dev);
}

static void test_adopts_a_device_of_one_queue(void **state)
{
	struct overlay_dev dev;

	(void)state;
	run("ip tuntap add dev " NAME " mode tun");
	assert_int_equal(overlay_dev_open(NAME, 4, true, &dev), 0);
	assert_int_equal(dev.n_queues, 1);
	assert_true(dev.vnet);
	assert_string_equal(tso(), "on\n");
	overlay_dev_close(&dev);
	assert_int_equal(overlay_dev_delete(NAME), 0);
	assert_int_equal(if_nametoindex(NAME), 0);
}

static void test_configures_address_route_and_link(void **state)
{
	struct overlay_dev dev = configured();

	(void)state;
	assert_string_equal(addresses(), "10.244.1.0/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.1.0"));
	assert_non_null(strstr(output("ip link show " NAME), "mtu 1472 "));
	assert_non_null(strstr(output("ip link show " NAME), ",UP,LOWER_UP"));
	assert_non_null(strstr(output("ip link show " NAME), "qlen 1000"));
	assert_string_equal(output("ip -6 addr show dev " NAME), "");
	overlay_dev_close(&dev);
}

static void test_changes_nothing_that_is_right(void **state)
{
	struct overlay_dev dev = configured();
	struct nl *nl;

	(void)state;
	run("ip link set " NAME " txqueuelen 5000");
	nl = watch();
	assert_false(configure(&dev, network, subnet, 1472));
	assert_string_equal(noted(nl), "");
	assert_non_null(strstr(output("ip link show " NAME), "qlen 5000"));
	overlay_dev_close(&dev);
}

static void test_adopts_without_a_flap(void **state)
{
	struct overlay_dev dev = configured();
	uint32_t ifindex = dev.ifindex;
	struct nl *nl;

	(void)state;
	overlay_dev_close(&dev);
	nl = watch();
	dev = configured();
	assert_string_equal(noted(nl), "");
	assert_int_equal(dev.ifindex, ifindex);
	assert_string_equal(addresses(), "10.244.1.0/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.1.0"));
	overlay_dev_close(&dev);
}

static void test_follows_a_new_mtu(void **state)
{
	struct overlay_dev dev = configured();
	struct nl *nl = watch();

	(void)state;
	assert_true(configure(&dev, network, subnet, 1372));
	assert_string_equal(noted(nl), "");
	assert_non_null(strstr(output("ip link show " NAME), "mtu 1372 "));
	overlay_dev_close(&dev);
}

static void test_new_subnet_replaces_the_route_before_the_old_address_goes(void **state)
{
	struct overlay_dev dev = configured();
	struct nl *nl = watch();

	(void)state;
	assert_true(configure(&dev, network, other, 1472));
	assert_string_equal(noted(nl), "+addr +route -addr ");
	assert_string_equal(addresses(), "10.244.2.0/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.2.0"));
	overlay_dev_close(&dev);
}

static void test_new_network_takes_the_old_route_and_address_away(void **state)
{
	const struct prefix4 new_network = {IP(10, 245, 0, 0), 16};
	const struct prefix4 new_subnet = {IP(10, 245, 7, 0), 24};
	struct overlay_dev dev = configured();

	(void)state;
	assert_true(configure(&dev, new_network, new_subnet, 1472));
	assert_string_equal(addresses(), "10.245.7.0/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.245.0.0/16", "10.245.7.0"));
	overlay_dev_close(&dev);
}

static void test_wider_network_keeps_the_address(void **state)
{
	const struct prefix4 wide = {IP(10, 240, 0, 0), 12};
	struct overlay_dev dev = configured();
	struct nl *nl = watch();

	(void)state;
	assert_true(configure(&dev, wide, subnet, 1472));
	assert_string_equal(noted(nl), "+route -route ");
	assert_string_equal(addresses(), "10.244.1.0/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.240.0.0/12", "10.244.1.0"));
	overlay_dev_close(&dev);
}

/* flannel's own daemon, and old versions of it, leave other shapes of the same behind. */
static void test_repairs_what_others_left(void **state)
{
	struct overlay_dev dev = opened();

	(void)state;
	run("ip link set " NAME " up mtu 1400 && ip addr add 10.244.1.0/16 dev " NAME);
	run("ip addr add 10.244.9.0/32 dev " NAME " && ip addr add 10.244.8.1/24 dev " NAME);
	run("ip addr add 10.244.1.0 peer 10.244.3.0/32 dev " NAME);
	assert_true(configure(&dev, network, subnet, 1472));
	assert_string_equal(addresses(), "10.244.1.0/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.1.0"));
	run("ip route replace 10.244.0.0/16 dev " NAME);
	assert_true(configure(&dev, network, subnet, 1472));
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.1.0"));
	run("ip link set " NAME " down");
	assert_true(configure(&dev, network, subnet, 1472));
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.1.0"));
	overlay_dev_close(&dev);
}

static void test_removes_any_number_of_left_overs(void **state)
{
	struct overlay_dev dev = opened();
	char command[96];

	(void)state;
	for (int i = 2; i < 52; i++) {
		snprintf(command, sizeof(command), "ip addr add 10.244.%d.0/32 dev " NAME, i);
		run(command);
	}
	assert_true(configure(&dev, network, subnet, 1472));
	assert_string_equal(addresses(), "10.244.1.0/32 scope global\n");
	overlay_dev_close(&dev);
}

static void test_leaves_what_is_not_its_own(void **state)
{
	struct overlay_dev dev = configured();

	(void)state;
	run("ip addr add 192.0.2.1/32 dev " NAME);
	run("ip route add 172.16.0.0/12 dev " NAME " proto static scope global "
	    "src 10.244.1.0");
	run("ip link add br0 type bridge && ip link set br0 up");
	run("ip addr add 10.244.5.5/32 dev br0");
	configure(&dev, network, subnet, 1472);
	assert_string_equal(addresses(), "10.244.1.0/32 scope global\n192.0.2.1/32 scope global\n");
	assert_string_equal(routes(), ROUTE("10.244.0.0/16", "10.244.1.0")
					      ROUTE("172.16.0.0/12", "10.244.1.0"));
	assert_non_null(strstr(output("ip addr show dev br0"), "10.244.5.5/32"));
	overlay_dev_close(&dev);
}

static void test_held_by_another_is_busy(void **state)
{
	struct overlay_dev dev = opened(), second = {.n_queues = 7};

	(void)state;
	assert_int_equal(overlay_dev_open(NAME, 2, true, &second), -EBUSY);
	assert_int_equal(second.n_queues, 7);
	overlay_dev_close(&dev);
}

static void test_refuses_what_is_no_tun(void **state)
{
	struct overlay_dev dev = {.n_queues = 7};

	(void)state;
	run("ip link add " NAME " type bridge && ip tuntap add tap0 mode tap");
	assert_int_equal(overlay_dev_open(NAME, 2, true, &dev), -EEXIST);
	assert_int_equal(overlay_dev_open("tap0", 1, true, &dev), -EEXIST);
	assert_int_equal(overlay_dev_delete(NAME), -EEXIST);
	assert_int_equal(overlay_dev_delete("tap0"), -EEXIST);
	assert_int_not_equal(if_nametoindex(NAME), 0);
	assert_int_not_equal(if_nametoindex("tap0"), 0);
	assert_int_equal(dev.n_queues, 7);
}

static void test_refuses_odd_names(void **state)
{
	struct overlay_dev dev;

	(void)state;
	assert_int_equal(overlay_dev_open("", 1, true, &dev), -EINVAL);
	assert_int_equal(overlay_dev_open("tun%d", 1, true, &dev), -EINVAL);
	assert_int_equal(overlay_dev_open("../../x", 1, true, &dev), -EINVAL);
	assert_int_equal(overlay_dev_open("a-name-of-16-chr", 1, true, &dev), -EINVAL);
	assert_int_equal(if_nametoindex("tun0"), 0);
}

static void test_names_of_full_length(void **state)
{
	struct overlay_dev dev;

	(void)state;
	assert_int_equal(overlay_dev_open("a.name-of-15-ch", 1, true, &dev), 0);
	assert_string_equal(dev.ifname, "a.name-of-15-ch");
	configure(&dev, network, subnet, 1472);
	overlay_dev_close(&dev);
}

static void test_configure_of_a_deleted_device_fails(void **state)
{
	struct overlay_dev dev = opened();
	bool changed;

	(void)state;
	run("ip link del " NAME);
	assert_int_equal(overlay_dev_configure(&dev, network, subnet, 1472, &changed), -ENODEV);
	assert_false(changed);
	overlay_dev_close(&dev);
}

static void test_deletes(void **state)
{
	struct overlay_dev dev = configured();

	(void)state;
	overlay_dev_close(&dev);
	assert_int_equal(overlay_dev_delete(NAME), 0);
	assert_int_equal(if_nametoindex(NAME), 0);
	assert_int_equal(overlay_dev_delete(NAME), 0);
	dev = configured();
	assert_int_equal(overlay_dev_delete(NAME), 0);
	assert_int_equal(if_nametoindex(NAME), 0);
	overlay_dev_close(&dev);
}

static void test_says_when_the_kernel_has_no_tun(void **state)
{
	struct overlay_dev dev;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("none", "/dev/net", "tmpfs", 0, NULL))
			_exit(100);
		_exit(overlay_dev_open(NAME, 2, true, &dev) == -ENOENT ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_creates_a_persistent_tun, setup),
		cmocka_unit_test_setup(test_offloads_are_the_owners_choice, setup),
		cmocka_unit_test_setup(test_adopts_a_device_of_one_queue, setup),
		cmocka_unit_test_setup(test_configures_address_route_and_link, setup),
		cmocka_unit_test_setup(test_changes_nothing_that_is_right, setup),
		cmocka_unit_test_setup(test_adopts_without_a_flap, setup),
		cmocka_unit_test_setup(test_follows_a_new_mtu, setup),
		cmocka_unit_test_setup(
			test_new_subnet_replaces_the_route_before_the_old_address_goes, setup),
		cmocka_unit_test_setup(test_new_network_takes_the_old_route_and_address_away,
				       setup),
		cmocka_unit_test_setup(test_wider_network_keeps_the_address, setup),
		cmocka_unit_test_setup(test_repairs_what_others_left, setup),
		cmocka_unit_test_setup(test_removes_any_number_of_left_overs, setup),
		cmocka_unit_test_setup(test_leaves_what_is_not_its_own, setup),
		cmocka_unit_test_setup(test_held_by_another_is_busy, setup),
		cmocka_unit_test_setup(test_refuses_what_is_no_tun, setup),
		cmocka_unit_test_setup(test_refuses_odd_names, setup),
		cmocka_unit_test_setup(test_names_of_full_length, setup),
		cmocka_unit_test_setup(test_configure_of_a_deleted_device_fails, setup),
		cmocka_unit_test_setup(test_deletes, setup),
		cmocka_unit_test_setup(test_says_when_the_kernel_has_no_tun, setup),
	};
	return cmocka_run_group_tests_name("overlay_dev", tests, NULL, NULL);
}
