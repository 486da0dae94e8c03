/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "options.h"

#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <net/if.h>
#include <regex.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "http_server.h"
#include "prefix4.h"
#include "privilege.h"
#include "state_dir.h"
#include "trace.h"
#include "util.h"
#include "weft/abi.h"

/* Which verbs know an option. */
enum {
	RUN = 1 << 0,
	CHECK = 1 << 1,
	CLEANUP = 1 << 2,
	READ = 1 << 3, /* every verb that asks the agent */
	FLOWS = 1 << 4,
	TRACE = 1 << 5,
	ALL = RUN | CHECK | CLEANUP | READ | FLOWS | TRACE,
};

#define PREFIX_MAX 128

#define UNAVAILABLE "not available in this version"

/*
 * Check arg and store it in field, a member of struct options. -EINVAL with *why set otherwise;
 * arg is NULL for an option without argument.
 */
typedef int (*set_fn)(const char *arg, void *field, const char **why);

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EINVAL;
}

static int set_flag(const char *arg, void *field, const char **why)
{
	(void)arg;
	(void)why;
	*(bool *)field = true;
	return 0;
}

static int set_text(const char *arg, void *field, const char **why)
{
	if (!*arg)
		return refuse(why, "must not be empty");
	*(const char **)field = arg;
	return 0;
}

/* The kernel's own rule (dev_valid_name). An IPv4 address passes too: 15 characters at most. */
static int set_ifname(const char *arg, void *field, const char **why)
{
	if (!*arg || strlen(arg) >= IF_NAMESIZE || !strcmp(arg, ".") || !strcmp(arg, "..") ||
	    strpbrk(arg, "/: \t\n\v\f\r"))
		return refuse(why, "not a valid interface name");
	return set_text(arg, field, why);
}

static int set_address(const char *arg, void *field, const char **why)
{
	struct in_addr addr;

	if (inet_pton(AF_INET, arg, &addr) != 1)
		return refuse(why, "not an IPv4 address");
	return set_text(arg, field, why);
}

static int set_public_ip(const char *arg, void *field, const char **why)
{
	uint32_t addr;

	if (prefix4_parse_addr(arg, &addr) == 0 && !netconf_is_node_address(addr))
		return refuse(why, "not an address a node can have");
	return set_address(arg, field, why);
}

static int set_regex(const char *arg, void *field, const char **why)
{
	regex_t regex;

	if (!*arg || regcomp(&regex, arg, REG_EXTENDED | REG_NOSUB))
		return refuse(why, "not a valid extended regular expression");
	regfree(&regex);
	return set_text(arg, field, why);
}

/* The directory must leave room for "/ctl.sock" in a socket address. */
static int set_state_dir(const char *arg, void *field, const char **why)
{
	if (strlen(arg) + sizeof("/ctl.sock") > sizeof(((struct sockaddr_un *)0)->sun_path))
		return refuse(why, "longer than 98 bytes");
	return set_text(arg, field, why);
}

static int set_store(const char *arg, void *field, const char **why)
{
	const char *rest = strchr(arg, ':');

	if (!strcmp(arg, "kube") || !strncmp(arg, "kube:", 5))
		return refuse(why, UNAVAILABLE ", only static:FILE and etcd:URL are");
	if ((strncmp(arg, "static:", 7) && strncmp(arg, "etcd:", 5)) || !rest[1])
		return refuse(why, "must be static:FILE or etcd:URL[,URL...]");
	return set_text(arg, field, why);
}

/* "/a//b/" is "/a/b", as in flannel. */
static int set_prefix(const char *arg, void *field, const char **why)
{
	static char prefix[PREFIX_MAX];
	size_t n = 0;

	if (strlen(arg) >= sizeof(prefix))
		return refuse(why, "too long");
	for (const char *c = arg; *c; c++)
		if (*c != '/' || !n || prefix[n - 1] != '/')
			prefix[n++] = *c;
	while (n && prefix[n - 1] == '/')
		n--;
	prefix[n] = '\0';
	return n ? set_text(prefix, field, why) : refuse(why, "must not be empty");
}

/* Index of arg in a NULL terminated list, or -1. */
static int choose(const char *arg, const char *const *names)
{
	for (int i = 0; names[i]; i++) {
		if (!strcmp(arg, names[i]))
			return i;
	}
	return -1;
}

static int set_datapath(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {
		[DATAPATH_AUTO] = "auto",
		[DATAPATH_BPF] = "bpf",
		[DATAPATH_TUN] = "tun",
		NULL,
	};
	int mode = choose(arg, names);

	if (mode < 0)
		return refuse(why, "must be auto, bpf or tun");
	*(enum datapath_mode *)field = mode;
	return 0;
}

