/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line of `weft run` and what all verbs share. Strings belong to argv. */
#ifndef WEFT_USER_OPTIONS_H
#define WEFT_USER_OPTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "log.h"
#include "store.h"

enum weft_exit {
	EXIT_STOPPED = 0,
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 2,
	EXIT_VERSION = 3,
	EXIT_PRIVILEGE = 4,
};

enum datapath_mode { DATAPATH_AUTO, DATAPATH_BPF, DATAPATH_TUN };
enum approve_mode { APPROVE_HOST, APPROVE_NONE };
enum tun_io { TUN_IO_BATCH, TUN_IO_PLAIN };
enum receive_mode { RECEIVE_AUTO, RECEIVE_KERNEL, RECEIVE_AGGREGATE, RECEIVE_STRIP, RECEIVE_XDP };
enum attach_mode { ATTACH_AUTO, ATTACH_TCX, ATTACH_CLSACT };

#define DSCP_INHERIT 64 /* one more than there are: the inner packet's */

struct options {
	const char *store; /* required by run and check */
	struct store_options etcd; /* --etcd-*, --lease-* */
	const char *iface;
	const char *iface_regex;
	const char *iface_can_reach;
	const char *public_ip;
	const char *bridge; /* cni0 */
	const char *tun; /* flannel0 */
	enum datapath_mode datapath; /* auto */
	enum tun_io tun_io; /* batch */
	enum attach_mode attach; /* --attach auto|tcx|clsact */
	enum approve_mode approve; /* host */
	enum weft_format format; /* --format; WEFT_FORMAT_MAX: the network's */
	enum receive_mode receive; /* auto */
	unsigned int outer_dscp; /* --outer-dscp, 0; DSCP_INHERIT */
	unsigned int approve_ttl; /* --approve-ttl, seconds, 30 */
	unsigned int approve_max; /* --approve-max, entries, WEFT_APPROVE_MAX */
	bool peer_check; /* --peer-check on|off, on */
	bool entropy; /* --source-port-entropy on|off, on */
	bool ip_masq; /* --ip-masq */
	bool forward_rules; /* --forward-rules on|off, on */
	bool mss_clamp; /* --mss-clamp */
	bool teardown_on_exit; /* --teardown-on-exit */
	const char *subnet_file; /* /run/flannel/subnet.env */
	const char *state_dir; /* /run/weft */
	gid_t group; /* --group, whose members may read; PRIVILEGE_NO_GROUP */
	const char *metrics; /* ADDR:PORT to serve at; NULL: none */
	bool flush; /* `flows flush` */
	const char *flow_address, *flow_protocol; /* which flows to list; NULL: any */
	unsigned int flow_port; /* 0: any */
	/* Which packets to trace; NULL: any */
	const char *trace_hook, *trace_verdict, *trace_reason, *trace_host;
	unsigned int trace_count; /* --count; 0: no end */
	unsigned int trace_sample; /* --sample, 1 */
	bool json; /* -j */
	enum log_level log_level; /* info */
	bool log_json;
};

/*
 * Parse the arguments behind the verb, which is argv[0]. Prints usage or the error itself.
 * 0, or -EINVAL after a usage error (exit status 2). --help exits 0.
 */
int options_parse(const char *verb, int argc, char **argv, struct options *out);

#endif
