/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Typed questions to rtnetlink about links, IPv4 addresses, routes and neighbours. Addresses are in
 * host byte order. Functions return 0 or -errno and leave *out untouched on failure.
 */
#ifndef WEFT_USER_RTNL_H
#define WEFT_USER_RTNL_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netlink.h"

struct rtnl_link {
	uint32_t ifindex;
	char ifname[IF_NAMESIZE];
	uint8_t mac[6];
	uint32_t mtu;
	bool up; /* administratively up, with carrier, and operational */
	bool set_down; /* administratively */
	bool ethernet; /* frames carry an Ethernet header, and it is not the loopback */
	bool port; /* of a bridge, bond or team: carries no IP of its own */
	uint32_t master; /* index of that, or of its VRF; 0: none */
};

struct rtnl_addr {
	uint32_t ifindex;
	uint32_t addr;
	uint32_t flags; /* IFA_F_* */
};

struct rtnl_route {
	uint32_t ifindex;
	uint32_t gateway; /* the destination itself when it is on link */
	uint32_t prefsrc;
	uint32_t mtu; /* metric or learnt path MTU; 0: the device's */
	bool unicast; /* false: local, broadcast, or a gateway that is not IPv4 */
};

struct rtnl_neigh {
	uint32_t ifindex;
	uint32_t addr;
	uint16_t state; /* NUD_* */
	bool has_mac;
	uint8_t mac[6];
};

/* -EPROTO when it is not about a link itself (a bridge port's state), or only an event of Wi-Fi. */
int rtnl_link_parse(const struct nlmsghdr *nlh, struct rtnl_link *out);
/* By index, or by name when ifindex is 0. -ENODEV when there is none. */
int rtnl_link_get(struct nl *nl, uint32_t ifindex, const char *ifname, struct rtnl_link *out);
/*
 * Of a tunnel device: attribute attr of its kind (below IFLA_INFO_DATA), which is a port in network
 * byte order; host byte order, 0 when there is no such device or no such attribute.
 */
uint16_t rtnl_link_port(struct nl *nl, const char *ifname, uint16_t attr);
/* Up, and without ARP: for devices that carry no addresses of their own. */
int rtnl_link_set_up(struct nl *nl, uint32_t ifindex);
/* 0 when there is none of that name. */
int rtnl_link_delete(struct nl *nl, const char *ifname);
/* All links and all IPv4 addresses, in the kernel's order; the caller frees *out. */
int rtnl_link_dump(struct nl *nl, struct rtnl_link **out, size_t *n);
int rtnl_addr_dump(struct nl *nl, struct rtnl_addr **out, size_t *n);

/* The kernel's decision for dst, from src unless that is 0. -errno for unreachable and the like. */
int rtnl_route_lookup(struct nl *nl, uint32_t dst, uint32_t src, struct rtnl_route *out);
/* Device of the main table's first default route. -ENOENT: none; -ELOOP: it has several devices. */
int rtnl_default_route(struct nl *nl, uint32_t *ifindex);
/* The destinations that a route message is about. -EPROTO when it is not an IPv4 route. */
int rtnl_route_range(const struct nlmsghdr *nlh, uint32_t *first, uint32_t *last);

/* -EPROTO when the message is not about an IPv4 neighbour. */
int rtnl_neigh_parse(const struct nlmsghdr *nlh, struct rtnl_neigh *out);
/* -ENOENT when the kernel has no entry. */
int rtnl_neigh_get(struct nl *nl, uint32_t ifindex, uint32_t addr, struct rtnl_neigh *out);
/*
 * Have the kernel resolve a neighbour as if there were traffic; managed (from 5.16, ignored before)
 * makes it keep doing so. Never call it for a permanent entry: it would lose its permanence.
 */
int rtnl_neigh_use(struct nl *nl, uint32_t ifindex, uint32_t addr, bool managed);
int rtnl_neigh_delete(struct nl *nl, uint32_t ifindex, uint32_t addr);

#endif
