/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the parts of the agent share: agent.c (life cycle), apply.c, report.c, monitor.c. */
#ifndef WEFT_USER_AGENT_PRIV_H
#define WEFT_USER_AGENT_PRIV_H

#include <jansson.h>
#include <limits.h>
#include <time.h>

#include "agent.h"
#include "aggregator.h"
#include "conntrack.h"
#include "port_guard.h"
#include "ctl.h"
#include "datapath.h"
#include "endpoints.h"
#include "forward.h"
#include "loop.h"
#include "masquerade.h"
#include "netconf.h"
#include "overlay_dev.h"
#include "rules.h"
#include "store.h"
#include "tracer.h"
#include "underlay.h"

struct agent {
	const struct options *opt;
	struct loop *loop;
	struct store *store;
	struct underlay *underlay;
	struct endpoints *endpoints;
	struct datapath *datapath; /* NULL in tier tun */
	struct forward *forward;
	struct overlay_dev tun;
	struct ctl *ctl;
	struct tracer *tracer;
	struct monitor *monitor; /* NULL: no --metrics */
	struct nl *nl; /* requests of our own */
	struct nl *device_events;

	struct netconf conf;
	struct lease own; /* this node's lease */
	const struct lease **peers; /* of conf, by public IP; a node once, with its first lease */
	size_t n_peers;
	uint32_t public_ip; /* host order: what peers send to */
	uint32_t next_ip; /* what it is going to be; 0: no change is under way */
	bool choice_said; /* which interfaces do not do, since the address went */
	uint32_t bridge_ifindex;
	uint8_t bridge_mac[6];
	struct aggregator aggregator; /* all zero: none */
	uint32_t vtep_ifindex; /* of the kernel's receiver of `format`; 0: none */
	struct rules *rules; /* NULL in tier tun and where nothing is approved by the host */
	struct conntrack_saved conntrack;
	uint16_t fou_port; /* that FOU was given, by an agent before us perhaps; 0: none */
	struct masquerade *masquerade; /* NULL: neither of its rules is wanted, or can be had */
	struct port_guard *guard; /* NULL in tier bpf, or when the kernel has no such thing */
	uint32_t uplink_ifindex; /* where the uplink program is attached */
	bool xdp; /* with the strip program in front of it */
	uint32_t mtu; /* of the overlay device, as last configured */
	enum weft_format format; /* that peers are asked to send */

	struct loop_timer *reload_timer, *table_timer, *guard_timer, *address_timer, *devices_timer,
		*remember_timer, *ready_timer, *subnet_file_timer;
	char store_error
		[NETCONF_ERROR_LEN]; /* why the latest state was refused; "" if it was not */
	uint64_t store_refused; /* states so far */
	char pin_dir[PATH_MAX / 2];
	int signal_fd;
	time_t leases_said; /* when their number was logged */
	bool forgetful; /* what cleanup is to know could not be written down */
	bool devices_amiss; /* something was taken from them and could not be put back */
	bool incomplete; /* a state was taken over that could not be applied in full */
	bool waiting; /* for the store's first state */
	bool withdraw; /* remove everything at the end: the lease is lost */
	bool restart; /* as another node, or in another network */
	enum weft_exit status;
};

/* apply.c: bring maps, device and slow path to the state of a->conf and the underlay. */

/* Own lease of conf for public_ip; -ENOENT, with the reason in error, when it holds none. */
int apply_find_own(const struct netconf *conf, uint32_t public_ip, struct lease *out,
		   char error[NETCONF_ERROR_LEN]);
/* Take *next over as the configuration in force; it is empty then. -ENOMEM: nothing has changed. */
int apply_take(struct agent *a, struct netconf *next, const struct lease *own);
/* The format that a node with this lease is to be sent. */
enum weft_format apply_format(const struct agent *a, const struct lease *own);
/* Is it the lease that this node goes by? */
bool apply_is_own(const struct agent *a, const struct lease *lease);
/* Configuration, routes and peers of the BPF tier (nothing in tier tun), and the slow path's. */
int apply_all(struct agent *a);
int apply_config(struct agent *a);
int apply_device(struct agent *a);
/* Writes the subnet file, as apply_device() does, and tries again until that is done. */
void apply_subnet_file(void *arg);
/*
 * One peer's header from the underlay's view of it. keep: a header with MACs, adopted perhaps,
 * stays as long as there is none better.
 */
