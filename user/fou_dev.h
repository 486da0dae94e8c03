/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's own receiver of format udp, where FOU is loaded (ip-fou(8)): a port that takes
 * packets out of their UDP header, and a device that takes them out of their outer IPv4 header, of
 * any sender, for the vtep program at its ingress to judge. The port makes the kernel merge TCP
 * segments inside before the uplink program sees them (fou_gro_receive()), and brings what that
 * program declines to the vtep program, reassembled and verified. Packets of format ipip that are
 * left to the kernel end at the same device. No socket can have the port meanwhile.
 */
#ifndef WEFT_USER_FOU_DEV_H
#define WEFT_USER_FOU_DEV_H

#include <stdint.h>

#include "netlink.h"

/*
 * Create or adopt the device, named after the overlay's: flannel0-fou. Receives nothing until
 * fou_dev_start(). port: host byte order. -ENOENT, -EOPNOTSUPP: not in this kernel; -EEXIST:
 * somebody else takes the packets of all senders.
 */
int fou_dev_open(struct nl *nl, const char *tun, uint16_t port, uint32_t *ifindex);
/* -EADDRINUSE: the port is another program's. */
int fou_dev_start(struct nl *nl, uint32_t ifindex, uint16_t port);
/*
 * Device and port: the one that the device tells of, or, where somebody else deleted it, the one
 * that fou_dev_start() was given (0: none). 0 when there is none.
 */
int fou_dev_delete(struct nl *nl, const char *tun, uint16_t started);

#endif
