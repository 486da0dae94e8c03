/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The port hook's source check for tier tun, where no program of ours sees the ports: nftables
 * refuses what a pod sends through the bridge with the address of another pod of the node. The
 * slow path cannot tell them apart, a packet from the TUN device has no port. Router advertisements
 * of known pods are refused, too. The table outlives the agent like everything else that protects
 * or forwards.
 */
#ifndef WEFT_USER_PORT_GUARD_H
#define WEFT_USER_PORT_GUARD_H

#include <weft/abi.h>

#include "endpoints.h"

struct port_guard;

/*
 * Make or adopt table "bridge weft-TUN"; its endpoints stay until they are set. -EOPNOTSUPP when
 * the kernel refuses it.
 */
int port_guard_open(const char *tun, struct port_guard **out);
void port_guard_close(struct port_guard *guard);
/* Replaces the known endpoints, in one transaction. 0 or -EIO, logged. */
int port_guard_set(struct port_guard *guard, const struct endpoints *eps);
/* Adds what was refused so far; nothing when it cannot be read. */
void port_guard_count(struct port_guard *guard, struct weft_counter *refused);
/* Remove the table; 0 when there is none. */
int port_guard_delete(const char *tun);

#endif