int apply_peer(struct agent *a, uint32_t public_ip, bool keep);
void apply_endpoint(struct agent *a, const struct endpoint *ep);
/* Rebuild the slow path's table soon; many calls make one table. */
void apply_table_soon(struct agent *a);
void apply_table(void *arg);
/* The port guard's view of the endpoints. */
void apply_guard(void *arg);

/* agent_address.c: which address this node goes by, and what follows when it changes. */

int address_open(struct agent *a);
/* To be called after each change of the uplink. */
void address_check(struct agent *a);
struct underlay_select address_select(const struct options *opt);
/* What peers send to when the uplink has address local. */
uint32_t address_published(const struct options *opt, uint32_t local);
/* Ask the store for a subnet under this address. */
void address_join(struct agent *a, uint32_t public_ip);
void address_start_anew(struct agent *a);

/* agent_devices.c: the devices that are ours, while others change them. */

/* When all of them are made. Logs its own failure. */
int devices_open(struct agent *a);

/* agent_tier.c: who carries the packets, programs with the slow path behind them or that alone. */

/* Loads the programs, or says why not and settles for tier tun where it may. Changes no device. */
int tier_choose(struct agent *a);
/* The overlay device, and the loop that serves it. */
int tier_open_slow_path(struct agent *a);
/* With the slow path complete, programs take over from it, or it takes over from programs. */
int tier_start(struct agent *a);
/* To be called after each change of the uplink: it may be another device of the same name. */
int tier_attach_uplink(struct agent *a);
/* Writes down for `cleanup` what this agent makes, and tries again until that is done. */
void tier_remember(void *arg);

/* agent_approve.c: whose leave flows need (--approve). */

/* When the programs are loaded, and before they run. */
int approve_start(struct agent *a);
/* Without programs. */
void approve_abandon(struct agent *a);

/* agent_receive.c: who merges what comes in from the uplink (--receive). Less is slower only. */

/* Before the slow path takes the formats that are left to it. */
void receive_prepare(struct agent *a);
/* When the programs are loaded, and before they run. */
void receive_attach(struct agent *a);
/* When the uplink program runs on ifindex: what is to run in front of it. */
void receive_on_uplink(struct agent *a, uint32_t ifindex);
/* Without programs. */
void receive_abandon(struct agent *a);
/* Is a format received by a device of ours, not by a socket? */
bool receive_has_kernel(const struct agent *a, enum weft_format format);
/* How it is done: "kernel", "aggregate", "strip", "xdp", or "socket" without programs. */
const char *receive_name(const struct agent *a);

/* report.c: what the verbs show. */
json_t *report_verb(const char *verb, void *arg);
/* And what they stream: see struct ctl_config. */
int report_stream(const char *verb, const char *words, int fd, void *arg);
/* Is it a verb that changes nothing? */
bool report_reads(const char *verb);
/*
 * Why the agent is not ready: an array of strings, one reason each, fit to be shown; empty means
 * ready. A state that the store hands out and the agent refuses is none, as the last good one stays
 * in force. Copes with an agent that is partly open. NULL when there is no memory.
 */
json_t *report_not_ready(const struct agent *a);
/* Nothing to be said by report_not_ready(). */
bool report_ready(const struct agent *a);
/* All counters; those whose source is not open (yet) are zero. */
void report_counters(const struct agent *a, struct weft_counter out[WEFT_COUNTER_MAX]);

/* monitor.c: what --metrics serves. */

/*
 * Listen, if that is asked for; a->monitor stays NULL if not. Needs the loop only, and copes with
 * an agent that is partly open. Logs its own failure.
 */
int monitor_open(struct agent *a);
/* NULL is allowed. */
void monitor_close(struct monitor *monitor);

#endif
