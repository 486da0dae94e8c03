/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Requests, dumps and subscriptions against the kernel, in a namespace of the test's own. */
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "netlink.h"
#include "underlay_rig.h"

#define MANY_LINKS 100

static struct nlmsghdr *get_links(char *buf, uint16_t flags, int ifindex)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = flags;
	ifi->ifi_index = ifindex;
	return nlh;
}

static int count(const struct nlmsghdr *nlh, void *arg)
{
	assert_int_equal(nlh->nlmsg_type, RTM_NEWLINK);
	++*(int *)arg;
	return 0;
}

static int stop_at_third(const struct nlmsghdr *nlh, void *arg)
{
	count(nlh, arg);
	return *(int *)arg == 3 ? -ECANCELED : 0;
}

static void new_namespace(void)
{
	if (unshare(CLONE_NEWNET))
		skip();
}

static void add_links(int n)
{
	run("for i in $(seq %d); do echo link add b$i type bridge; done | ip -batch -", n);
}

static void kernel_errors_are_returned(void **state)
{
	char buf[512] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nl *nl = NULL;
	int n = 0;

	(void)state;
	new_namespace();
	assert_int_equal(nl_open(0, &nl), 0);
	assert_int_equal(nl_request(nl, get_links(buf, 0, 4242), count, &n), -ENODEV);
	assert_int_equal(n, 0);
	assert_int_equal(nl_request(nl, get_links(buf, 0, 1), count, &n), 0);
	assert_int_equal(n, 1);
	/* The answers need no reader. */
	assert_int_equal(nl_request(nl, get_links(buf, NLM_F_DUMP, 0), NULL, NULL), 0);
	nl_close(nl);
	nl_close(NULL);
}

/* The kernel needs several messages for these. */
static void dump_is_read_to_its_end(void **state)
{
	char buf[512] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nl *nl = NULL;
	int n = 0;

	(void)state;
	new_namespace();
	add_links(MANY_LINKS);
	assert_int_equal(nl_open(0, &nl), 0);
	assert_int_equal(nl_request(nl, get_links(buf, NLM_F_DUMP, 0), count, &n), 0);
	assert_in_range(n, 1 + MANY_LINKS, 20 + MANY_LINKS);
	/* After the reader gave up, the socket is good for the next request. */
	n = 0;
	assert_int_equal(nl_request(nl, get_links(buf, NLM_F_DUMP, 0), stop_at_third, &n),
			 -ECANCELED);
	assert_int_equal(n, 3);
	n = 0;
	assert_int_equal(nl_request(nl, get_links(buf, NLM_F_DUMP, 0), count, &n), 0);
	assert_in_range(n, 1 + MANY_LINKS, 20 + MANY_LINKS);
	nl_close(nl);
}

static void events_are_received_and_overrun_is_told(void **state)
{
	const int bytes = 4096;
	struct nl *nl = NULL;
	bool overrun = true;
	int n = 0;

	(void)state;
	new_namespace();
	assert_int_equal(nl_open(1u << (RTNLGRP_LINK - 1), &nl), 0);
	assert_int_equal(nl_receive(nl, count, &n, &overrun), 0);
	assert_int_equal(n, 0);
	assert_false(overrun);
	ip("link set lo mtu 60000");
	assert_int_equal(nl_receive(nl, count, &n, &overrun), 0);
	assert_int_equal(n, 1);
	assert_false(overrun);
	setsockopt(nl_fd(nl), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	add_links(50);
	assert_int_equal(nl_receive(nl, count, &n, &overrun), 0);
	assert_true(overrun);
	ip("link set lo mtu 50000");
	/* A reader's error is told, but does not keep events from it. */
	ip("link set lo mtu 40000");
	n = 2;
	assert_int_equal(nl_receive(nl, stop_at_third, &n, &overrun), -ECANCELED);
	assert_int_equal(n, 4);
	assert_false(overrun);
	nl_close(nl);
}

/* Events arrive on the socket that waits for an answer: they are not mistaken for it. */
static void answers_are_told_from_events(void **state)
{
	char buf[512] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nl *nl = NULL;
	int n = 0;

	(void)state;
	new_namespace();
	assert_int_equal(nl_open(1u << (RTNLGRP_LINK - 1), &nl), 0);
	ip("link set lo mtu 60000");
	assert_int_equal(nl_request(nl, get_links(buf, 0, 1), count, &n), 0);
	assert_int_equal(n, 1);
	nl_close(nl);
}

/* Lengths of messages as they are, and as no kernel sends them. */
static void only_whole_messages_are_taken(void **state)
{
	char buf[64] __attribute__((aligned(NLMSG_ALIGNTO))) = {0};
	struct nlmsghdr *nlh = (void *)buf;

	(void)state;
	nlh->nlmsg_len = 32;
	assert_true(nl_is_message(nlh, 64));
	assert_true(nl_is_message(nlh, 32));
	assert_false(nl_is_message(nlh, 31));
	assert_false(nl_is_message(nlh, -4));
	nlh->nlmsg_len = 15;
	assert_false(nl_is_message(nlh, 64));
	nlh->nlmsg_len = 0x80000010;
	assert_false(nl_is_message(nlh, 64));
	nlh->nlmsg_len = UINT32_MAX;
	assert_false(nl_is_message(nlh, 64));
}

/* While links come and go each dump is whole, or says that it could not be. */
static void dump_amid_changes(void **state)
{
	char buf[512] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nl *nl = NULL;
	pid_t pid;
	int i, n, err;

	(void)state;
	new_namespace();
	add_links(MANY_LINKS);
	assert_int_equal(nl_open(0, &nl), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			ip("link add c type bridge");
			ip("link del c");
		}
	}
	for (i = 0; i < 50; i++) {
		n = 0;
		err = nl_request(nl, get_links(buf, NLM_F_DUMP, 0), count, &n);
		assert_true(err == 0 || err == -EAGAIN);
		assert_true(n >= MANY_LINKS);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	nl_close(nl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_errors_are_returned),
		cmocka_unit_test(dump_is_read_to_its_end),
		cmocka_unit_test(events_are_received_and_overrun_is_told),
		cmocka_unit_test(answers_are_told_from_events),
		cmocka_unit_test(dump_amid_changes),
		cmocka_unit_test(only_whole_messages_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
