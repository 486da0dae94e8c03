/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The devices that are ours, while others change them: what was taken from the overlay device (its
 * address, its route, that it is up) is put back, and where a device is gone the agent starts anew,
 * which makes it again.
 */
#include <errno.h>
#include <linux/rtnetlink.h>

#include "agent_priv.h"
#include "log.h"
#include "rtnl.h"
#include "util.h"

/* Several events make one look: a device that goes down loses its route, too. */
#define SETTLE_MS 50
#define RETRY_MS 1000

static bool is_ours(const struct agent *a, uint32_t ifindex)
{
	return ifindex && (ifindex == a->tun.ifindex || ifindex == a->aggregator.tx_ifindex ||
			   ifindex == a->aggregator.rx_ifindex || ifindex == a->vtep_ifindex);
}

static bool is_networks_route(const struct agent *a, const struct nlmsghdr *nlh)
{
	uint32_t first, last;

	return rtnl_route_range(nlh, &first, &last) == 0 && first == a->conf.network.addr &&
	       last == (first | ~prefix4_mask(a->conf.network.len));
}

static bool concerns_us(const struct agent *a, const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi = NLMSG_DATA(nlh);
	const struct ifaddrmsg *ifa = NLMSG_DATA(nlh);

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(*ifi)) &&
		       is_ours(a, (uint32_t)ifi->ifi_index);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(*ifa)) &&
		       ifa->ifa_index == a->tun.ifindex;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return is_networks_route(a, nlh);
	}
	return false;
}

static int on_event(const struct nlmsghdr *nlh, void *arg)
{
	struct agent *a = arg;

	if (concerns_us(a, nlh))
		loop_timer_arm(a->devices_timer, SETTLE_MS, 0);
	return 0;
}

static void on_readable(void *arg)
{
	struct agent *a = arg;
	bool overrun;
	int err = nl_receive(a->device_events, on_event, a, &overrun);

	if (err)
		log_err(err, "cannot receive events of devices");
	if (err || overrun)
		loop_timer_arm(a->devices_timer, SETTLE_MS, 0);
}

/* 0, or why it is not as it has to be: -ENODEV when it is gone. */
static int look_after(const struct agent *a, uint32_t ifindex)
{
	struct rtnl_link link;
	int err;

	if (ifindex == 0)
		return 0;
	err = rtnl_link_get(a->nl, ifindex, NULL, &link);
	if (err || link.up)
		return err;
	log_info("%s: put up again", link.ifname);
	return rtnl_link_set_up(a->nl, ifindex);
}

static int look_after_all(struct agent *a)
{
	const uint32_t receivers[] = {a->aggregator.tx_ifindex, a->aggregator.rx_ifindex,
				      a->vtep_ifindex};
	bool changed;
	int err = overlay_dev_configure(&a->tun, a->conf.network, a->own.subnet, a->mtu, &changed);

	if (err == 0 && changed)
		log_info("%s: put back what was taken from it", a->tun.ifname);
	for (size_t i = 0; err == 0 && i < ARRAY_SIZE(receivers); i++)
		err = look_after(a, receivers[i]);
	return err;
}

static void on_settled(void *arg)
{
	struct agent *a = arg;
	int err = look_after_all(a);

	a->devices_amiss = err != 0;
	if (err == -ENODEV) {
		log_warn("a device of ours is gone: starting anew");
		address_start_anew(a);
	} else if (err) {
		loop_timer_arm(a->devices_timer, RETRY_MS, 0);
	}
}

int devices_open(struct agent *a)
{
	int err = loop_timer_new(a->loop, on_settled, a, &a->devices_timer);

	if (err == 0)
		err = nl_open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE,
			      &a->device_events);
	if (err == 0)
		err = loop_add(a->loop, nl_fd(a->device_events), on_readable, a);
	if (err)
		return log_err(err, "cannot watch devices");
	/* What happened since they were made */
	loop_timer_arm(a->devices_timer, SETTLE_MS, 0);
	return 0;
}