static int set_tun_io(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {
		[TUN_IO_BATCH] = "batch",
		[TUN_IO_PLAIN] = "plain",
		NULL,
	};
	int mode = choose(arg, names);

	if (mode < 0)
		return refuse(why, "must be batch or plain");
	*(enum tun_io *)field = mode;
	return 0;
}

static int set_attach(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {
		[ATTACH_AUTO] = "auto",
		[ATTACH_TCX] = "tcx",
		[ATTACH_CLSACT] = "clsact",
		NULL,
	};
	int mode = choose(arg, names);

	if (mode < 0)
		return refuse(why, "must be auto, tcx or clsact");
	*(enum attach_mode *)field = mode;
	return 0;
}

static int set_switch(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {"off", "on", NULL};
	int on = choose(arg, names);

	if (on < 0)
		return refuse(why, "must be on or off");
	*(bool *)field = on;
	return 0;
}

static int set_log_level(const char *arg, void *field, const char **why)
{
	enum log_level level;

	if (log_level_parse(arg, &level))
		return refuse(why, "must be error, warn, info or debug");
	*(enum log_level *)field = level;
	return 0;
}

static int set_approve(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {
		[APPROVE_HOST] = "host",
		[APPROVE_NONE] = "none",
		NULL,
	};
	int mode = choose(arg, names);

	if (mode < 0)
		return refuse(why, "must be host or none");
	*(enum approve_mode *)field = mode;
	return 0;
}

static int set_number(const char *arg, unsigned int least, unsigned int most, void *field)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(arg, &end, 10);
	if (errno || *end || arg[0] < '0' || arg[0] > '9' || value < least || value > most)
		return -EINVAL;
	*(unsigned int *)field = (unsigned int)value;
	return 0;
}

static int set_approve_ttl(const char *arg, void *field, const char **why)
{
	return set_number(arg, 1, 86400, field) ? refuse(why, "must be 1 to 86400 seconds") : 0;
}

/* Less than a few heartbeats would be lost by every hiccup; etcd itself wants 2 s at least. */
static int set_lease_ttl(const char *arg, void *field, const char **why)
{
	return set_number(arg, 5, 9000000, field) ? refuse(why, "must be 5 to 9000000 seconds") : 0;
}

static int set_lease_margin(const char *arg, void *field, const char **why)
{
	return set_number(arg, 1, 86400, field) ? refuse(why, "must be 1 to 86400 seconds") : 0;
}

static int set_approve_max(const char *arg, void *field, const char **why)
{
	return set_number(arg, 1024, 1 << 24, field) ? refuse(why, "must be 1024 to 16777216") : 0;
}

static int set_port(const char *arg, void *field, const char **why)
{
	return set_number(arg, 1, 65535, field) ? refuse(why, "must be 1 to 65535") : 0;
}

static int set_protocol(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {"tcp", "udp", "icmp", NULL};

	if (choose(arg, names) < 0)
		return refuse(why, "must be tcp, udp or icmp");
	return set_text(arg, field, why);
}

/* Is KEY=arg what a trace understands? */
static int set_filter(const char *key, const char *arg, void *field)
{
	struct trace_filter filter;
	char text[64];

	if (snprintf(text, sizeof(text), "%s=%s", key, arg) >= (int)sizeof(text) ||
	    strchr(arg, ' ') || trace_filter_parse(text, &filter))
		return -EINVAL;
	*(const char **)field = arg;
	return 0;
}

static int set_hook(const char *arg, void *field, const char **why)
{
	return set_filter("hook", arg, field) ? refuse(why, "no such hook; see weft stats -j") : 0;
}

static int set_verdict(const char *arg, void *field, const char **why)
{
	return set_filter("verdict", arg, field) ? refuse(why, "must be fast, slow or drop") : 0;
}

static int set_reason(const char *arg, void *field, const char **why)
{
	return set_filter("reason", arg, field) ? refuse(why, "no such reason; see weft(8)") : 0;
}

static int set_host(const char *arg, void *field, const char **why)
{
	return set_filter("host", arg, field) ? refuse(why, "not the IPv4 address of a host") : 0;
}

static int set_count(const char *arg, void *field, const char **why)
{
	return set_number(arg, 1, UINT_MAX, field) ? refuse(why, "must be 1 or more") : 0;
}

static int set_sample(const char *arg, void *field, const char **why)
{
	return set_number(arg, 1, TRACE_SAMPLE_MAX, field) ? refuse(why, "must be 1 to 1000000")
							   : 0;
}

