/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "agent_priv.h"
#include "log.h"
#include "netlink.h"
#include "orphan.h"
#include "pins.h"
#include "privilege.h"
#include "state_dir.h"
#include "util.h"

#define SAY_LEASES_S 10
#define RETRY_MS 1000 /* after a state that could not be applied in full, and until ready */

static void apply_again(struct agent *a)
{
	a->incomplete = true;
	loop_timer_arm(a->reload_timer, RETRY_MS, 0);
}

/* Events of the underlay, the pods and the programs. */

static void on_peer(uint32_t public_ip, void *arg)
{
	struct agent *a = arg;

	if (apply_peer(a, public_ip, false))
		apply_again(a);
	apply_table_soon(a);
}

static void on_uplink(void *arg)
{
	struct agent *a = arg;
	const struct uplink *up = underlay_uplink(a->underlay);

	if (up->ifindex && up->mtu - format_overhead(a->format) != a->mtu) {
		log_info("%s: MTU %u, overlay MTU %u", up->ifname, up->mtu,
			 up->mtu - format_overhead(a->format));
		apply_device(a);
	}
	tier_attach_uplink(a);
	apply_config(a);
	apply_table_soon(a);
	address_check(a);
}

static void on_endpoint(const struct endpoint *ep, void *arg)
{
	apply_endpoint(arg, ep);
}

static void on_port(uint32_t ifindex, const char *ifname, bool up, void *arg)
{
	struct agent *a = arg;

	log_debug("port %s %s", ifname, up ? "added" : "removed");
	if (!a->datapath) {
		loop_timer_arm(a->guard_timer, 10, 0);
		return;
	}
	if (up) {
		/* What enters by the one hook is approved at the other. */
		datapath_attach(a->datapath, WEFT_HOOK_DELIVER, ifindex);
		datapath_attach(a->datapath, WEFT_HOOK_PORT, ifindex);
	} else {
		datapath_detach(a->datapath, WEFT_HOOK_PORT, ifindex);
		datapath_detach(a->datapath, WEFT_HOOK_DELIVER, ifindex);
	}
}

static void on_bridge(uint32_t ifindex, const uint8_t mac[6], void *arg)
{
	struct agent *a = arg;

	memcpy(a->bridge_mac, mac, 6);
	if (a->datapath && ifindex != a->bridge_ifindex) {
		if (ifindex)
			datapath_attach(a->datapath, WEFT_HOOK_BRIDGE, ifindex);
		if (a->bridge_ifindex)
			datapath_detach(a->datapath, WEFT_HOOK_BRIDGE, a->bridge_ifindex);
	}
	a->bridge_ifindex = ifindex;
	apply_config(a);
}

/* The store. */

/* The device behind the kernel's socket has its MAC from when it was opened. */
static bool same_vtep(const struct agent *a, const struct lease *own)
{
	return a->format != WEFT_FORMAT_VXLAN || memcmp(a->own.vtep.mac, own->vtep.mac, 6) == 0;
}

static bool same_identity(const struct agent *a, const struct netconf *conf,
			  const struct lease *own)
{
	return a->conf.network.addr == conf->network.addr &&
	       a->conf.network.len == conf->network.len && a->conf.subnet_len == conf->subnet_len &&
	       netconf_same_backend(&a->conf, conf) && a->format == apply_format(a, own) &&
	       same_vtep(a, own) && a->own.subnet.addr == own->subnet.addr &&
	       a->own.subnet.len == own->subnet.len && own->public_ip == a->public_ip;
}

/* A registry may change a hundred times a second. */
static void say_leases(struct agent *a)
{
	struct store_status ignored;
	time_t now = time(NULL);
	bool again = store_status(a->store, &ignored) && now >= a->leases_said &&
		     now - a->leases_said < SAY_LEASES_S;

	log_at(again ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "%s: %zu leases", a->opt->store,
	       a->conf.n_leases);
	if (!again)
		a->leases_said = now;
}

