/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps' contents, written while packets run. Rules of atomicity: weft/abi.h, cited by number.
 * Everything an earlier agent left is read back on open, so that equal state is not rewritten.
 */
#ifndef WEFT_USER_MAPS_H
#define WEFT_USER_MAPS_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#include "weft/abi.h"

struct datapath_fill;
struct datapath_route;
struct maps;

/*
 * Every approval of before is void: one step of the state's generation, which is never 0. Of use
 * with or without an agent. Returns the new one.
 */
uint32_t generation_advance(struct weft_state *state);

struct map_fds {
	int state;
	int routes;
	int prefixes;
	int peers;
	int members;
	int endpoints;
	int counters;
};

/* The descriptors stay the caller's and must outlive this. */
int maps_open(const struct map_fds *fds, struct maps **out);
void maps_close(struct maps *maps);

/*
 * Before any program runs: take over the endpoints of an older version's map, whose values may be
 * shorter or longer at their end.
 */
void maps_inherit_endpoints(struct maps *maps, int older_fd);

/* As the functions of the same name in datapath.h. */
int maps_set_config(struct maps *maps, const struct weft_config *config);
int maps_set_routes(struct maps *maps, uint32_t network, uint8_t cell_shift,
		    const struct datapath_route *routes, size_t n);
bool maps_peer_is_resolved(const struct maps *maps, uint32_t public_ip);
int maps_set_peer(struct maps *maps, uint32_t public_ip, const struct weft_peer *peer);
int maps_set_endpoint(struct maps *maps, uint32_t index, const struct weft_endpoint *ep);
void maps_set_lifetimes(struct maps *maps, uint32_t tcp_s, uint32_t other_s);
uint32_t maps_new_generation(struct maps *maps);
void maps_fill(const struct maps *maps, struct datapath_fill *out);
int maps_counters(const struct maps *maps, struct weft_counter out[WEFT_COUNTER_MAX]);

#endif
