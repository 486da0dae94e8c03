/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The veth pair behind which single TCP segments are merged (why and how: bpf/aggregate.h). Named
 * after the overlay device: flannel0-tx, where the uplink program sends, and flannel0-rx with GRO.
 */
#ifndef WEFT_USER_AGGREGATOR_H
#define WEFT_USER_AGGREGATOR_H

#include <stdint.h>

#include "netlink.h"

struct aggregator {
	uint32_t tx_ifindex;
	uint32_t rx_ifindex;
	uint8_t rx_mac[6];
};

/*
 * Create or adopt the pair, with as many queues as the uplink receives by; -ENAMETOOLONG when no
 * name can be derived from tun, -EOPNOTSUPP before Linux 5.13, which would not merge there.
 */
int aggregator_open(struct nl *nl, const char *tun, const char *uplink, struct aggregator *out);
/* 0 when there is none. */
int aggregator_delete(struct nl *nl, const char *tun);

#endif
