/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The underlay as the kernel sees it: this node's uplink, and for each peer the next hop, its MAC
 * and the path's MTU, kept fresh by netlink events and by probing, without traffic.
 */
#ifndef WEFT_USER_UNDERLAY_H
#define WEFT_USER_UNDERLAY_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct underlay;

struct uplink {
	uint32_t ifindex;
	char ifname[IF_NAMESIZE];
	uint8_t mac[6];
	uint32_t mtu;
	uint32_t addr; /* host byte order: the local address peers send to */
	bool up; /* administratively up and with carrier */
	bool addr_present; /* addr is (still) configured on the interface */
};

/* How to reach one peer. What is not known is 0; dst_mac always while not resolved. */
struct nexthop {
	bool resolved; /* MACs valid, ifindex not 0 */
	uint32_t ifindex; /* output device of the route, while it is up */
	uint8_t dst_mac[6];
	uint8_t src_mac[6]; /* of the output device */
	uint32_t gateway; /* host byte order; the peer itself when on link */
	bool asymmetric; /* sends from another MAC than dst_mac: no reason to ask again */
	uint32_t mtu; /* of the route (metric), its device, or as learnt: outer bytes */
};

struct underlay_select { /* flannel's interface flags; any may be NULL */
	const char *iface; /* name or address */
	const char *iface_regex;
	const char *can_reach;
	const char *public_ip; /* published address when it differs from the interface's */
};

/*
 * Choose the uplink as flannel does (flannel.md 4.2) and start watching.
 * -ENODEV when nothing matches; the reason is logged.
 */
int underlay_open(struct loop *loop, const struct underlay_select *select, struct underlay **out);
void underlay_close(struct underlay *u);
const struct uplink *underlay_uplink(const struct underlay *u);

/*
 * The set of peers to watch, host byte order, sorted ascending, no duplicates. The array is copied.
 * Resolution of new peers is started; a peer on link gets an ARP request at once. What is known
 * already can be read right after; peer_fn is called for later changes only.
 * -ENOMEM leaves the old set.
 */
int underlay_set_peers(struct underlay *u, const uint32_t *public_ips, size_t n);
/* Current next hop of a watched peer. -ENOENT for any other address. */
int underlay_nexthop(const struct underlay *u, uint32_t public_ip, struct nexthop *out);
/*
 * A router on the way to this peer takes no more than mtu outer bytes. Believed for ten minutes, as
 * the kernel does (net.ipv4.route.mtu_expires), and never below UNDERLAY_MIN_MTU (its min_pmtu).
 * Whoever can forge what the router quotes makes a path slower, not unusable.
 */
#define UNDERLAY_MIN_MTU 552
void underlay_learn_mtu(struct underlay *u, uint32_t public_ip, uint32_t mtu);
/* Traffic suggests that this peer's MAC changed: ask the network again (rate limited). */
void underlay_probe(struct underlay *u, uint32_t public_ip);

/*
 * peer_fn: the next hop of one peer changed. uplink_fn: *underlay_uplink() changed. Either may be
 * NULL. They are called from the loop; peer_fn must not change the set of peers, and neither may
 * close the underlay.
 */
void underlay_on_change(struct underlay *u, void (*peer_fn)(uint32_t public_ip, void *arg),
			void (*uplink_fn)(void *arg), void *arg);

#endif
