/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "ctl.h"
#include "doctor_priv.h"
#include "format.h"
#include "netconf.h"
#include "pins.h"
#include "reason.h"
#include "state_dir.h"
#include "text.h"
#include "util.h"
#include "weft/abi.h"

/* What is said. */

void doctor_say(struct doctor *d, enum doctor_level level, const char *check, const char *subject,
		const char *advice, const char *seen, ...)
{
	static const char *const levels[] = {"ok", "warn", "fail"};
	char text[320], about[320];
	va_list args;

	va_start(args, seen);
	vsnprintf(text, sizeof(text), seen, args);
	va_end(args);
	snprintf(about, sizeof(about), "%s", subject);
	json_array_append_new(d->findings,
			      json_pack("{s:s, s:s, s:s, s:s, s:s}", "check", check, "status",
					levels[level], "subject", text_clean(about), "evidence",
					text_clean(text), "advice", advice));
}

void doctor_done(struct doctor *d, const char *check)
{
	const json_t *finding;
	size_t i;

	json_array_foreach (d->findings, i, finding)
		if (!strcmp(json_string_value(json_object_get(finding, "check")), check))
			return;
	doctor_say(d, DOCTOR_OK, check, "", "", "%s", "");
}

const char *doctor_ip(uint32_t addr)
{
	static char texts[4][INET_ADDRSTRLEN];
	static unsigned int turn;

	return ip4_format(addr, texts[turn++ % 4]);
}

/* What is known: from the agent. */

static const char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static uint32_t address_at(const json_t *object, const char *key)
{
	char text[PREFIX4_STRLEN];
	struct in_addr addr = {};

	snprintf(text, sizeof(text), "%s", text_at(object, key));
	text[strcspn(text, "/")] = '\0';
	inet_pton(AF_INET, text, &addr);
	return ntohl(addr.s_addr);
}

static uint32_t number_at(const json_t *object, const char *key)
{
	return (uint32_t)json_integer_value(json_object_get(object, key));
}

