/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent_priv.h"
#include "reason.h"
#include "text.h"
#include "util.h"

static json_t *ip_json(uint32_t addr)
{
	char buf[INET_ADDRSTRLEN];

	return json_string(ip4_format(addr, buf));
}

static json_t *mac_json(const uint8_t mac[6])
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
			    mac[5]);
}

static json_t *prefix_json(struct prefix4 prefix)
{
	char buf[PREFIX4_STRLEN];

	return json_string(prefix4_format(prefix, buf));
}

/* Of what others name: a JSON string of any bytes. */
static json_t *text_json(const char *text)
{
	_free_ char *copy = strdup(text);

	return copy ? json_string(text_clean(copy)) : NULL;
}

static void add_reason(json_t *reasons, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add_reason(json_t *reasons, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_array_append_new(reasons, json_string(text_clean(text)));
}

static void add_fault(const char *fault, void *arg)
{
	add_reason(arg, "%s", fault);
}

/* The last part to be opened is endpoints; until then nothing else can be relied on. */
json_t *report_not_ready(const struct agent *a)
{
	json_t *reasons = json_array();
	const struct uplink *up;
	char ip[INET_ADDRSTRLEN];

	if (!a->underlay || !a->endpoints) {
		add_reason(reasons, "starting");
		return reasons;
	}
	up = underlay_uplink(a->underlay);
	if (!up->up)
		add_reason(reasons, "uplink %s is down", up->ifname);
	if (!up->addr_present)
		add_reason(reasons, "uplink %s lacks the address %s", up->ifname,
			   ip4_format(up->addr, ip));
	if (a->datapath)
		datapath_each_fault(a->datapath, add_fault, reasons);
	if (a->devices_amiss)
		add_reason(reasons,
			   "%s lacks its address or route, or another device of ours is down",
			   a->tun.ifname);
	if (a->incomplete)
		add_reason(reasons, "the store's state could not be applied in full");
	return reasons;
}

bool report_ready(const struct agent *a)
{
	json_t *reasons = report_not_ready(a);
	bool ready = reasons && json_array_size(reasons) == 0;

	json_decref(reasons);
	return ready;
}

static json_t *report_hooks(const struct agent *a)
{
	json_t *hooks = json_array();
	size_t n = a->datapath ? datapath_hooks(a->datapath, NULL, 0) : 0;
	_free_ struct datapath_hook *all = calloc(n + 1, sizeof(*all));

	if (a->datapath && all)
		datapath_hooks(a->datapath, all, n);
	for (size_t i = 0; all && i < n; i++)
		json_array_append_new(
			hooks, json_pack("{s:s, s:o, s:s, s:I}", "hook", hook_name(all[i].hook),
					 "ifname", text_json(all[i].ifname), "attach",
					 all[i].attach, "prog_id", (json_int_t)all[i].prog_id));
	return hooks;
}

static json_t *report_store(const struct agent *a)
{
	struct store_status status;
	json_t *store = json_object();

	if (!store_status(a->store, &status))
		return store;
	json_object_set_new(store, "up", json_boolean(status.up));
	json_object_set_new(store, "reason", text_json(status.reason));
	json_object_set_new(store, "refused", json_integer((json_int_t)status.refused));
	json_object_set_new(store, "refusal", text_json(status.refusal));
	if (status.has_lease)
		json_object_set_new(store, "lease_s", json_integer(status.lease_s));
	return store;
}

static json_t *report_status(const struct agent *a)
{
	const struct uplink *up = underlay_uplink(a->underlay);
	json_t *not_ready = report_not_ready(a);

	return json_pack(
		"{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:i, s:o, s:i, s:o, s:o, s:o, s:o, s:o,"
		" s:I, s:i, s:s, s:s, s:i, s:s, s:s, s:i, s:o, s:o, s:o}",
		"datapath", a->datapath ? "bpf" : "tun", "format", format_name(a->format),
		"approve", a->opt->approve == APPROVE_HOST ? "host" : "none", "ready",
		json_array_size(not_ready) == 0, "subnet", prefix_json(a->own.subnet), "public_ip",
		ip_json(a->public_ip), "local_ip", ip_json(up->addr), "mtu", (int)a->mtu, "network",
		prefix_json(a->conf.network), "port", (int)a->conf.port, "uplink",
		text_json(up->ifname), "tun", text_json(a->tun.ifname), "bridge",
		text_json(a->opt->bridge), "store", text_json(a->opt->store), "store_error",
		text_json(a->store_error), "leases", (json_int_t)a->conf.n_leases, "pid",
		(int)getpid(), "version", WEFT_VERSION, "tun_io",
		a->opt->tun_io == TUN_IO_PLAIN ? "plain" : "batch", "tun_queues",
		(int)a->tun.n_queues, "tun_offloads", overlay_dev_offloads(&a->tun), "receive",
		receive_name(a), "vxlan_port", (int)a->conf.vxlan_port, "not_ready", not_ready,
		"hooks", report_hooks(a), "registry", report_store(a));
}

static json_t *report_peer(const struct agent *a, const struct lease *lease)
{
	struct nexthop hop = {};
	char ifname[IF_NAMESIZE] = "";

	underlay_nexthop(a->underlay, lease->public_ip, &hop);
	if (hop.ifindex)
		if_indextoname(hop.ifindex, ifname);
	return json_pack("{s:o, s:o, s:s, s:b, s:b, s:o, s:o, s:o, s:i}", "public_ip",
			 ip_json(lease->public_ip), "subnet", prefix_json(lease->subnet), "backend",
			 lease->format < WEFT_FORMAT_MAX ? format_name(lease->format)
							 : lease->backend,
			 "routed", netconf_is_routed(&a->conf, lease), "resolved", hop.resolved,
			 "next_hop", ip_json(hop.gateway), "mac", mac_json(hop.dst_mac), "ifname",
			 text_json(ifname), "mtu", (int)hop.mtu);
}

static json_t *report_peers(const struct agent *a)
{
	json_t *peers = json_array();

	for (size_t i = 0; i < a->conf.n_leases; i++)
		if (!apply_is_own(a, &a->conf.leases[i]))
			json_array_append_new(peers, report_peer(a, &a->conf.leases[i]));
	return peers;
}

static json_t *report_routes(const struct agent *a)
{
	json_t *routes = json_array();

	for (size_t i = 0; i < a->conf.n_leases; i++) {
		const struct lease *lease = &a->conf.leases[i];
		bool local = apply_is_own(a, lease);

		if (!local && !netconf_is_routed(&a->conf, lease))
			continue;
		json_array_append_new(routes, json_pack("{s:o, s:o, s:b}", "subnet",
							prefix_json(lease->subnet), "public_ip",
							ip_json(lease->public_ip), "local", local));
	}
	return routes;
}

static void report_endpoint(const struct endpoint *ep, void *arg)
{
	json_array_append_new(arg,
			      json_pack("{s:o, s:o, s:o, s:I}", "address", ip_json(ep->addr), "mac",
					mac_json(ep->mac), "ifname", text_json(ep->ifname),
					"ifindex", (json_int_t)ep->ifindex));
}

static json_t *report_endpoints(const struct agent *a)
{
	json_t *list = json_array();

	endpoints_each(a->endpoints, report_endpoint, list);
	return list;
}

static void add_counter(json_t *list, uint32_t key, const struct weft_counter *counter)
{
	uint32_t verdict = key / WEFT_REASON_MAX % WEFT_VERDICT_MAX;
	uint32_t hook = key / WEFT_REASON_MAX / WEFT_VERDICT_MAX;

	if (!counter->packets)
		return;
	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I}", "hook", hook_name(hook),
					      "verdict", verdict_name(verdict), "reason",
					      reason_name(key % WEFT_REASON_MAX), "packets",
					      (json_int_t)counter->packets, "bytes",
					      (json_int_t)counter->bytes));
}

