/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The node's pods, as the kernel knows them: an endpoint is a neighbour on the bridge (address and
 * MAC) whose MAC the bridge has learned on one of its ports. Both halves come from netlink; a pod
 * that moves or goes away is followed by the same events. Idle pods are probed, so that the fast
 * path, which bypasses the bridge, does not let them age out.
 */
#ifndef WEFT_USER_ENDPOINTS_H
#define WEFT_USER_ENDPOINTS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "netconf.h"

struct endpoints;

struct endpoint {
	uint32_t addr; /* host byte order */
	uint32_t ifindex; /* bridge port */
	char ifname[IF_NAMESIZE];
	uint8_t mac[6];
};

struct endpoints_events {
	/*
	 * A complete endpoint appeared or changed, or (ifindex 0, no name, MAC zero) is no longer
	 * known. One whose port is merely renamed has not changed.
	 */
	void (*endpoint)(const struct endpoint *ep, void *arg);
	/*
	 * A device became (or, up = false, ceased to be) a port of the bridge; a port that is
	 * renamed is reported again as up. Its endpoints go before it does.
	 */
	void (*port)(uint32_t ifindex, const char *ifname, bool up, void *arg);
	/*
	 * The bridge appeared, changed its MAC, or went away (ifindex 0, mac zero); its ports go
	 * before it does.
	 */
	void (*bridge)(uint32_t ifindex, const uint8_t mac[6], void *arg);
	void *arg;
};

/*
 * The bridge need not exist yet. Events for what exists are delivered from within this call. The
 * callbacks must not call back into the endpoints. -EINVAL: a subnet larger than a /16.
 */
int endpoints_open(struct loop *loop, const char *bridge, struct prefix4 subnet,
		   const struct endpoints_events *events, struct endpoints **out);
void endpoints_close(struct endpoints *eps);
/* A packet from addr was seen on port ifindex: make the kernel find out (rate limited). */
void endpoints_hint(struct endpoints *eps, uint32_t addr, uint32_t ifindex);
/* Calls fn for each complete endpoint, ascending by address. */
void endpoints_each(const struct endpoints *eps, void (*fn)(const struct endpoint *ep, void *arg),
		    void *arg);
/* Calls fn for each port of the bridge. */
void endpoints_each_port(const struct endpoints *eps, void (*fn)(uint32_t ifindex, void *arg),
			 void *arg);

#endif
