/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <string.h>

#include "agent_priv.h"
#include "link.h"
#include "log.h"
#include "subnet_env.h"
#include "sysctl.h"
#include "util.h"

#define WRITE_AGAIN_MS 5000 /* each time is a line in the log, of a file system that is full */

/* Bits of an address below the cell number: a cell is a subnet unless that makes too many. */
static uint8_t cell_shift(const struct netconf *conf)
{
	uint8_t subnet = 32 - conf->subnet_len;
	uint8_t fewest = conf->network.len + 16 < 32 ? 32 - conf->network.len - 16 : 0;

	return subnet > fewest ? subnet : fewest;
}

int apply_find_own(const struct netconf *conf, uint32_t public_ip, struct lease *out,
		   char error[NETCONF_ERROR_LEN])
{
	const struct lease *lease = conf->own.len ? netconf_find_lease(conf, conf->own)
						  : netconf_lease_of(conf, public_ip);
	char ip[INET_ADDRSTRLEN];

	if (!lease) {
		snprintf(error, NETCONF_ERROR_LEN, "$.Leases: none with this node's PublicIP %s",
			 ip4_format(public_ip, ip));
		return -ENOENT;
	}
	if (lease->subnet.len < 16) {
		snprintf(error, NETCONF_ERROR_LEN, "$.Leases: own subnet larger than a /16");
		return -ENOENT;
	}
	*out = *lease;
	return 0;
}

/* DSCP is the upper six bits of TOS (RFC 2474 section 3). */
static uint8_t own_tos(const struct agent *a)
{
	return a->opt->outer_dscp == DSCP_INHERIT ? 0 : (uint8_t)(a->opt->outer_dscp << 2);
}

static uint32_t checksum_words(const struct weft_peer *peer)
{
	const uint8_t *ip = &peer->ver_ihl;
	uint32_t sum = 0;

	for (int i = 0; i < WEFT_IP4_HLEN; i += 2) {
		uint16_t word;

		memcpy(&word, ip + i, 2);
		sum += word;
	}
	return sum;
}

static int compare_owner(const void *a, const void *b)
{
	const struct lease *x = *(const struct lease *const *)a,
			   *y = *(const struct lease *const *)b;

	if (x->public_ip != y->public_ip)
		return x->public_ip < y->public_ip ? -1 : 1;
	return x < y ? -1 : x > y;
}

static const struct lease *find_peer(const struct agent *a, uint32_t public_ip)
{
	size_t low = 0, high = a->n_peers;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (a->peers[middle]->public_ip < public_ip)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->n_peers && a->peers[low]->public_ip == public_ip ? a->peers[low] : NULL;
}

enum weft_format apply_format(const struct agent *a, const struct lease *own)
{
	enum weft_format demanded = a->opt->format;

	if (demanded < WEFT_FORMAT_MAX)
		return demanded;
	return own->format < WEFT_FORMAT_MAX ? own->format : WEFT_FORMAT_UDP;
}

bool apply_is_own(const struct agent *a, const struct lease *lease)
{
	return lease->subnet.addr == a->own.subnet.addr && lease->subnet.len == a->own.subnet.len;
}

/* A lease of ours besides the own one is one of old, and leads nowhere. */
static bool is_used(const struct agent *a, const struct lease *lease)
{
	return apply_is_own(a, lease) ||
	       (netconf_is_routed(&a->conf, lease) && lease->public_ip != a->public_ip);
}

/* Nodes, each with its first lease. */
static void collect_peers(struct agent *a)
{
	size_t n = 0, unique = 0;

	for (size_t i = 0; i < a->conf.n_leases; i++)
		if (is_used(a, &a->conf.leases[i]) && !apply_is_own(a, &a->conf.leases[i]))
			a->peers[n++] = &a->conf.leases[i];
	qsort(a->peers, n, sizeof(*a->peers), compare_owner);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || a->peers[i]->public_ip != a->peers[i - 1]->public_ip)
			a->peers[unique++] = a->peers[i];
	a->n_peers = unique;
}

int apply_take(struct agent *a, struct netconf *next, const struct lease *own)
{
	const struct lease **peers = calloc(next->n_leases + 1, sizeof(*peers));

	if (!peers)
		return -ENOMEM;
	free(a->peers);
	a->peers = peers;
	netconf_free(&a->conf);
	a->conf = *next;
	*next = (struct netconf){};
	a->own = *own;
	a->format = apply_format(a, own);
	collect_peers(a);
	return 0;
}

static void build_peer(const struct agent *a, const struct lease *lease, const struct nexthop *hop,
		       struct weft_peer *peer)
{
	uint16_t port = lease->format == WEFT_FORMAT_VXLAN ? a->conf.vxlan_port : a->conf.port;