/* Takes *next over when it is good; else says why and everything stays as it was. */
static void accept_state(struct agent *a, struct netconf *next)
{
	const char *source = strchr(a->opt->store, ':') + 1; /* as store_read() names it */
	char reason[NETCONF_ERROR_LEN];
	struct lease own;

	if (apply_find_own(next, a->next_ip ? a->next_ip : a->public_ip, &own, reason)) {
		snprintf(a->store_error, sizeof(a->store_error), "%.160s: %.300s", source, reason);
		log_warn("refused: %s", a->store_error);
		a->store_refused++;
		netconf_free(next);
		return;
	}
	/* A registry that is yet to hear that an address has changed back. */
	if (next->own.len && own.public_ip != a->public_ip && own.public_ip != a->next_ip) {
		netconf_free(next);
		return;
	}
	a->store_error[0] = '\0';
	if (!same_identity(a, next, &own)) {
		log_info("network, format, own subnet, address or MAC changed: starting anew");
		netconf_free(next);
		address_start_anew(a);
		return;
	}
	a->incomplete = false;
	if (apply_take(a, next, &own) || apply_all(a)) {
		snprintf(a->store_error, sizeof(a->store_error),
			 "%.160s: could not be applied in full; trying again", source);
		log_warn("%s", a->store_error);
		apply_again(a);
	}
	netconf_free(next);
	say_leases(a);
}

/* The subnet is another node's now: what we would go on forwarding is theirs. */
static void lose_lease(struct agent *a, const char *reason)
{
	log_at(LOG_LEVEL_ERROR, "%s: withdrawing", reason);
	a->status = EXIT_RUNTIME;
	a->withdraw = true;
	loop_stop(a->loop);
}

/* What the command line says of the format goes before what the network does. */
static int read_store(struct agent *a, struct netconf *out, char error[NETCONF_ERROR_LEN])
{
	int err = store_read(a->store, out, error);

	if (err == 0 && a->opt->format < WEFT_FORMAT_MAX)
		netconf_set_format(out, a->opt->format);
	return err;
}

static void reload(void *arg)
{
	struct agent *a = arg;
	char error[NETCONF_ERROR_LEN];
	struct netconf next = {};
	int err;

	/* Whatever comes of this look, what is in force in part only needs another. */
	if (a->incomplete)
		apply_again(a);
	err = read_store(a, &next, error);
	if (err == -ESTALE) {
		lose_lease(a, error);
		return;
	}
	if (err) {
		snprintf(a->store_error, sizeof(a->store_error), "%s", error);
		log_warn("refused: %s", error);
		a->store_refused++;
		return;
	}
	if (netconf_equal(&next, &a->conf) && !a->incomplete) {
		a->store_error[0] = '\0';
		netconf_free(&next);
		return;
	}
	accept_state(a, &next);
}

static void on_store(void *arg)
{
	struct agent *a = arg;

	if (store_ack(a->store))
		loop_timer_arm(a->reload_timer, 10, 0);
}

static void on_signal(void *arg)
{
	struct agent *a = arg;
	struct signalfd_siginfo info;

	if (read(a->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP && a->waiting)
		return;
	if (info.ssi_signo == SIGHUP) {
		log_info("SIGHUP: reading the store");
		reload(a);
		return;
	}
	log_info("%s: stopping", strsignal(info.ssi_signo));
	a->waiting = false;
	loop_stop(a->loop);
}

/* A service manager waits for this, however long: looked for until it is so, and said once. */
static void await_ready(void *arg)
{
	struct agent *a = arg;
	char subnet[PREFIX4_STRLEN], ip[INET_ADDRSTRLEN];

	if (!report_ready(a)) {
		loop_timer_arm(a->ready_timer, RETRY_MS, 0);
		return;
	}
	log_info("ready: subnet %s, public address %s, datapath %s, mtu %u",
		 prefix4_format(a->own.subnet, subnet), ip4_format(a->public_ip, ip),
		 a->datapath ? "bpf" : "tun", a->mtu);
	sd_notify(0, "READY=1");
}

/* Start. Each step logs its own failure and returns -errno. */

static int open_signals(struct agent *a)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signal_fd < 0 ? -errno : loop_add(a->loop, a->signal_fd, on_signal, a);
}

static int open_loop(struct agent *a)
{
	int err = loop_new(&a->loop);

	if (err == 0)
		err = loop_timer_new(a->loop, reload, a, &a->reload_timer);
	if (err == 0)
		err = loop_timer_new(a->loop, apply_table, a, &a->table_timer);
	if (err == 0)
		err = loop_timer_new(a->loop, apply_guard, a, &a->guard_timer);
	if (err == 0)
		err = loop_timer_new(a->loop, tier_remember, a, &a->remember_timer);
	if (err == 0)
		err = loop_timer_new(a->loop, apply_subnet_file, a, &a->subnet_file_timer);
	if (err == 0)
		err = loop_timer_new(a->loop, await_ready, a, &a->ready_timer);
	if (err == 0)
		err = address_open(a);
	if (err == 0)
		err = tracer_open(a->loop, &a->tracer);
	if (err == 0)
		err = open_signals(a);
	if (err == 0)
		err = nl_open(0, &a->nl);
	return err ? log_err(err, "cannot set up the event loop") : 0;
}

