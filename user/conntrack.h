/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * conntrack sees of an approved flow its beginning, its end and a packet now and then. Its TCP
 * window (RFC 9293) is then far behind, and what it takes for invalid kube-proxy's rules drop;
 * nf_conntrack_tcp_be_liberal makes it follow the flow instead. Where it misses the answer to what
 * a server says first it waits for that for ever after, and would keep the connection for
 * nf_conntrack_tcp_timeout_unacknowledged only: that is made as long as an established one's.
 */
#ifndef WEFT_USER_CONNTRACK_H
#define WEFT_USER_CONNTRACK_H

#include <stdbool.h>

/* What was so before us; false and 0: not changed. */
struct conntrack_saved {
	bool strict;
	int unacknowledged_s;
};

/* Is there a conntrack in this network namespace that judges windows? */
bool conntrack_is_strict(void);
/* Adds to *saved what is to be changed; false: nothing is, or there is no conntrack. */
bool conntrack_look(struct conntrack_saved *saved);
/* Both log what cannot be set. */
void conntrack_soften(void);
void conntrack_restore(const struct conntrack_saved *saved);

#endif