	*peer = (struct weft_peer){
		.eth_proto = htons(ETH_P_IP),
		.ver_ihl = 0x45,
		.frag_off = htons(IP_DF),
		.ttl = WEFT_OUTER_TTL,
		.protocol = format_protocol(lease->format),
		.saddr = htonl(underlay_uplink(a->underlay)->addr),
		.daddr = htonl(lease->public_ip),
		.sport = htons(port),
		.dport = htons(port),
		.mtu = hop->mtu,
		.format = lease->format,
		.overhead = format_overhead(lease->format),
	};
	peer->ip_csum = checksum_words(peer);
	peer->tos = own_tos(a);
	memcpy(peer->vtep_mac, lease->vtep.mac, sizeof(peer->vtep_mac));
	peer->ifindex = hop->ifindex;
	if (!hop->resolved)
		return;
	memcpy(peer->eth_dst, hop->dst_mac, 6);
	memcpy(peer->eth_src, hop->src_mac, 6);
	peer->flags = WEFT_PEER_RESOLVED | (hop->asymmetric ? WEFT_PEER_ASYMMETRIC : 0);
}

int apply_peer(struct agent *a, uint32_t public_ip, bool keep)
{
	const struct lease *lease = find_peer(a, public_ip);
	struct weft_peer peer;
	struct nexthop hop;

	if (!a->datapath || !lease || underlay_nexthop(a->underlay, public_ip, &hop))
		return 0;
	if (keep && !hop.resolved &&
	    (!hop.ifindex || datapath_peer_is_resolved(a->datapath, public_ip)))
		return 0;
	build_peer(a, lease, &hop, &peer);
	return datapath_set_peer(a->datapath, public_ip, &peer);
}

int apply_config(struct agent *a)
{
	struct weft_config config = {
		.flags = WEFT_CONFIG_READY | (a->opt->peer_check ? WEFT_CONFIG_PEER_CHECK : 0) |
			 (a->opt->entropy ? WEFT_CONFIG_ENTROPY : 0) |
			 (a->opt->approve == APPROVE_HOST ? WEFT_CONFIG_APPROVE_HOST : 0) |
			 (a->opt->outer_dscp == DSCP_INHERIT ? WEFT_CONFIG_INHERIT_DSCP : 0) |
			 (receive_has_kernel(a, WEFT_FORMAT_UDP) ? WEFT_CONFIG_VTEP_BARE : 0),
		.network = a->conf.network.addr,
		.network_mask = prefix4_mask(a->conf.network.len),
		.subnet = a->own.subnet.addr,
		.subnet_mask = prefix4_mask(a->own.subnet.len),
		.cell_shift = cell_shift(&a->conf),
		.local_ip = htonl(underlay_uplink(a->underlay)->addr),
		.port = htons(a->conf.port),
		.vxlan_port = htons(a->conf.vxlan_port),
		.vxlan_vni = htonl(a->conf.vni << 8),
		.formats = (1 << WEFT_FORMAT_MAX) - 1,
		.tun_ifindex = a->tun.ifindex,
		.uplink_ifindex = underlay_uplink(a->underlay)->ifindex,
	};

	if (!a->datapath)
		return 0;
	memcpy(config.vtep_mac, a->own.vtep.mac, 6);
	memcpy(config.bridge_mac, a->bridge_mac, 6);
	config.aggregate_ifindex = a->aggregator.tx_ifindex;
	memcpy(config.aggregate_mac, a->aggregator.rx_mac, 6);
	return datapath_set_config(a->datapath, &config);
}

static int apply_routes(struct agent *a)
{
	_free_ struct datapath_route *routes = calloc(a->conf.n_leases + 1, sizeof(*routes));
	size_t n = 0;

	if (!routes)
		return -ENOMEM;
	for (size_t i = 0; i < a->conf.n_leases; i++) {
		const struct lease *lease = &a->conf.leases[i];

		if (!is_used(a, lease))
			continue;
		routes[n++] = (struct datapath_route){
			.addr = lease->subnet.addr,
			.len = lease->subnet.len,
			.local = apply_is_own(a, lease),
			.public_ip = lease->public_ip,
		};
	}
	return datapath_set_routes(a->datapath, a->conf.network.addr, cell_shift(&a->conf), routes,
				   n);
}

static void peer_ips(const struct agent *a, uint32_t *out)
{
	for (size_t i = 0; i < a->n_peers; i++)
		out[i] = a->peers[i]->public_ip;
}

