/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside the maps: what their keeper (maps.c) and their tables (maps_routes.c) share. */
#ifndef WEFT_USER_MAPS_PRIV_H
#define WEFT_USER_MAPS_PRIV_H

#include "datapath.h"
#include "maps.h"

/* A peer, its slot and which of the routes are its leases'. */
struct peer_entry {
	uint32_t public_ip; /* host order; the sort key */
	uint32_t slot;
	size_t first_route, n_routes;
};

struct prefix_entry {
	uint32_t addr;
	uint8_t len;
	uint32_t value;
};

/* The kernel rounds array elements up to eight bytes (kernel/bpf/arraymap.c). */
struct cell {
	_Alignas(8) uint32_t value;
};

struct maps {
	struct map_fds fds;
	/* Mapped, shared with the kernel. */
	struct weft_state *state;
	struct cell *cells;
	struct weft_peer *peers;
	struct weft_endpoint *endpoints;
	/* Own view. */
	struct peer_entry *entries;
	size_t n_entries;
	struct datapath_route *routes; /* the local one first, then by peer */
	bool stale; /* the maps have more than is known here: something could not be written */
	bool members_known; /* their map holds these entries' addresses and no other */
	struct prefix_entry *prefixes; /* sorted by address */
	size_t n_prefixes;
	uint32_t network;
	uint8_t cell_shift;
	/* Slots: free ones, and those that a packet may still be reading (rule 2). */
	uint32_t *free_slots, *pending_slots;
	size_t n_free, n_pending;
	bool state_dirty; /* flipped, no grace period since (rule 4) */
	uint8_t *ep_dirty; /* invalidated, no grace period since (rule 3) */
};

/* All programs that were running have ended. */
void maps_wait(void);

static inline void store_word(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Our own view is what the maps hold: at first, and when they hold what they should not. */
int maps_adopt_tables(struct maps *m);
void maps_forget_tables(struct maps *m);

#endif