static int set_group(const char *arg, void *field, const char **why)
{
	const struct group *group = getgrnam(arg);

	if (!group)
		return refuse(why, "no such group");
	*(gid_t *)field = group->gr_gid;
	return 0;
}

static int set_metrics(const char *arg, void *field, const char **why)
{
	struct sockaddr_in addr;

	if (http_address_parse(arg, &addr))
		return refuse(why, "must be ADDR:PORT or :PORT, with an IPv4 address");
	return set_text(arg, field, why);
}

static int set_format(const char *arg, void *field, const char **why)
{
	enum weft_format format = format_find(arg);

	if (format == WEFT_FORMAT_MAX)
		return refuse(why, "must be udp, vxlan or ipip");
	*(enum weft_format *)field = format;
	return 0;
}

static int set_receive(const char *arg, void *field, const char **why)
{
	static const char *const names[] = {
		[RECEIVE_AUTO] = "auto",
		[RECEIVE_KERNEL] = "kernel",
		[RECEIVE_AGGREGATE] = "aggregate",
		[RECEIVE_STRIP] = "strip",
		[RECEIVE_XDP] = "xdp",
		NULL,
	};
	int mode = choose(arg, names);

	if (mode < 0)
		return refuse(why, "must be auto, kernel, aggregate, strip or xdp");
	*(enum receive_mode *)field = mode;
	return 0;
}

static int set_dscp(const char *arg, void *field, const char **why)
{
	if (!strcmp(arg, "inherit"))
		*(unsigned int *)field = DSCP_INHERIT;
	else if (set_number(arg, 0, DSCP_INHERIT - 1, field))
		return refuse(why, "must be 0 to 63, or inherit");
	return 0;
}

enum {
	KEY_HELP = 'h',
	KEY_USAGE = 0x100, /* from here on: no short option */
	KEY_FIRST, /* plus the index in specs[] */
};

