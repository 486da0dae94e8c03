/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What rtnetlink says about a bridge, its ports and its forwarding database, and the two ways of
 * making the kernel look for a neighbour. IPv4 addresses are in host byte order.
 */
#ifndef WEFT_USER_BRIDGE_H
#define WEFT_USER_BRIDGE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "netlink.h"

struct bridge_link {
	uint32_t ifindex;
	uint32_t master; /* 0: none */
	char ifname[IF_NAMESIZE];
	uint8_t mac[6];
	bool running; /* administratively up, with carrier */
	bool bridge;
	bool vlan_filtering;
};

struct bridge_fdb {
	uint32_t ifindex; /* the port */
	uint32_t master; /* the bridge */
	uint8_t mac[6];
	bool local; /* an address of the bridge's own, not a learnt one */
};

/* -EPROTO when the message is not about a link itself (a bridge port's state, wireless). */
int bridge_link_parse(const struct nlmsghdr *nlh, struct bridge_link *out);
/* -ENODEV when there is no device of this name, or when it is no bridge. */
int bridge_link_get(struct nl *nl, const char *ifname, struct bridge_link *out);

/* -EPROTO when the message is not about an entry of a bridge. */
int bridge_fdb_parse(const struct nlmsghdr *nlh, struct bridge_fdb *out);
/* -ENOENT when the bridge has not learnt mac, at least not outside a VLAN. */
int bridge_fdb_get(struct nl *nl, uint32_t bridge, const uint8_t mac[6], struct bridge_fdb *out);

/* Dump links (AF_UNSPEC), addresses (AF_INET), neighbours (AF_INET) or FDB (AF_BRIDGE). */
int bridge_dump(struct nl *nl, uint16_t type, uint8_t family, nl_fn fn, void *arg);

/*
 * Resolve addr as if there were traffic for it: makes an entry, or refreshes an old one when its
 * time has come. Never call either for a permanent entry: it would lose its permanence.
 */
int bridge_neigh_use(struct nl *nl, uint32_t bridge, uint32_t addr);
/* Ask the known MAC at once, however fresh the entry is. Negative when there is no valid entry. */
int bridge_neigh_verify(struct nl *nl, uint32_t bridge, uint32_t addr);

#endif
