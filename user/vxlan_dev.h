/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's own receiver of format vxlan: a device that takes packets of any VNI and sender, for
 * the vtep program at its ingress to judge (ip-link(8): "external"). Its socket makes the kernel
 * merge TCP segments inside VXLAN before the uplink program sees them (vxlan_gro_receive()), and
 * brings what that program declines to the vtep program, reassembled and verified.
 */
#ifndef WEFT_USER_VXLAN_DEV_H
#define WEFT_USER_VXLAN_DEV_H

#include <stdint.h>

#include "netlink.h"

/*
 * Create or adopt the device, named after the overlay's: flannel0-vx. It is down, and receives
 * nothing, until vxlan_dev_start(). port: host byte order.
 */
int vxlan_dev_open(struct nl *nl, const char *tun, uint16_t port, const uint8_t mac[6],
		   uint32_t *ifindex);
/* -EADDRINUSE: another program or device owns the port. */
int vxlan_dev_start(struct nl *nl, uint32_t ifindex);
/* 0 when there is none. */
int vxlan_dev_delete(struct nl *nl, const char *tun);

#endif
