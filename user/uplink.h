/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flannel's choice of the underlay interface, and its present state. */
#ifndef WEFT_USER_UPLINK_H
#define WEFT_USER_UPLINK_H

#include "log.h"
#include "netlink.h"
#include "underlay.h"

/* Choose as flannel.md 4.2 says. -ENODEV when nothing matches; the reason is logged at level. */
int uplink_choose(struct nl *nl, const struct underlay_select *select, enum log_level level,
		  struct uplink *out);

/*
 * Read the state of *uplink again. It is followed by index, and by name once that index is gone. A
 * vanished interface is down and without address, the rest of it as last seen.
 */
int uplink_refresh(struct nl *nl, struct uplink *uplink, bool *changed);

#endif
