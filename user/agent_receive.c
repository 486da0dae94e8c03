/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <string.h>

#include "agent_priv.h"
#include "log.h"
#include "vxlan_dev.h"

/* Format ipip is merged by the IPv4 stack itself (net/ipv4/af_inet.c, ipip_gro_receive()). */
static bool wants_kernel(const struct agent *a)
{
	return a->opt->receive == RECEIVE_AUTO || a->opt->receive == RECEIVE_KERNEL;
}

static bool wants_aggregator(const struct agent *a)
{
	return a->opt->receive == RECEIVE_AGGREGATE ||
	       (a->opt->receive == RECEIVE_AUTO && a->format == WEFT_FORMAT_UDP);
}

void receive_prepare(struct agent *a)
{
	int err;

	if (!a->datapath || !wants_kernel(a) || a->format != WEFT_FORMAT_VXLAN) {
		vxlan_dev_delete(a->nl, a->opt->tun);
		return;
	}
	err = vxlan_dev_open(a->nl, a->opt->tun, a->conf.vxlan_port, a->own.vtep.mac,
			     &a->vtep_ifindex);
	/* Nothing may come in unjudged. */
	if (err == 0)
		err = datapath_attach(a->datapath, WEFT_HOOK_VTEP, a->vtep_ifindex);
	if (err == 0)
		err = vxlan_dev_start(a->nl, a->vtep_ifindex);
	if (err == 0)
		return;
	log_warn("vxlan port %u: the kernel does not receive there: %s", a->conf.vxlan_port,
		 strerror(-err));
	datapath_detach(a->datapath, WEFT_HOOK_VTEP, a->vtep_ifindex);
	a->vtep_ifindex = 0;
	vxlan_dev_delete(a->nl, a->opt->tun);
}

void receive_attach(struct agent *a)
{
	struct aggregator pair = {};
	int err;

	if (!wants_aggregator(a)) {
		aggregator_delete(a->nl, a->opt->tun);
		return;
	}
	err = aggregator_open(a->nl, a->opt->tun, underlay_uplink(a->underlay)->ifname, &pair);
	if (err == 0)
		err = datapath_attach(a->datapath, WEFT_HOOK_AGGREGATE, pair.rx_ifindex);
	if (err) {
		log_warn("no receive aggregation: %s", strerror(-err));
		datapath_detach(a->datapath, WEFT_HOOK_AGGREGATE, pair.rx_ifindex);
		return;
	}
	a->aggregator = pair;
}

/* The driver may have none, or need more queues or smaller frames for it, or be taken. */
void receive_on_uplink(struct agent *a, uint32_t ifindex)
{
	int err;

	if (a->opt->receive != RECEIVE_XDP)
		return;
	err = datapath_attach(a->datapath, WEFT_HOOK_STRIP, ifindex);
	if (err) {
		log_warn("going on without native XDP: %s", strerror(-err));
		datapath_detach(a->datapath, WEFT_HOOK_STRIP, ifindex);
	}
	a->xdp = err == 0;
}

void receive_abandon(struct agent *a)
{
	a->xdp = false;
	a->aggregator = (struct aggregator){};
	a->vtep_ifindex = 0;
	aggregator_delete(a->nl, a->opt->tun);
	vxlan_dev_delete(a->nl, a->opt->tun);
}

const char *receive_name(const struct agent *a)
{
	if (!a->datapath)
		return "socket";
	if (a->xdp)
		return "xdp";
	if (a->vtep_ifindex || a->format == WEFT_FORMAT_IPIP)
		return "kernel";
	return a->aggregator.tx_ifindex ? "aggregate" : "strip";
}
