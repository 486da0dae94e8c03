/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "agent_priv.h"
#include "log.h"
#include "rtnl.h"
#include "state_dir.h"
#include "util.h"

#define REMEMBER_AGAIN_MS 1000

/* The slow path. */

/* One for each CPU we may use. */
static size_t n_workers(const struct options *opt)
{
	cpu_set_t cpus;
	size_t n;

	if (opt->tun_io == TUN_IO_PLAIN || sched_getaffinity(0, sizeof(cpus), &cpus))
		return 1;
	n = (size_t)CPU_COUNT(&cpus);
	return n < OVERLAY_QUEUES_MAX ? n : OVERLAY_QUEUES_MAX;
}

static int start_forward(struct agent *a)
{
	struct forward_config config = {
		.addr = underlay_uplink(a->underlay)->addr,
		.format = a->format,
		.port = a->conf.port,
		.vxlan_port = receive_has_kernel(a, WEFT_FORMAT_VXLAN) ? 0 : a->conf.vxlan_port,
		.ipip = true,
		.fou = receive_has_kernel(a, WEFT_FORMAT_UDP),
		.plain = a->opt->tun_io == TUN_IO_PLAIN,
		.n_queues = a->tun.n_queues,
		.vnet = a->tun.vnet,
		.uso = a->tun.uso,
		.entropy = a->opt->entropy,
		.tap = tracer_tap(a->tracer),
	};

	_Static_assert(FORWARD_QUEUES_MAX >= OVERLAY_QUEUES_MAX, "all queues are served");
	memcpy(config.tun_fds, a->tun.queues, a->tun.n_queues * sizeof(int));
	return forward_start(&config, &a->forward);
}

int tier_open_slow_path(struct agent *a)
{
	char ip[INET_ADDRSTRLEN];
	int err = overlay_dev_open(a->opt->tun, n_workers(a->opt), a->opt->tun_io == TUN_IO_BATCH,
				   &a->tun);

	if (err)
		return log_err(err, "%s", a->opt->tun);
	err = apply_device(a);
	if (err)
		return err;
	receive_prepare(a);
	err = start_forward(a);
	if (err)
		return log_err(err, "cannot receive format %s on %s (ports %u and %u)",
			       format_name(a->format),
			       ip4_format(underlay_uplink(a->underlay)->addr, ip), a->conf.port,
			       a->conf.vxlan_port);
	apply_table(a);
	return 0;
}

/* Programs. */

int tier_attach_uplink(struct agent *a)
{
	uint32_t ifindex = underlay_uplink(a->underlay)->ifindex;
	int err;

	if (!a->datapath || ifindex == 0 || ifindex == a->uplink_ifindex)
		return 0;
	err = datapath_attach(a->datapath, WEFT_HOOK_UPLINK, ifindex);
	if (err == 0)
		receive_on_uplink(a, ifindex);
	if (a->uplink_ifindex) {
		datapath_detach(a->datapath, WEFT_HOOK_STRIP, a->uplink_ifindex);
		datapath_detach(a->datapath, WEFT_HOOK_UPLINK, a->uplink_ifindex);
	}
	a->uplink_ifindex = ifindex;
	return err;
}

static void on_hint(const struct weft_hint *hint, void *arg)
{
	struct agent *a = arg;

	if (hint->type == WEFT_HINT_ENDPOINT && a->endpoints)
		endpoints_hint(a->endpoints, ntohl(hint->addr), hint->ifindex);
	else if (hint->type == WEFT_HINT_PEER_MAC)
		underlay_probe(a->underlay, ntohl(hint->addr));
	else if (hint->type == WEFT_HINT_PATH_MTU)
		underlay_learn_mtu(a->underlay, ntohl(hint->addr), hint->mtu);
}

/* A tier that cannot be had: what `auto` goes on from and `bpf` fails with. */
static bool lacks_bpf(int err)
{
	return err == -EPERM || err == -EACCES || err == -EOPNOTSUPP || err == -ENODEV ||
	       err == -ENOSYS || err == -EINVAL;
}

/* Programs that are running already must not lose the bridge's MAC until the events bring it. */
static void find_bridge_mac(struct agent *a)
{
	struct rtnl_link link;

	if (rtnl_link_get(a->nl, 0, a->opt->bridge, &link) == 0)
		memcpy(a->bridge_mac, link.mac, 6);
}