static int open_underlay(struct agent *a)
{
	const struct underlay_select select = address_select(a->opt);
	int err = underlay_open(a->loop, &select, &a->underlay);

	if (err)
		return err;
	a->public_ip = address_published(a->opt, underlay_uplink(a->underlay)->addr);
	return 0;
}

static void on_first_state(void *arg)
{
	struct agent *a = arg;

	store_ack(a->store);
	loop_stop(a->loop);
}

/* A registry answers when it can; a signal ends the wait. */
static int read_first_state(struct agent *a, char error[NETCONF_ERROR_LEN])
{
	struct netconf first = {};
	struct lease own;
	int err = loop_add(a->loop, store_fd(a->store), on_first_state, a);

	if (err)
		return err;
	a->waiting = true;
	while (a->waiting && (err = read_store(a, &first, error)) == -EAGAIN)
		err = loop_run(a->loop);
	loop_remove(a->loop, store_fd(a->store));
	if (!a->waiting)
		return -ECANCELED;
	a->waiting = false;
	if (err == 0)
		err = apply_find_own(&first, a->public_ip, &own, error);
	if (err == 0)
		err = apply_take(a, &first, &own);
	netconf_free(&first);
	return err;
}

static int refuse_store(struct agent *a, int err, const char *error)
{
	log_at(LOG_LEVEL_ERROR, "%s", error);
	a->status = EXIT_USAGE;
	return err;
}

/* A file that is wrong is so whatever the underlay is. */
static int open_store(struct agent *a)
{
	char error[NETCONF_ERROR_LEN] = "";
	int err = store_open(a->opt->store, &a->opt->etcd, &a->store, error);

	if (err == 0)
		err = store_read(a->store, &a->conf, error);
	return err && err != -EAGAIN ? refuse_store(a, err, error) : 0;
}

static int join_store(struct agent *a)
{
	char error[NETCONF_ERROR_LEN] = "";
	int err;

	netconf_free(&a->conf);
	address_join(a, a->public_ip);
	err = read_first_state(a, error);
	if (err)
		return err == -ECANCELED ? err : refuse_store(a, err, error);
	return loop_add(a->loop, store_fd(a->store), on_store, a);
}

/* Rules that were asked for are a condition; the usual ones are not. */
static int open_masquerade(struct agent *a)
{
	const struct masquerade_config config = {
		.masquerade = a->opt->ip_masq,
		.forward = a->opt->forward_rules,
		.clamp = a->opt->mss_clamp,
		.network = a->conf.network,
		.subnet = a->own.subnet,
	};
	int err = masquerade_open(a->loop, a->opt->tun, &config, &a->masquerade);

	if (err && a->opt->ip_masq) {
		a->status = EXIT_PRIVILEGE;
		return log_err(err, "--ip-masq: no nftables");
	}
	if (err)
		log_warn("no nftables: the host's own rules decide what is forwarded");
	return 0;
}

/* Addresses of the own subnet, marked by their offset. */
struct seen {
	uint32_t subnet;
	bool at[WEFT_MAX_ENDPOINTS];
};

static void mark_seen(const struct endpoint *ep, void *arg)
{
	struct seen *seen = arg;

	seen->at[(ep->addr - seen->subnet) % WEFT_MAX_ENDPOINTS] = true;
}

/* Pods that went away while no agent was watching; one that is merely unseen is learned again. */
static void forget_stale_endpoints(struct agent *a)
{
	_free_ struct seen *seen = calloc(1, sizeof(*seen));
	const struct weft_endpoint none = {};

	if (!seen)
		return;
	seen->subnet = a->own.subnet.addr;
	endpoints_each(a->endpoints, mark_seen, seen);
	for (uint32_t i = 0; i < WEFT_MAX_ENDPOINTS; i++)
		if (!seen->at[i])
			datapath_set_endpoint(a->datapath, i, &none);
}

static int open_endpoints(struct agent *a)
{
	const struct endpoints_events events = {
		.endpoint = on_endpoint,
		.port = on_port,
		.bridge = on_bridge,
		.arg = a,
	};
	int err = endpoints_open(a->loop, a->opt->bridge, a->own.subnet, &events, &a->endpoints);

	if (err)
		return log_err(err, "cannot watch %s", a->opt->bridge);
	if (a->datapath) {
		forget_stale_endpoints(a);
		datapath_prune(a->datapath);
		err = datapath_maintain(a->datapath, a->loop);
	}
	return err;
}

