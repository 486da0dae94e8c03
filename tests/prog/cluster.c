/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cluster.h"

#include <arpa/inet.h>
#include <string.h>

const uint8_t bridge_mac[6] = {0x02, 0, 0, 0, 0, 0x01};
const uint8_t pod_mac[6] = {0x02, 0, 0, 0, 0, 0x02};
const uint8_t uplink_mac[6] = {0};
const uint8_t peer_mac[6] = {0x02, 0, 0, 0, 0, 0x22};
const uint8_t node_vtep[6] = {0x0e, 0x66, 192, 0, 2, 1};
const uint8_t peer_vtep[6] = {0x4a, 0, 0, 0, 0, 0x07};

static void sum_header(struct weft_peer *peer)
{
	uint16_t word;

	peer->ip_csum = 0;
	for (int i = 0; i < 20; i += 2) {
		memcpy(&word, &peer->ver_ihl + i, 2);
		peer->ip_csum += word;
	}
}

static struct weft_peer make_peer(uint32_t addr, uint32_t mtu, uint32_t ifindex, bool resolved)
{
	struct weft_peer peer = {
		.eth_proto = htons(0x0800),
		.ver_ihl = 0x45,
		.frag_off = htons(0x4000),
		.ttl = 64,
		.protocol = 17,
		.saddr = htonl(NODE),
		.daddr = htonl(addr),
		.sport = htons(8285),
		.dport = htons(8285),
		.flags = resolved ? WEFT_PEER_RESOLVED : 0,
		.ifindex = ifindex,
		.mtu = mtu,
		.overhead = WEFT_OVERHEAD_UDP,
	};

	memcpy(peer.eth_dst, peer_mac, 6);
	memcpy(peer.eth_src, uplink_mac, 6);
	sum_header(&peer);
	return peer;
}

static void put_peer(cluster_put_fn put, uint32_t slot, const struct weft_peer *peer)
{
	uint32_t one = 1;

	put(CLUSTER_PEERS, &slot, peer);
	put(CLUSTER_MEMBERS, &peer->daddr, &one);
}

static void put_peer_of_format(cluster_put_fn put, uint32_t slot, uint32_t addr,
			       enum weft_format format, uint8_t overhead)
{
	struct weft_peer peer = make_peer(addr, 1500, CLUSTER_IFINDEX, true);

	peer.format = format;
	peer.overhead = overhead;
	peer.protocol = format == WEFT_FORMAT_IPIP ? 4 : 17;
	sum_header(&peer);
	peer.sport = peer.dport = htons(8472);
	memcpy(peer.vtep_mac, peer_vtep, 6);
	put_peer(put, slot, &peer);
}

void cluster_put_route(cluster_put_fn put, uint32_t cell, uint32_t value)
{
	put(CLUSTER_ROUTES, &cell, &value);
}

void cluster_clear_routes(cluster_put_fn put)
{
	for (uint32_t cell = 0; cell < 1024; cell++)
		cluster_put_route(put, cell, WEFT_ROUTE_NONE);
}

static void put_endpoint(cluster_put_fn put, uint32_t index, uint32_t ifindex, uint16_t flags)
{
	struct weft_endpoint ep = {.ifindex = ifindex, .flags = flags};

	memcpy(ep.mac, pod_mac, 6);
	put(CLUSTER_ENDPOINTS, &index, &ep);
}

static void put_routes(cluster_put_fn put)
{
	struct weft_prefix half = {.prefixlen = 25, .addr = htonl(IN(5, 0))};
	uint32_t slot = 4;

	cluster_clear_routes(put);
	cluster_put_route(put, 1, WEFT_ROUTE_LOCAL);
	cluster_put_route(put, 2, 1);
	cluster_put_route(put, 3, 2);
	cluster_put_route(put, 4, 3);
	cluster_put_route(put, 5, WEFT_ROUTE_LPM);
	put(CLUSTER_PREFIXES, &half, &slot);
	cluster_put_route(put, 6, 5);
	cluster_put_route(put, 7, 5);
	cluster_put_route(put, 9, 7);
	cluster_put_route(put, 255, 6);
}

void cluster_put_formats(cluster_put_fn put)
{
	cluster_put_route(put, 10, 8);
	cluster_put_route(put, 11, 9);
}

struct weft_state cluster_state(uint32_t flags)
{
	struct weft_state st = {
		.generation = 1,
		.ttl_tcp = UINT32_MAX,
		.ttl_other = UINT32_MAX,
		.secret = {1, 2},
	};

	st.half[0] = (struct weft_config){
		.flags = flags,
		.network = IN(0, 0),
		.network_mask = 0xffff0000,
		.subnet = IN(1, 0),
		.subnet_mask = 0xffffff00,
		.cell_shift = 8,
		.local_ip = htonl(NODE),
		.port = htons(8285),
		.formats = 1 << WEFT_FORMAT_UDP,
		.tun_ifindex = CLUSTER_IFINDEX,
		.uplink_ifindex = CLUSTER_IFINDEX,
		.vxlan_port = htons(8472),
		.vxlan_vni = htonl(1 << 8),
	};
	memcpy(st.half[0].vtep_mac, node_vtep, 6);
	memcpy(st.half[0].bridge_mac, bridge_mac, 6);
	return st;
}

void cluster_put(cluster_put_fn put, uint32_t flags)
{
	struct weft_state st = cluster_state(flags);
	struct weft_peer peer;
	uint32_t zero = 0;

	for (uint32_t i = 1; i <= 6; i++) {
		peer = make_peer(OUT(1) + i, i == 3 ? 1400 : 1500, CLUSTER_IFINDEX, i != 2);
		put_peer(put, i, &peer);
	}
	peer = make_peer(OUT(8), 1500, 0, false);
	put_peer(put, 7, &peer);
	put_peer_of_format(put, 8, OUT(10), WEFT_FORMAT_VXLAN, 50);
	put_peer_of_format(put, 9, OUT(11), WEFT_FORMAT_IPIP, 20);
	put_routes(put);
	put_endpoint(put, 2, CLUSTER_IFINDEX, WEFT_ENDPOINT_DIRECT);
	put_endpoint(put, 3, CLUSTER_OTHER_PORT, WEFT_ENDPOINT_DIRECT);
	put_endpoint(put, 5, CLUSTER_IFINDEX, 0);
	put(CLUSTER_STATE, &zero, &st);
}
