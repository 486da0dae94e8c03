/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flannel0: the persistent TUN device, its address (/32 of the subnet base) and network route. */
#ifndef WEFT_USER_OVERLAY_DEV_H
#define WEFT_USER_OVERLAY_DEV_H

#include <net/if.h>
#include <stdint.h>

#include "netconf.h"

struct overlay_dev {
	int fd; /* non-blocking TUN descriptor, IFF_TUN | IFF_NO_PI */
	uint32_t ifindex;
	char ifname[IF_NAMESIZE];
};

/*
 * Create or adopt the device and make it persistent. -EEXIST if name is no TUN device, -EBUSY if
 * another process holds it, -ENOENT if there is no /dev/net/tun.
 */
int overlay_dev_open(const char *name, struct overlay_dev *out);
/* Releases the descriptor; the device, its address and its route stay. */
void overlay_dev_close(struct overlay_dev *dev);
/*
 * Bring address, MTU, link state and route to the wanted state, changing only what differs:
 * subnet base/32 as the only address inside the network, network route with scope global on the
 * device, preferred source the subnet base, link up. Once made, the route is there at every moment.
 * What an earlier call made for another network is removed.
 */
int overlay_dev_configure(const struct overlay_dev *dev, struct prefix4 network,
			  struct prefix4 subnet, uint32_t mtu);
/* Delete the device by name; 0 when there is none. -EEXIST if name is no TUN device. */
int overlay_dev_delete(const char *name);

#endif
