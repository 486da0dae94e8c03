/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rules.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "netlink.h"
#include "rules_legacy.h"
#include "util.h"

#define LEGACY_POLL_MS 1000

struct rules {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	struct mnl_socket *nft;
	struct nl *rtnl;
	struct loop_timer *settle, *poll;
	bool pending;
	uint64_t legacy;
};

static void changed(struct rules *r)
{
	if (r->pending)
		return;
	r->pending = true;
	loop_timer_arm(r->settle, RULES_SETTLE_MS, 0);
}

static void on_settle(void *arg)
{
	struct rules *r = arg;

	r->pending = false;
	r->fn(r->arg);
}

/* Every transaction ends with the number of the new rule set (nf_tables_gen_notify()). */
static bool is_new_generation(const struct nlmsghdr *nlh)
{
	return NFNL_SUBSYS_ID(nlh->nlmsg_type) == NFNL_SUBSYS_NFTABLES &&
	       NFNL_MSG_TYPE(nlh->nlmsg_type) == NFT_MSG_NEWGEN;
}

static void on_nft(void *arg)
{
	struct rules *r = arg;
	char buf[64 * 1024];
	ssize_t n;

	for (;;) {
		int left;

		n = recv(mnl_socket_get_fd(r->nft), buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == ENOBUFS)
			changed(r);
		else if (n <= 0)
			return;
		left = (int)n;
		for (struct nlmsghdr *nlh = (void *)buf; mnl_nlmsg_ok(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left))
			if (is_new_generation(nlh))
				changed(r);
	}
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	(void)nlh;
	changed(arg);
	return 0;
}

static void on_rtnl(void *arg)
{
	struct rules *r = arg;
	bool overrun = false;

	nl_receive(r->rtnl, on_route, r, &overrun);
	if (overrun)
		changed(r);
}

static void on_poll(void *arg)
{
	struct rules *r = arg;
	uint64_t now = rules_legacy_hash();

	if (now != r->legacy)
		changed(r);
	r->legacy = now;
}

static int watch_nft(struct rules *r)
{
	int group = NFNLGRP_NFTABLES, bytes = 4 << 20;

	r->nft = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!r->nft)
		return -errno;
	/* A rule set of 10,000 rules tells of each. */
	setsockopt(mnl_socket_get_fd(r->nft), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	if (mnl_socket_bind(r->nft, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(r->nft, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	return loop_add(r->loop, mnl_socket_get_fd(r->nft), on_nft, r);
}

static int watch_routes(struct rules *r)
{
	int err = nl_open(1 << (RTNLGRP_IPV4_ROUTE - 1) | 1 << (RTNLGRP_IPV4_RULE - 1) |
				  1 << (RTNLGRP_IPV4_IFADDR - 1),
			  &r->rtnl);

	return err ? err : loop_add(r->loop, nl_fd(r->rtnl), on_rtnl, r);
}

static void warn(int err, const char *what)
{
	if (err)
		log_warn("changes of %s are not noticed (%s): use weft flows flush", what,
			 strerror(-err));
}

int rules_watch(struct loop *loop, loop_fn fn, void *arg, struct rules **out)
{
	struct rules *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	*r = (struct rules){.loop = loop, .fn = fn, .arg = arg};
	err = loop_timer_new(loop, on_settle, r, &r->settle);
	if (err == 0)
		err = loop_timer_new(loop, on_poll, r, &r->poll);
	if (err) {
		rules_close(r);
		return err;
	}
	warn(watch_nft(r), "nftables");
	warn(watch_routes(r), "routes");
	r->legacy = rules_legacy_hash();
	loop_timer_arm(r->poll, LEGACY_POLL_MS, LEGACY_POLL_MS);
	*out = r;
	return 0;
}

void rules_close(struct rules *r)
{
	if (!r)
		return;
	loop_timer_disarm(r->settle);
	loop_timer_disarm(r->poll);
	if (r->nft) {
		loop_remove(r->loop, mnl_socket_get_fd(r->nft));
		mnl_socket_close(r->nft);
	}
	if (r->rtnl)
		loop_remove(r->loop, nl_fd(r->rtnl));
	nl_close(r->rtnl);
	free(r);
}