static int add_peer(struct doctor *d, const struct doctor_peer *peer)
{
	struct doctor_peer *more = reallocarray(d->peers, d->n_peers + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	d->peers = more;
	more[d->n_peers++] = *peer;
	return 0;
}

static void take_peers(struct doctor *d, const json_t *peers)
{
	const json_t *row;
	size_t i;

	json_array_foreach (peers, i, row) {
		struct doctor_peer peer = {
			.public_ip = address_at(row, "public_ip"),
			.overlay = address_at(row, "subnet"),
			.mtu = number_at(row, "mtu"),
			.format = format_find(text_at(row, "backend")),
		};

		if (json_is_true(json_object_get(row, "resolved")))
			format_parse_mac(text_at(row, "mac"), peer.mac);
		if (json_is_true(json_object_get(row, "routed")) && add_peer(d, &peer))
			return;
	}
}

static int add_hook(struct doctor *d, const struct doctor_hook *hook)
{
	struct doctor_hook *more = reallocarray(d->hooks, d->n_hooks + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	d->hooks = more;
	more[d->n_hooks++] = *hook;
	return 0;
}

static enum weft_hook hook_find(const char *name)
{
	enum weft_hook hook = 0;

	while (hook < WEFT_HOOK_MAX && strcmp(hook_name(hook), name))
		hook++;
	return hook;
}

static void take_hooks(struct doctor *d, const json_t *hooks)
{
	const json_t *row;
	size_t i;

	json_array_foreach (hooks, i, row) {
		const struct doctor_hook hook = {
			.hook = hook_find(text_at(row, "hook")),
			.ifindex = if_nametoindex(text_at(row, "ifname")),
			.prog_id = number_at(row, "prog_id"),
			.pinned = strcmp(text_at(row, "attach"), "clsact") != 0,
		};

		if (hook.hook < WEFT_HOOK_MAX && add_hook(d, &hook))
			return;
	}
}

static void take_status(struct doctor *d)
{
	d->known = true;
	d->bpf = !strcmp(text_at(d->status, "datapath"), "bpf");
	snprintf(d->tun, sizeof(d->tun), "%s", text_at(d->status, "tun"));
	snprintf(d->bridge, sizeof(d->bridge), "%s", text_at(d->status, "bridge"));
	snprintf(d->uplink, sizeof(d->uplink), "%s", text_at(d->status, "uplink"));
	d->subnet = address_at(d->status, "subnet");
	d->local = address_at(d->status, "local_ip");
	d->mtu = number_at(d->status, "mtu");
	d->port = (uint16_t)number_at(d->status, "port");
	d->vxlan_port = (uint16_t)number_at(d->status, "vxlan_port");
	take_hooks(d, json_object_get(d->status, "hooks"));
}

/* ... or from what it has pinned. */

static const void *map_pin(const struct doctor *d, const char *name, size_t len)
{
	char path[PATH_MAX];
	_close_ int fd = -1;
	void *memory;

	pins_map_path(d->pin_dir, WEFT_ABI_VERSION, name, path);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return NULL;
	memory = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

/* A peer for each run of cells with one value. */
static void take_routes(struct doctor *d, const struct weft_config *cfg)
{
	const uint32_t *cells = map_pin(d, "routes", WEFT_MAX_ROUTES * sizeof(*cells));
	const struct weft_peer *peers = map_pin(d, "peers", WEFT_MAX_PEERS * sizeof(*peers));
	uint32_t before = WEFT_ROUTE_NONE;

	for (uint32_t i = 0; cells && peers && i < WEFT_MAX_ROUTES; i++) {
		uint32_t slot = cells[i];

		if (slot != before && slot != WEFT_ROUTE_NONE && slot < WEFT_MAX_PEERS) {
			struct doctor_peer peer = {
				.public_ip = ntohl(peers[slot].daddr),
				.overlay = cfg->network + (i << (cfg->cell_shift & 31)),
				.mtu = peers[slot].mtu,
				.format = peers[slot].format,
			};

			if (peers[slot].flags & WEFT_PEER_RESOLVED)
				memcpy(peer.mac, peers[slot].eth_dst, sizeof(peer.mac));
			if (add_peer(d, &peer))
				break;
		}
		before = slot;
	}
}

static void take_pins(struct doctor *d)
{
	const struct weft_state *state = map_pin(d, "state", sizeof(*state));
	const struct weft_config *cfg;
	struct rtnl_link link = {};

	cfg = state ? &state->half[state->active & 1] : NULL;
	if (!cfg || !(cfg->flags & WEFT_CONFIG_READY))
		return;
	d->known = d->bpf = true;
	d->subnet = cfg->subnet;
	d->local = ntohl(cfg->local_ip);
	d->port = ntohs(cfg->port);
	d->vxlan_port = ntohs(cfg->vxlan_port);
	if (rtnl_link_get(d->nl, cfg->tun_ifindex, NULL, &link) == 0) {
		snprintf(d->tun, sizeof(d->tun), "%s", link.ifname);
		d->mtu = link.mtu;
	}
	if (rtnl_link_get(d->nl, cfg->uplink_ifindex, NULL, &link) == 0)
		snprintf(d->uplink, sizeof(d->uplink), "%s", link.ifname);
	take_routes(d, cfg);
}

/* The agent. */

static void check_ready(struct doctor *d)
{
	const json_t *why;
	size_t i;

	json_array_foreach (json_object_get(d->status, "not_ready"), i, why)
		/* Of hooks more is said below. */
		if (strncmp(json_string_value(why), "hook ", 5))
			doctor_fail(d, "ready", d->opt->state_dir, "see the agent's log", "%s",
				    json_string_value(why));
	doctor_done(d, "ready");
	if (*text_at(d->status, "store_error"))
		doctor_warn(d, "store", text_at(d->status, "store"),
			    "correct the store; the last good state is in force", "%s",
			    text_at(d->status, "store_error"));
	if (json_is_false(json_object_get(json_object_get(d->status, "registry"), "up")))
		doctor_warn(d, "store", text_at(d->status, "store"),
			    "see whether etcd runs and can be reached; what was known is in force",
			    "%s", text_at(json_object_get(d->status, "registry"), "reason"));
	doctor_done(d, "store");
}

static void check_agent(struct doctor *d)
{
	json_t *peers = NULL;
	int err = ctl_query(d->opt->state_dir, "status", &d->status);
	pid_t pid = err ? state_dir_holder(d->opt->state_dir) : 0;

	if (err == 0 && *text_at(d->status, "error")) {
		json_decref(take_ptr(d->status));
		err = -EACCES;
	}
	if (err == -EACCES || err == -EPERM)
		doctor_warn(d, "agent", d->opt->state_dir, "run weft doctor as root",
			    "not permitted to ask the agent: much is not checked");
	else if (err && pid)
		doctor_fail(d, "agent", d->opt->state_dir,
			    "see whether its store answers, and what its log says",
			    STATE_DIR_STARTING, pid);
	else if (err)
		doctor_fail(d, "agent", d->opt->state_dir,
			    "start it: only what is on the fast path goes on without",
			    "no agent is running (%s)", strerror(-err));
	doctor_done(d, "agent");
	if (err)
		return;
	take_status(d);
	check_ready(d);
	if (ctl_query(d->opt->state_dir, "peers", &peers) == 0)
		take_peers(d, peers);
	json_decref(peers);
}

static void know(struct doctor *d)
{
	snprintf(d->tun, sizeof(d->tun), "%s", d->opt->tun);
	snprintf(d->bridge, sizeof(d->bridge), "%s", d->opt->bridge);
	check_agent(d);
	if (state_dir_recall_pins(d->opt->state_dir, d->pin_dir, sizeof(d->pin_dir)))
		d->pin_dir[0] = '\0';
	if (!d->status && d->pin_dir[0])
		take_pins(d);
	if (!pins_has_bpffs())
		doctor_warn(d, "bpffs", "/sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf",
			    "no BPF file system: nothing can be pinned, so %s",
			    d->bpf ? "the fast path would end with the agent"
				   : "datapath bpf cannot be had");
	doctor_done(d, "bpffs");
}

/* Showing it. */

static size_t print_text(const struct doctor *d)
{
	const json_t *finding;
	size_t i, found = 0;

	json_array_foreach (d->findings, i, finding) {
		if (!strcmp(text_at(finding, "status"), "ok"))
			continue;
		found++;
		if (!d->opt->json)
			printf("%s %s %s: %s\n    %s\n", text_at(finding, "status"),
			       text_at(finding, "check"), text_at(finding, "subject"),
			       text_at(finding, "evidence"), text_at(finding, "advice"));
	}
	if (d->opt->json) {
		json_dumpf(d->findings, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		printf("%zu checks, %zu findings, %zu peers\n", json_array_size(d->findings), found,
		       d->n_peers);
	}
	return found;
}

enum weft_exit verb_doctor(const struct options *options)
{
	struct doctor d = {.opt = options, .findings = json_array()};
	int err = d.findings ? nl_open(0, &d.nl) : -ENOMEM;
	size_t found = 1;

	if (err) {
		fprintf(stderr, "weft: %s\n", strerror(-err));
	} else {
		know(&d);
		doctor_host(&d);
		doctor_hooks(&d);
		doctor_probe(&d);
		found = print_text(&d);
	}
	nl_close(d.nl);
	free(d.peers);
	free(d.hooks);
	json_decref(d.status);
	json_decref(d.findings);
	return found || fflush(stdout) || ferror(stdout) ? EXIT_RUNTIME : EXIT_STOPPED;
}
