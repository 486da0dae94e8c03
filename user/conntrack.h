/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * conntrack sees of an approved flow its beginning, its end and a packet now and then. Its TCP
 * window (RFC 9293) is then far behind, and what it takes for invalid kube-proxy's rules drop;
 * nf_conntrack_tcp_be_liberal makes it follow the flow instead.
 */
#ifndef WEFT_USER_CONNTRACK_H
#define WEFT_USER_CONNTRACK_H

#include <stdbool.h>

/* Is there a conntrack in this network namespace that judges windows? */
bool conntrack_is_strict(void);
/* 0 when there is no conntrack. */
int conntrack_set_liberal(bool on);

#endif
