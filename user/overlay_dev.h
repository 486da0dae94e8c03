/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flannel0: the persistent TUN device, its address (/32 of the subnet base) and network route. */
#ifndef WEFT_USER_OVERLAY_DEV_H
#define WEFT_USER_OVERLAY_DEV_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netconf.h"

#define OVERLAY_QUEUES_MAX 16

struct overlay_dev {
	int queues[OVERLAY_QUEUES_MAX]; /* TUN descriptors, IFF_TUN | IFF_NO_PI */
	size_t n_queues;
	bool vnet; /* each packet has a struct virtio_net_hdr in front */
	bool tso, uso; /* checksums and TCP segmentation are ours, UDP segmentation, too */
	uint32_t ifindex;
	char ifname[IF_NAMESIZE];
};

/*
 * Create or adopt the device and make it persistent, with up to n_queues queues and, if wanted,
 * what offloads the kernel has; what is missing is logged. -EEXIST if name is no TUN device, -EBUSY
 * if another process holds it, -ENOENT if there is no /dev/net/tun.
 */
int overlay_dev_open(const char *name, size_t n_queues, bool offloads, struct overlay_dev *out);
/* What of segmentation the kernel leaves to the descriptors' owner, for people to read. */
const char *overlay_dev_offloads(const struct overlay_dev *dev);
/* Releases the descriptors; the device, its address and its route stay. */
void overlay_dev_close(struct overlay_dev *dev);
/*
 * Bring address, MTU, link state and route to the wanted state, changing only what differs:
 * subnet base/32 as the only address inside the network, network route with scope global on the
 * device, preferred source the subnet base, link up. Once made, the route is there at every moment.
 * What an earlier call made for another network is removed. *changed: something did differ.
 */
int overlay_dev_configure(const struct overlay_dev *dev, struct prefix4 network,
			  struct prefix4 subnet, uint32_t mtu, bool *changed);
/* Delete the device by name; 0 when there is none. -EEXIST if name is no TUN device. */
int overlay_dev_delete(const char *name);

#endif
