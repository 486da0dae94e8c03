/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The distinct next hops in use, each with its MAC as the kernel's neighbour table has it, and the
 * nagging that keeps the kernel resolving them when the host itself sends them nothing.
 */
#ifndef WEFT_USER_NEIGHBOUR_H
#define WEFT_USER_NEIGHBOUR_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "netlink.h"
#include "rtnl.h"

struct peer;
struct neighbours;

struct neighbour {
	const struct rtnl_link *link; /* the output device; must outlive the neighbour */
	uint32_t addr; /* host byte order */
	bool resolved; /* mac may be sent to */
	uint8_t mac[6]; /* the last one known */
	bool asymmetric; /* probed, and still mac: it sends from another one, as some routers do */
	struct peer *peers; /* the caller's: who is reached through it */

	uint16_t state; /* NUD_*, 0 when the kernel has no entry */
	uint64_t lost_ms; /* since when the kernel does not vouch for mac; 0: it does */
	uint64_t next_ask_ms;
	uint32_t backoff_ms;
	uint64_t probed_ms;
	bool probing; /* and not answered yet */
	struct neighbour *next; /* in its hash bucket */
};

typedef void (*neighbour_fn)(struct neighbour *neighbour, void *arg);

/* nl is for requests. fn is called when what is public of a neighbour changed. */
int neighbours_new(struct loop *loop, struct nl *nl, neighbour_fn fn, void *arg,
		   struct neighbours **out);
void neighbours_free(struct neighbours *t);

/* Find or add; resolution of a new one is started. fn is not called for it in here. */
int neighbour_get(struct neighbours *t, const struct rtnl_link *link, uint32_t addr,
		  struct neighbour **out);
/* Forget it, and let the kernel do so. */
void neighbour_put(struct neighbours *t, struct neighbour *n);

/* The kernel reported a change of any IPv4 neighbour. deleted: the entry is gone. */
void neighbours_event(struct neighbours *t, const struct rtnl_neigh *event, bool deleted);
/* State or MAC of *link (NULL: of any) changed: its neighbours must be resolved afresh. */
void neighbours_restart(struct neighbours *t, const struct rtnl_link *link);
/*
 * Traffic shows another MAC: ask the network, by broadcast, at most once a second; mac stays in use
 * meanwhile. If it stays at all, the neighbour counts as asymmetric for a minute.
 */
void neighbour_probe(struct neighbours *t, struct neighbour *n);

#endif