static int open_ctl(struct agent *a)
{
	const struct ctl_config config = {
		.state_dir = a->opt->state_dir,
		.group = a->opt->group,
		.fn = report_verb,
		.stream = report_stream,
		.reads = report_reads,
		.arg = a,
	};

	return ctl_listen(a->loop, &config, &a->ctl);
}

static int agent_open(struct agent *a)
{
	int err = open_loop(a);

	if (err == 0)
		err = monitor_open(a);
	if (err == 0)
		err = open_store(a);
	if (err == 0)
		err = open_underlay(a);
	if (err == 0)
		err = join_store(a);
	if (err == 0)
		err = tier_choose(a);
	if (err == 0)
		err = tier_open_slow_path(a);
	if (err == 0)
		err = open_masquerade(a);
	if (err == 0)
		err = tier_start(a);
	if (err)
		return err;
	underlay_on_change(a->underlay, on_peer, on_uplink, a);
	address_check(a); /* it may have changed while we waited */
	err = open_endpoints(a);
	if (err == 0)
		err = devices_open(a);
	if (err == 0)
		err = open_ctl(a);
	return err;
}

/* Closes handles only: pins, links, device and routes stay and go on forwarding. */
static void agent_close(struct agent *a)
{
	monitor_close(a->monitor);
	ctl_close(a->ctl);
	rules_close(a->rules);
	masquerade_close(a->masquerade);
	forward_stop(a->forward);
	tracer_close(a->tracer);
	endpoints_close(a->endpoints);
	port_guard_close(a->guard);
	underlay_close(a->underlay);
	datapath_close(a->datapath);
	overlay_dev_close(&a->tun);
	store_close(a->store);
	nl_close(a->device_events);
	nl_close(a->nl);
	free(a->peers);
	netconf_free(&a->conf);
	loop_free(a->loop);
	cleanup_close(&a->signal_fd);
}

static void serve(struct agent *a)
{
	if (!report_ready(a))
		log_warn("not ready: see weft status");
	await_ready(a);
	if (loop_run(a->loop))
		a->status = EXIT_RUNTIME;
}

static enum weft_exit exit_status(int err)
{
	if (err == -ECANCELED)
		return EXIT_STOPPED;
	return err == -EPERM || err == -EACCES ? EXIT_PRIVILEGE : EXIT_RUNTIME;
}

/*
 * What takes root's powers comes first: perhaps a bpffs must be mounted. That of another mount
 * namespace can be reached only by who may trace its first process.
 */
static int confine(const struct options *options, char pin_dir[PATH_MAX / 2])
{
	int err = options->datapath == DATAPATH_TUN
			  ? state_dir_recall_pins(options->state_dir, pin_dir, PATH_MAX / 2)
			  : pins_locate(options->state_dir, pin_dir, PATH_MAX / 2);

	if (err)
		pin_dir[0] = '\0';
	orphans_collect();
	err = privilege_drop(options->group, strncmp(pin_dir, "/proc/", 6) == 0);
	if (err == 0)
		syscall_filter_start();
	return err;
}

/*
 * Again and again where this node, or its network, becomes another one: what is is adopted. A start
 * that fails leaves what there was; where that is nothing, it is for us to remove.
 */
static enum weft_exit run(const struct options *options, const char *pin_dir, bool *remove)
{
	bool first = state_dir_is_new(options);
	struct agent a;
	int err;

	do {
		a = (struct agent){.opt = options, .signal_fd = -1};
		snprintf(a.pin_dir, sizeof(a.pin_dir), "%s", pin_dir);
		err = agent_open(&a);
		orphans_release();
		if (err == 0)
			serve(&a);
		else if (a.status == EXIT_STOPPED)
			a.status = exit_status(err);
		agent_close(&a);
		first = first && err;
	} while (a.restart);
	*remove = err ? first : options->teardown_on_exit || a.withdraw;
	return a.status;
}

enum weft_exit agent_run(const struct options *options)
{
	char pin_dir[PATH_MAX / 2];
	enum weft_exit status;
	bool remove = false;
	int lock = -1, err = state_dir_lock(options->state_dir, false, &lock);

	if (err == 0)
		err = confine(options, pin_dir);
	status = err ? exit_status(err) : run(options, pin_dir, &remove);
	if (remove)
		state_dir_teardown(options);
	state_dir_unlock(&lock);
	return status;
}

enum weft_exit agent_cleanup(const struct options *options)
{
	_close_ int lock = -1;
	int err = 0;

	if (access(options->state_dir, F_OK) == 0)
		err = state_dir_lock(options->state_dir, true, &lock);
	if (err == 0)
		err = state_dir_teardown(options);
	return err ? exit_status(err) : EXIT_STOPPED;
}