static int fill_and_attach(struct agent *a)
{
	int err = datapath_on_hint(a->datapath, a->loop, on_hint, a);

	find_bridge_mac(a);
	receive_attach(a);
	if (err == 0)
		err = approve_start(a);
	/* Programs are replaced last, by ones whose maps are complete. */
	if (err == 0)
		err = apply_all(a);
	if (err == 0)
		err = datapath_complete(a->datapath);
	if (err == 0)
		err = datapath_attach(a->datapath, WEFT_HOOK_ENTER, a->tun.ifindex);
	if (err == 0)
		err = datapath_attach(a->datapath, WEFT_HOOK_TUN, a->tun.ifindex);
	if (err == 0)
		err = tier_attach_uplink(a);
	return err;
}

/* Programs and maps only, before any device is touched: a refusal leaves no trace. */
static int load_datapath(struct agent *a)
{
	if (!a->pin_dir[0])
		return log_err(-ENODEV, "no bpffs for pins");
	return datapath_open(a->pin_dir, a->opt->attach, a->opt->approve_max, &a->datapath);
}

/* 0 where tier tun may stand in for what failed with err, else err and the exit status. */
static int settle_for_tun(struct agent *a, int err)
{
	if (err == -EPROTO)
		a->status = EXIT_VERSION;
	else if (lacks_bpf(err))
		a->status = EXIT_PRIVILEGE;
	if (a->opt->datapath == DATAPATH_BPF || err == -EPROTO)
		return log_err(err, "datapath bpf is not available");
	a->status = EXIT_STOPPED;
	log_warn("datapath tun: bpf is not available (%s)", strerror(-err));
	return 0;
}

void tier_remember(void *arg)
{
	struct agent *a = arg;
	int err = state_dir_remember(a->opt, a->pin_dir, &a->conntrack, a->fou_port);

	if (err && !a->forgetful)
		log_warn("%s/made: not written (%s); cleanup has to go by its flags",
			 a->opt->state_dir, strerror(-err));
	a->forgetful = err;
	if (err)
		loop_timer_arm(a->remember_timer, REMEMBER_AGAIN_MS, 0);
}

int tier_choose(struct agent *a)
{
	int err = 0;

	state_dir_recall(a->opt->state_dir, &a->conntrack, &a->fou_port);
	if (a->opt->datapath == DATAPATH_TUN)
		log_info("datapath tun: as demanded");
	else
		err = load_datapath(a);
	if (err)
		err = settle_for_tun(a, err);
	if (err == 0)
		tier_remember(a);
	return err;
}

static void abandon_datapath(struct agent *a)
{
	datapath_close(a->datapath);
	a->datapath = NULL;
	a->uplink_ifindex = 0;
	datapath_cleanup(a->pin_dir[0] ? a->pin_dir : NULL);
	receive_abandon(a);
	approve_abandon(a);
	tier_remember(a);
}

static void open_guard(struct agent *a)
{
	const struct port_guard_config config = {
		.tun = a->opt->tun,
		.network = a->conf.network,
		.port = a->conf.port,
		.vxlan_port = a->conf.vxlan_port,
		.lost = apply_guard,
		.arg = a,
	};

	if (port_guard_open(a->loop, &config, &a->guard))
		log_warn("no nftables for bridges: local pods' addresses are not protected");
	loop_timer_arm(a->guard_timer, 10, 0);
}

static int take_tun(struct agent *a)
{
	int err = 0;

	/* What a program received so far is the loop's now. */
	if (a->format != WEFT_FORMAT_IPIP && a->opt->datapath != DATAPATH_TUN) {
		forward_stop(take_ptr(a->forward));
		err = start_forward(a);
	}
	if (err)
		return log_err(err, "cannot receive format %s", format_name(a->format));
	open_guard(a);
	forward_set_merging(a->forward, true);
	return apply_all(a);
}

int tier_start(struct agent *a)
{
	int err = a->datapath ? fill_and_attach(a) : 0;

	if (a->datapath && err == 0) {
		log_info("datapath bpf");
		port_guard_delete(a->opt->tun);
		return 0;
	}
	if (err)
		err = settle_for_tun(a, err);
	if (err)
		return err;
	abandon_datapath(a);
	return take_tun(a);
}
