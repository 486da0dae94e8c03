/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "agent_priv.h"
#include "fou_dev.h"
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
	       (a->opt->receive == RECEIVE_AUTO && a->format == WEFT_FORMAT_UDP &&
		!a->vtep_ifindex);
}

bool receive_has_kernel(const struct agent *a, enum weft_format format)
{
	return a->vtep_ifindex && a->format == format;
}

static void delete_fou(struct agent *a)
{
	if (fou_dev_delete(a->nl, a->opt->tun, a->fou_port) || !a->fou_port)
		return;
	a->fou_port = 0;
	tier_remember(a);
}

static int open_vtep(struct agent *a)
{
	if (a->format == WEFT_FORMAT_VXLAN)
		return vxlan_dev_open(a->nl, a->opt->tun, a->conf.vxlan_port, a->own.vtep.mac,
				      &a->vtep_ifindex);
	if (a->fou_port && a->fou_port != a->conf.port)
		delete_fou(a);
	return fou_dev_open(a->nl, a->opt->tun, a->conf.port, &a->vtep_ifindex);
}

static int start_vtep(struct agent *a)
{
	if (a->format == WEFT_FORMAT_VXLAN)
		return vxlan_dev_start(a->nl, a->vtep_ifindex);
	a->fou_port = a->conf.port;
	tier_remember(a);
	return fou_dev_start(a->nl, a->vtep_ifindex, a->conf.port);
}

static void delete_vteps(struct agent *a)
{
	a->vtep_ifindex = 0;
	vxlan_dev_delete(a->nl, a->opt->tun);
	delete_fou(a);
}

/* FOU keeps the port for itself: not where the agent is to send from it. */
static bool has_vtep(const struct agent *a)
{
	return a->format == WEFT_FORMAT_VXLAN ||
	       (a->format == WEFT_FORMAT_UDP && a->opt->entropy && a->opt->tun_io == TUN_IO_BATCH);
}

/* That format udp has none is usual. */
static void say_no_vtep(const struct agent *a, int err)
{
	if (a->format == WEFT_FORMAT_VXLAN)
		log_warn("vxlan port %u: the kernel does not receive there: %s", a->conf.vxlan_port,
			 strerror(-err));
	else if (a->opt->receive == RECEIVE_KERNEL || (err != -ENOENT && err != -EOPNOTSUPP))
		log_warn("port %u: the kernel does not receive there (FOU): %s", a->conf.port,
			 strerror(-err));
}

void receive_prepare(struct agent *a)
{
	int err;

	if (!a->datapath || !wants_kernel(a) || !has_vtep(a)) {
		delete_vteps(a);
		return;
	}
	if (a->format == WEFT_FORMAT_VXLAN)
		delete_fou(a);
	else
		vxlan_dev_delete(a->nl, a->opt->tun);
	err = open_vtep(a);
	/* Nothing may come in unjudged. */
	if (err == 0)
		err = datapath_attach(a->datapath, WEFT_HOOK_VTEP, a->vtep_ifindex);
	if (err == 0)
		err = start_vtep(a);
	if (err == 0)
		return;
	say_no_vtep(a, err);
	datapath_detach(a->datapath, WEFT_HOOK_VTEP, a->vtep_ifindex);
	delete_vteps(a);
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
	aggregator_delete(a->nl, a->opt->tun);
	delete_vteps(a);
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
