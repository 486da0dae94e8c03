/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rules.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "log.h"
#include "netlink.h"
#include "nft.h"
#include "rules_legacy.h"
#include "util.h"

#define LEGACY_POLL_MS 1000

struct rules {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	struct nft_watch *nft;
	struct nl *rtnl;
	struct loop_timer *settle, *poll;
	bool pending;
	struct rules_legacy legacy;
};

static void changed(void *arg)
{
	struct rules *r = arg;

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

	if (rules_legacy_look(&r->legacy) > 0)
		changed(r);
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
	if (err < 0)
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
	warn(nft_watch_open(loop, 0, changed, r, &r->nft), "nftables");
	warn(watch_routes(r), "routes");
	warn(rules_legacy_look(&r->legacy), "legacy iptables");
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
	nft_watch_close(r->nft);
	if (r->rtnl)
		loop_remove(r->loop, nl_fd(r->rtnl));
	nl_close(r->rtnl);
	rules_legacy_free(&r->legacy);
	free(r);
}