static const struct spec {
	const char *name;
	const char *metavar; /* NULL: takes no argument */
	const char *help; /* NULL: not shown */
	unsigned int verbs;
	set_fn set;
	size_t field;
	int key; /* 0: KEY_FIRST plus the index */
} specs[] = {
#define FIELD(member) offsetof(struct options, member)
	{"store", "URL", "source of the leases: static:FILE or etcd:URL[,URL...] (required)",
	 RUN | CHECK, set_store, FIELD(store), 0},
	{"etcd-prefix", "KEY", "where flannel's registry is (/coreos.com/network)", RUN | CHECK,
	 set_prefix, FIELD(etcd.prefix), 0},
	{"etcd-cafile", "FILE", "certificates of those who sign etcd's", RUN | CHECK, set_text,
	 FIELD(etcd.ca_file), 0},
	{"etcd-certfile", "FILE", "this node's certificate", RUN | CHECK, set_text,
	 FIELD(etcd.cert_file), 0},
	{"etcd-keyfile", "FILE", "and its key", RUN | CHECK, set_text, FIELD(etcd.key_file), 0},
	{"etcd-username", "NAME", "user of etcd", RUN | CHECK, set_text, FIELD(etcd.user), 0},
	{"etcd-password-file", "FILE", "its password, else from WEFT_ETCD_PASSWORD", RUN | CHECK,
	 set_text, FIELD(etcd.password_file), 0},
	{"lease-ttl", "SECONDS", "how long a lease lasts without renewal (86400)", RUN,
	 set_lease_ttl, FIELD(etcd.lease_ttl), 0},
	{"lease-renew-margin", "SECONDS", "how long before its end it is renewed (3600)", RUN,
	 set_lease_margin, FIELD(etcd.renew_margin), 0},
	{"iface", "NAME", "underlay interface, by name or address (default: default route's)", RUN,
	 set_ifname, FIELD(iface), 0},
	{"iface-regex", "REGEX", "underlay interface by a match of its address or name", RUN,
	 set_regex, FIELD(iface_regex), 0},
	{"iface-can-reach", "ADDR", "underlay interface that routes to ADDR", RUN, set_address,
	 FIELD(iface_can_reach), 0},
	{"public-ip", "ADDR", "this node's address as its peers see it", RUN, set_public_ip,
	 FIELD(public_ip), 0},
	{"bridge", "NAME", "the pods' bridge, may appear later (cni0)", RUN, set_ifname,
	 FIELD(bridge), 0},
	{"tun", "NAME", "overlay device (flannel0)", RUN | CLEANUP, set_ifname, FIELD(tun), 0},
	{"datapath", "MODE", "auto, bpf or tun (auto)", RUN, set_datapath, FIELD(datapath), 0},
	{"tun-io", "MODE", "how the agent moves packets: batch or plain (batch)", RUN, set_tun_io,
	 FIELD(tun_io), 0},
	{"attach", "HOW", "how BPF programs are attached: auto, tcx or clsact (auto)", RUN,
	 set_attach, FIELD(attach), 0},
	{"approve", "MODE", "whose leave a flow needs for the fast path: host or none (host)", RUN,
	 set_approve, FIELD(approve), 0},
	{"approve-ttl", "SECONDS", "how long the host's leave lasts (30)", RUN, set_approve_ttl,
	 FIELD(approve_ttl), 0},
	{"approve-max", "N", "how many flows are remembered (262144)", RUN, set_approve_max,
	 FIELD(approve_max), 0},
	{"address", "ADDR", "only flows from or to ADDR", FLOWS, set_address, FIELD(flow_address),
	 0},
	{"port", "N", "only flows with this port at either end", FLOWS, set_port, FIELD(flow_port),
	 0},
	{"protocol", "NAME", "only flows of tcp, udp or icmp", FLOWS, set_protocol,
	 FIELD(flow_protocol), 0},
	{"hook", "NAME", "only packets at this hook", TRACE, set_hook, FIELD(trace_hook), 0},
	{"verdict", "NAME", "only packets with this verdict", TRACE, set_verdict,
	 FIELD(trace_verdict), 0},
	{"reason", "NAME", "only packets with this reason", TRACE, set_reason, FIELD(trace_reason),
	 0},
	{"host", "ADDR", "only packets from or to ADDR, inside or outside", TRACE, set_host,
	 FIELD(trace_host), 0},
	{"count", "N", "end after N packets", TRACE, set_count, FIELD(trace_count), 0},
	{"sample", "N", "one of N packets on average (1)", TRACE, set_sample, FIELD(trace_sample),
	 0},
	{"format", "NAME", "wire format: udp, vxlan or ipip (the network's)", RUN, set_format,
	 FIELD(format), 0},
	{"receive", "HOW", "how what comes in is merged: auto, kernel, aggregate, strip, xdp", RUN,
	 set_receive, FIELD(receive), 0},
	{"outer-dscp", "N|inherit", "DSCP of outer packets: 0 to 63, or the inner one's (0)", RUN,
	 set_dscp, FIELD(outer_dscp), 0},
	{"peer-check", "on|off", "accept packets only from the lease that owns them (on)", RUN,
	 set_switch, FIELD(peer_check), 0},
	{"source-port-entropy", "on|off", "outer source port from the inner flow's hash (on)", RUN,
	 set_switch, FIELD(entropy), 0},
	{"teardown-on-exit", NULL, "remove everything when stopped, instead of forwarding on", RUN,
	 set_flag, FIELD(teardown_on_exit), 0},
	{"subnet-file", "PATH", "file for the CNI plugin (/run/flannel/subnet.env)", RUN | CLEANUP,
	 set_text, FIELD(subnet_file), 0},
	{"state-dir", "DIR", "socket, lock and pid of the agent (/run/weft)", ALL, set_state_dir,
	 FIELD(state_dir), 0},
	{"group", "NAME", "its members may ask what changes nothing (nobody may)", RUN, set_group,
	 FIELD(group), 0},
	{"metrics", "ADDR:PORT", "serve /metrics, /healthz and /readyz there (off)", RUN,
	 set_metrics, FIELD(metrics), 0},
	{"log-level", "LEVEL", "error, warn, info or debug (info)", RUN | CLEANUP, set_log_level,
	 FIELD(log_level), 0},
	{"log-json", NULL, "one JSON object per message", RUN | CLEANUP, set_flag, FIELD(log_json),
	 0},
	{"json", NULL, "print JSON", ALL, set_flag, FIELD(json), 'j'},
	{"ip-masq", NULL, "pods reach the world with the node's address", RUN, set_flag,
	 FIELD(ip_masq), 0},
	{"forward-rules", "on|off", "accept what the host forwards from and to pods (on)", RUN,
	 set_switch, FIELD(forward_rules), 0},
	{"mss-clamp", NULL, "TCP of pods agrees on segments that fit the overlay", RUN, set_flag,
	 FIELD(mss_clamp), 0},
	{"help", NULL, "print this help", ALL, NULL, 0, KEY_HELP},
	{"usage", NULL, "print a short usage message", ALL, NULL, 0, KEY_USAGE},
#undef FIELD
};

