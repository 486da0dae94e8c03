/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of all programs (layouts: weft/abi.h) and their lookups. */
#ifndef WEFT_BPF_MAPS_H
#define WEFT_BPF_MAPS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "weft/abi.h"

/*
 * Weak, so that the objects of all hook families can define them and be linked into one.
 * Arrays that change while packets run are mapped by the agent, which stores words atomically.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct weft_state);
} state SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_ROUTES);
	__type(key, u32);
	__type(value, u32);
} routes SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * WEFT_MAX_ROUTES); /* a whole set is replaced add first */
	__type(key, struct weft_prefix);
	__type(value, u32);
} prefixes SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_PEERS);
	__type(key, u32);
	__type(value, struct weft_peer);
} peers SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * WEFT_MAX_ROUTES);
	__type(key, __be32);
	__type(value, u32);
} members SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_ENDPOINTS);
	__type(key, u32);
	__type(value, struct weft_endpoint);
} endpoints SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_COUNTER_MAX);
	__type(key, u32);
	__type(value, struct weft_counter);
} counters SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_BULK_FLOWS);
	__type(key, u32);
	__type(value, struct weft_bulk);
} bulk_flows SEC(".maps") __weak;

/* The agent sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEFT_APPROVE_MAX);
	__type(key, struct weft_flow);
	__type(value, struct weft_approval);
} approvals SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} hints SEC(".maps") __weak;

static __always_inline const struct weft_state *state_get(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
}

/* The configuration in force, or NULL before the agent published one. */
static __always_inline const struct weft_config *config_get(const struct weft_state *st)
{
	const struct weft_config *cfg;

	if (!st)
		return NULL;
	cfg = &st->half[*(volatile const u32 *)&st->active & 1];
	return cfg->flags & WEFT_CONFIG_READY ? cfg : NULL;
}

static __always_inline bool in_network(const struct weft_config *cfg, u32 addr)
{
	return (addr & cfg->network_mask) == cfg->network;
}

static __always_inline bool in_subnet(const struct weft_config *cfg, u32 addr)
{
	return (addr & cfg->subnet_mask) == cfg->subnet;
}

/* The route of an address (host order) inside the network: WEFT_ROUTE_* or a peer slot. */
static __always_inline u32 route_lookup(const struct weft_config *cfg, u32 addr)
{
	u32 cell = (addr - cfg->network) >> (cfg->cell_shift & 31);
	const volatile u32 *slot = bpf_map_lookup_elem(&routes, &cell);
	struct weft_prefix key = {.prefixlen = 32, .addr = bpf_htonl(addr)};
	u32 value = slot ? *slot : WEFT_ROUTE_NONE;

	if (value != WEFT_ROUTE_LPM)
		return value;
	slot = bpf_map_lookup_elem(&prefixes, &key);
	return slot ? *slot : WEFT_ROUTE_NONE;
}

/* NULL for WEFT_ROUTE_* values: slot 0 is never a peer, the others lie past the array. */
static __always_inline const struct weft_peer *peer_lookup(u32 slot)
{
	return slot == WEFT_ROUTE_NONE ? NULL : bpf_map_lookup_elem(&peers, &slot);
}

/*
 * The endpoint of an address (host order) inside the own subnet, or NULL when unknown. *ifindex is
 * its device, 0 when unknown: the entry's own may be 0 a moment later.
 */
static __always_inline const struct weft_endpoint *endpoint_lookup(const struct weft_config *cfg,
								   u32 addr, u32 *ifindex)
{
	u32 index = addr - cfg->subnet;
	const struct weft_endpoint *ep = bpf_map_lookup_elem(&endpoints, &index);

	*ifindex = ep ? *(volatile const u32 *)&ep->ifindex : 0;
	return *ifindex ? ep : NULL;
}

/* Best effort: a full ring means that the agent has enough to look at. */
static __always_inline void hint_send(u32 type, u32 ifindex, __be32 addr, const u8 mac[6], u16 mtu)
{
	struct weft_hint *hint = bpf_ringbuf_reserve(&hints, sizeof(*hint), 0);

	if (!hint)
		return;
	hint->type = type;
	hint->ifindex = ifindex;
	hint->addr = addr;
	__builtin_memcpy(hint->mac, mac, 6);
	hint->mtu = mtu;
	bpf_ringbuf_submit(hint, 0);
}

#endif