static int apply_peers(struct agent *a)
{
	_free_ uint32_t *ips = calloc(a->conf.n_leases + 1, sizeof(*ips));
	int err;

	if (!ips)
		return -ENOMEM;
	peer_ips(a, ips);
	err = underlay_set_peers(a->underlay, ips, a->n_peers);
	for (size_t i = 0; i < a->n_peers; i++) {
		int peer_err = apply_peer(a, ips[i], true);

		err = err ? err : peer_err;
	}
	return err;
}

void apply_table(void *arg)
{
	struct agent *a = arg;
	struct forward_table *table = forward_table_new(a->conf.n_leases, a->conf.n_leases);
	size_t n = 0;

	if (!table) {
		log_warn("out of memory: the slow path keeps its old routes");
		return;
	}
	table->network = a->conf.network;
	table->subnet = a->own.subnet;
	table->port = a->conf.port;
	table->vxlan_port = a->conf.vxlan_port;
	table->vtep = a->own.vtep;
	table->tos = own_tos(a);
	table->dscp_inherited = a->opt->outer_dscp == DSCP_INHERIT;
	table->peer_check = a->opt->peer_check;
	/* Pods may be of a time when the network had another format. */
	table->mtu = a->mtu + format_overhead(a->format) - WEFT_OVERHEAD_MAX;
	table->n_members = a->n_peers;
	peer_ips(a, table->members);
	for (size_t i = 0; i < a->conf.n_leases; i++) {
		const struct lease *lease = &a->conf.leases[i];
		struct nexthop hop = {};

		if (!is_used(a, lease) || apply_is_own(a, lease))
			continue;
		underlay_nexthop(a->underlay, lease->public_ip, &hop);
		table->routes[n++] = (struct forward_route){
			.subnet = lease->subnet,
			.public_ip = lease->public_ip,
			.mtu = hop.mtu ? hop.mtu : a->mtu + format_overhead(a->format),
			.format = lease->format,
		};
		memcpy(table->routes[n - 1].vtep_mac, lease->vtep.mac, sizeof(lease->vtep.mac));
	}
	table->n_routes = n;
	forward_set_table(a->forward, table);
}

void apply_table_soon(struct agent *a)
{
	loop_timer_arm(a->table_timer, 20, 0);
}

void apply_guard(void *arg)
{
	struct agent *a = arg;

	if (a->guard)
		port_guard_set(a->guard, a->endpoints);
}

static int write_subnet_file(struct agent *a)
{
	int err = subnet_env_write(a->opt->subnet_file, a->conf.network, a->own.subnet, a->mtu,
				   a->opt->ip_masq);

	if (err)
		loop_timer_arm(a->subnet_file_timer, WRITE_AGAIN_MS, 0);
	return err;
}

void apply_subnet_file(void *arg)
{
	write_subnet_file(arg);
}

int apply_device(struct agent *a)
{
	uint32_t mtu = underlay_uplink(a->underlay)->mtu - format_overhead(a->format);
	bool changed;
	int err;

	/* 68 is the smallest MTU of an IPv4 link (RFC 791). */
	if (underlay_uplink(a->underlay)->mtu < 68 + format_overhead(a->format))
		return log_err(-EINVAL, "uplink MTU %u is too small",
			       underlay_uplink(a->underlay)->mtu);
	err = overlay_dev_configure(&a->tun, a->conf.network, a->own.subnet, mtu, &changed);
	if (err)
		return err;
	a->mtu = mtu;
	sysctl_enable_forwarding();
	sysctl_loosen_rp_filter(a->tun.ifname);
	return write_subnet_file(a);
}

/* No packet meets a configuration whose routes are not there. */
static int fill_maps(struct agent *a)
{
	int again = apply_routes(a), err = again < 0 ? again : apply_config(a);

	return err == 0 && again ? apply_routes(a) : err;
}

int apply_all(struct agent *a)
{
	int err;

	if (a->datapath) {
		err = fill_maps(a);
		if (err)
			return err;
	}
	err = apply_peers(a);
	if (err)
		return err;
	apply_table(a);
	return 0;
}

void apply_endpoint(struct agent *a, const struct endpoint *ep)
{
	struct weft_endpoint value = {.ifindex = ep->ifindex};

	if (!prefix4_contains(a->own.subnet, ep->addr))
		return;
	if (!a->datapath) {
		loop_timer_arm(a->guard_timer, 10, 0);
		return;
	}
	memcpy(value.mac, ep->mac, 6);
	if (ep->ifindex && link_peer_is_elsewhere(a->nl, ep->ifindex))
		value.flags |= WEFT_ENDPOINT_DIRECT;
	datapath_set_endpoint(a->datapath, ep->addr - a->own.subnet.addr, &value);
}
