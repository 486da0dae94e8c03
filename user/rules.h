/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the host's stack judges packets by, watched for changes: nftables (and iptables on top of
 * it) by the kernel's own notices, legacy iptables by comparing its tables once a second, IPv4
 * routes, addresses and policy rules by netlink.
 */
#ifndef WEFT_USER_RULES_H
#define WEFT_USER_RULES_H

#include "loop.h"

struct rules;

/*
 * fn is called from the loop within RULES_SETTLE_MS of a change, once for many. What cannot be
 * watched in this kernel is logged and left out. -ENOMEM.
 */
#define RULES_SETTLE_MS 50
int rules_watch(struct loop *loop, loop_fn fn, void *arg, struct rules **out);
void rules_close(struct rules *rules);

#endif
