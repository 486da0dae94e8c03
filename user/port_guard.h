/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The port hook's refusals for tier tun, where no program of ours sees the ports: in table "bridge
 * weft-TUN" nftables drops what a pod sends with the address of another pod of the node, which the
 * slow path could not tell (a packet from the TUN device has no port); what a peer would
 * decapsulate; a second VLAN tag; and router advertisements. The table is put back when somebody
 * removes or changes it, and outlives the agent like everything else that protects or forwards.
 */
#ifndef WEFT_USER_PORT_GUARD_H
#define WEFT_USER_PORT_GUARD_H

#include <weft/abi.h>

#include "endpoints.h"
#include "loop.h"

struct port_guard;

struct port_guard_config {
	const char *tun; /* whose name the table has */
	struct prefix4 network;
	uint16_t port, vxlan_port; /* of peers, host byte order */
	loop_fn lost; /* the table was put back: ports and endpoints are to be set again */
	void *arg;
};

/*
 * Make the table or adopt it; its ports and endpoints stay until they are set. config is copied but
 * for the name. -EOPNOTSUPP when the kernel refuses it.
 */
int port_guard_open(struct loop *loop, const struct port_guard_config *config,
		    struct port_guard **out);
void port_guard_close(struct port_guard *guard);
/* Makes the table anew with these ports and endpoints, in one transaction. 0 or -EIO, logged. */
int port_guard_set(struct port_guard *guard, const struct endpoints *eps);
/* Adds what was refused since the table was made, by WEFT_COUNTER(); nothing if it is away. */
void port_guard_count(struct port_guard *guard, struct weft_counter counters[WEFT_COUNTER_MAX]);
/* Remove the table; 0 when there is none. */
int port_guard_delete(const char *tun);

#endif
