/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Questions about one network device. */
#ifndef WEFT_USER_LINK_H
#define WEFT_USER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "netlink.h"

/* A veth whose other end is in another network namespace: where redirect-peer may deliver. */
bool link_peer_is_elsewhere(struct nl *nl, uint32_t ifindex);

#endif
