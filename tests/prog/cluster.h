/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The small cluster of the program tests, for whatever holds the programs' maps:
 *   this node     10.244.1.0/24 at 192.0.2.1; pods .2 (the port of the test), .3 (another port),
 *                 .5 (a port that redirect-peer cannot reach); .4 is not known
 *   10.244.2.0/24 at 192.0.2.2   resolved, MTU 1500
 *   10.244.3.0/24 at 192.0.2.3   on the way there the next hop's MAC is not known
 *   10.244.4.0/24 at 192.0.2.4   resolved, MTU 1400
 *   10.244.5.0/25 at 192.0.2.5   a prefix longer than a cell; the other half is free
 *   10.244.6.0/23 at 192.0.2.6   a prefix of two cells
 *   10.244.9.0/24 at 192.0.2.8   no way there
 *   10.244.255.0/24 at 192.0.2.7 the last cell
 * and with CLUSTER_FORMATS
 *   10.244.10.0/24 at 192.0.2.10 is sent format vxlan, VNI 1
 *   10.244.11.0/24 at 192.0.2.11 is sent format ipip
 */
#ifndef WEFT_TESTS_CLUSTER_H
#define WEFT_TESTS_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "weft/abi.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define OUT(host) IP(192, 0, 2, host)
#define IN(subnet, host) IP(10, 244, subnet, host)
#define POD IP(10, 244, 1, 2)
#define REMOTE IP(10, 244, 2, 2)
#define NODE IP(192, 0, 2, 1)
#define PEER IP(192, 0, 2, 2)

/* The loopback device stands for the uplink: its address makes a frame "for this host". */
extern const uint8_t bridge_mac[6], pod_mac[6], uplink_mac[6], peer_mac[6];
/* Ends of format vxlan */
extern const uint8_t node_vtep[6], peer_vtep[6];

/* The device of the test's port, the uplink and the overlay device; and of the other port. */
#define CLUSTER_IFINDEX 1
#define CLUSTER_OTHER_PORT 77

enum cluster_map {
	CLUSTER_STATE,
	CLUSTER_PEERS,
	CLUSTER_MEMBERS,
	CLUSTER_ROUTES,
	CLUSTER_PREFIXES,
	CLUSTER_ENDPOINTS,
};

typedef void (*cluster_put_fn)(enum cluster_map map, const void *key, const void *value);

/* All of it; flags: WEFT_CONFIG_*. Format udp alone is accepted. */
void cluster_put(cluster_put_fn put, uint32_t flags);
/* The routes to the nodes of other formats. */
void cluster_put_formats(cluster_put_fn put);
void cluster_put_route(cluster_put_fn put, uint32_t cell, uint32_t value);
/* The state that cluster_put() puts, to be changed. */
struct weft_state cluster_state(uint32_t flags);
/* Cells that any test sets: no route. */
void cluster_clear_routes(cluster_put_fn put);

#endif