/* The kernel's hooks from maps or nftables, tunfd and socket from the loop: no key is in two. */
void report_counters(const struct agent *a, struct weft_counter out[WEFT_COUNTER_MAX])
{
	static struct weft_counter loop[WEFT_COUNTER_MAX];

	memset(out, 0, WEFT_COUNTER_MAX * sizeof(*out));
	memset(loop, 0, sizeof(loop));
	if (a->datapath)
		datapath_counters(a->datapath, out);
	if (a->guard)
		port_guard_count(a->guard, out);
	if (a->forward)
		forward_counters(a->forward, loop);
	for (uint32_t key = 0; key < WEFT_COUNTER_MAX; key++) {
		out[key].packets += loop[key].packets;
		out[key].bytes += loop[key].bytes;
	}
}

static json_t *report_stats(const struct agent *a)
{
	static struct weft_counter counters[WEFT_COUNTER_MAX];
	json_t *list = json_array();

	report_counters(a, counters);
	for (uint32_t key = 0; key < WEFT_COUNTER_MAX; key++)
		add_counter(list, key, &counters[key]);
	return json_pack("{s:o}", "counters", list);
}

typedef json_t *(*report_fn)(const struct agent *a);

static report_fn find_verb(const char *name)
{
	static const struct {
		const char *verb;
		report_fn fn;
	} verbs[] = {
		{"status", report_status},	 {"peers", report_peers}, {"routes", report_routes},
		{"endpoints", report_endpoints}, {"stats", report_stats},
	};

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(name, verbs[i].verb) == 0)
			return verbs[i].fn;
	return NULL;
}

json_t *report_verb(const char *verb, void *arg)
{
	report_fn fn = find_verb(verb);

	return fn ? fn(arg) : NULL;
}

/* Who may only read is not told what else there is. */
bool report_reads(const char *verb)
{
	return find_verb(verb);
}

int report_stream(const char *verb, const char *words, int fd, void *arg)
{
	const struct agent *a = arg;
	const struct trace_wire wire = {
		.local_ip = underlay_uplink(a->underlay)->addr,
		.port = a->conf.port,
		.vxlan_port = a->conf.vxlan_port,
		.vtep_bare = receive_has_kernel(a, WEFT_FORMAT_UDP),
	};

	return strcmp(verb, "trace") ? -ENOENT
				     : tracer_add(a->tracer, a->datapath, &wire, words, fd);
}
