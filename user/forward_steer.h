/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which worker a flow belongs to. The kernel merges datagrams of one outer flow, whatever is in
 * them, and hands them over as one (UDP_SEGMENT to UDP_GRO); so order is kept only if a receiver
 * chooses by the outer header, and a sender gives all packets of a flow the same source port. As
 * both directions have the same class, those of two nodes settle on one worker each.
 */
#ifndef WEFT_USER_FORWARD_STEER_H
#define WEFT_USER_FORWARD_STEER_H

#include <stdint.h>

#include "ip4.h"

/*
 * Have the kernel choose among n sockets of one port (host byte order, SO_REUSEPORT), in the order
 * they were bound: by source port, and where that is the same port, as foreign peers and others
 * without entropy have it, by source address. Classic BPF, which needs no privilege. fd is any of
 * the sockets. Or -errno.
 */
int forward_steer(int fd, uint16_t port, uint32_t n);
/* The class of a valid packet's flow, below n, the same for both directions. */
uint32_t forward_class(const uint8_t *packet, const struct ip4_info *info, uint32_t n);

#endif