static int spec_key(size_t i)
{
	return specs[i].key ? specs[i].key : KEY_FIRST + (int)i;
}

static unsigned int verb_class(const char *verb)
{
	static const struct {
		const char *verb;
		unsigned int class;
	} classes[] = {{"run", RUN},
		       {"check", CHECK},
		       {"cleanup", CLEANUP},
		       {"flows", FLOWS},
		       {"trace", TRACE}};

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		if (!strcmp(verb, classes[i].verb))
			return classes[i].class;
	}
	return READ;
}

/* argp's option list of one class of verbs; list must hold one element more than specs[]. */
static void list_options(unsigned int class, struct argp_option *list)
{
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		if (!(specs[i].verbs & class))
			continue;
		*list++ = (struct argp_option){
			.name = specs[i].name,
			.key = spec_key(i),
			.arg = specs[i].metavar,
			.doc = specs[i].help,
			.flags = specs[i].help ? 0 : OPTION_HIDDEN,
		};
	}
	*list = (struct argp_option){0};
}

struct parse {
	struct options options;
	unsigned int class;
};

static error_t set_option(const struct spec *spec, char *arg, struct argp_state *state)
{
	struct parse *parse = state->input;
	const char *why = NULL;

	if (!spec->set(arg, (char *)&parse->options + spec->field, &why))
		return 0;
	if (arg)
		argp_error(state, "--%s %s: %s", spec->name, arg, why);
	else
		argp_error(state, "--%s: %s", spec->name, why);
	return EINVAL;
}

static error_t check_complete(struct argp_state *state)
{
	const struct parse *parse = state->input;

	if (!(parse->class & (RUN | CHECK)) || parse->options.store)
		return 0;
	argp_error(state, "--store is required");
	return EINVAL;
}

/* `flows flush` is the one verb with a word behind it. */
static bool take_argument(struct parse *parse, const char *arg)
{
	if (parse->class != FLOWS || strcmp(arg, "flush"))
		return false;
	parse->options.flush = true;
	return true;
}

static error_t parse_one(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case KEY_HELP:
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		exit(EXIT_STOPPED);
	case KEY_USAGE:
		argp_state_help(state, stdout, ARGP_HELP_USAGE);
		exit(EXIT_STOPPED);
	case ARGP_KEY_ARG:
		if (take_argument(state->input, arg))
			return 0;
		argp_error(state, "unexpected argument: %s", arg);
		return EINVAL;
	case ARGP_KEY_END:
		return check_complete(state);
	}
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		if (key == spec_key(i))
			return set_option(&specs[i], arg, state);
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct options defaults = {
	.etcd = {.prefix = "/coreos.com/network",
		 .lease_ttl = 86400,
		 .renew_margin = 3600,
		 .format = WEFT_FORMAT_MAX},
	.format = WEFT_FORMAT_MAX,
	.bridge = "cni0",
	.tun = "flannel0",
	.approve_ttl = 30,
	.approve_max = WEFT_APPROVE_MAX,
	.trace_sample = 1,
	.peer_check = true,
	.forward_rules = true,
	.entropy = true,
	.subnet_file = "/run/flannel/subnet.env",
	.state_dir = "/run/weft",
	.group = PRIVILEGE_NO_GROUP,
	.log_level = LOG_LEVEL_INFO,
};

static const char *name_cache(const char *state_dir)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" STATE_DIR_REGISTRY, state_dir);
	return path;
}

int options_parse(const char *verb, int argc, char **argv, struct options *out)
{
	struct parse parse = {.options = defaults, .class = verb_class(verb)};
	struct argp_option list[ARRAY_SIZE(specs) + 1];
	const struct argp argp = {
		.options = list,
		.parser = parse_one,
		.doc = "The manual is weft(8).",
	};
	_free_ char **args = calloc((size_t)argc + 2, sizeof(*args));
	char name[32];

	/* Messages begin with argv[0]; our own help, because argp's would exit or carry on. */
	if (!args)
		return -ENOMEM;
	snprintf(name, sizeof(name), "weft %s", verb);
	args[0] = name;
	for (int i = 1; i < argc; i++)
		args[i] = argv[i];
	list_options(parse.class, list);
	if (argp_parse(&argp, argc ? argc : 1, args, ARGP_NO_EXIT | ARGP_NO_HELP, NULL, &parse))
		return -EINVAL;
	*out = parse.options;
	out->etcd.format = out->format;
	if (parse.class == RUN)
		out->etcd.cache_file = name_cache(out->state_dir);
	return 0;
}
