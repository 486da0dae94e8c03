/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is read of a link's message. */
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "rtnl.h"

#define LOWER_UP (1u << 16)

static struct nlmsghdr *new_link(char buf[512])
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(memset(buf, 0, 512));
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = RTM_NEWLINK;
	ifi->ifi_index = 7;
	ifi->ifi_type = ARPHRD_ETHER;
	ifi->ifi_flags = IFF_UP | IFF_RUNNING | LOWER_UP;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "wlan0");
	return nlh;
}

static void test_link(void **state)
{
	_Alignas(struct nlmsghdr) char buf[512];
	struct nlmsghdr *nlh = new_link(buf);
	struct rtnl_link link;

	(void)state;
	mnl_attr_put_u32(nlh, IFLA_MTU, 1500);
	mnl_attr_put_u32(nlh, IFLA_MASTER, 3);
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, "\x02\x00\x00\x00\x00\x07");
	assert_int_equal(rtnl_link_parse(nlh, &link), 0);
	assert_int_equal(link.ifindex, 7);
	assert_string_equal(link.ifname, "wlan0");
	assert_int_equal(link.mtu, 1500);
	assert_int_equal(link.master, 3);
	assert_memory_equal(link.mac, "\x02\x00\x00\x00\x00\x07", 6);
	assert_true(link.up && link.ethernet && !link.port);
}

/* An event of the wireless extensions is a message of a link that lacks nearly all of it. */
static void test_wireless_event(void **state)
{
	_Alignas(struct nlmsghdr) char buf[512];
	struct nlmsghdr *nlh = new_link(buf);
	struct rtnl_link link, before;

	(void)state;
	mnl_attr_put(nlh, IFLA_WIRELESS, 8, "\x08\x00\x15\x8b\x00\x00\x00\x00");
	memset(&link, 0x55, sizeof(link));
	before = link;
	assert_int_equal(rtnl_link_parse(nlh, &link), -EPROTO);
	assert_memory_equal(&link, &before, sizeof(link));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_wireless_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
