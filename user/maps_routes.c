/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which peer an address leads to: cells, prefixes, members, and the slots with the headers. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "log.h"
#include "maps_priv.h"
#include "netconf.h"
#include "util.h"

static int compare_prefix(const void *a, const void *b)
{
	const struct prefix_entry *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int compare_entry(const void *a, const void *b)
{
	const struct peer_entry *x = a, *y = b;

	return x->public_ip < y->public_ip ? -1 : x->public_ip > y->public_ip;
}

static int compare_route(const void *a, const void *b)
{
	const struct datapath_route *x = a, *y = b;

	if (x->local != y->local)
		return x->local ? -1 : 1;
	return x->public_ip < y->public_ip ? -1 : x->public_ip > y->public_ip;
}

static int adopt_prefixes(struct maps *m)
{
	struct weft_prefix key, *prev = NULL;

	m->prefixes = calloc(WEFT_MAX_ROUTES, sizeof(*m->prefixes));
	if (!m->prefixes)
		return -ENOMEM;
	while (m->n_prefixes < WEFT_MAX_ROUTES &&
	       bpf_map_get_next_key(m->fds.prefixes, prev, &key) == 0) {
		struct prefix_entry *p = &m->prefixes[m->n_prefixes];

		prev = &key;
		if (bpf_map_lookup_elem(m->fds.prefixes, &key, &p->value))
			continue;
		p->addr = ntohl(key.addr);
		p->len = key.prefixlen;
		m->n_prefixes++;
	}
	qsort(m->prefixes, m->n_prefixes, sizeof(*m->prefixes), compare_prefix);
	return 0;
}

static void adopt_slot(struct maps *m, uint32_t slot, bool *used)
{
	/* Pinned content is untrusted: an index out of range is no slot. */
	if (slot == WEFT_ROUTE_NONE || slot >= WEFT_MAX_PEERS || used[slot])
		return;
	used[slot] = true;
	m->entries[m->n_entries++] =
		(struct peer_entry){.public_ip = ntohl(m->peers[slot].daddr), .slot = slot};
}

/* Slots in use are those that cells and prefixes refer to; the rest is free. */
static int adopt_peers(struct maps *m)
{
	_free_ bool *used = calloc(WEFT_MAX_PEERS, sizeof(*used));

	m->entries = calloc(WEFT_MAX_PEERS, sizeof(*m->entries));
	m->free_slots = calloc(WEFT_MAX_PEERS, sizeof(*m->free_slots));
	m->pending_slots = calloc(WEFT_MAX_PEERS, sizeof(*m->pending_slots));
	if (!used || !m->entries || !m->free_slots || !m->pending_slots)
		return -ENOMEM;
	for (size_t i = 0; i < WEFT_MAX_ROUTES; i++)
		adopt_slot(m, m->cells[i].value, used);
	for (size_t i = 0; i < m->n_prefixes; i++)
		adopt_slot(m, m->prefixes[i].value, used);
	for (uint32_t slot = WEFT_MAX_PEERS - 1; slot > 0; slot--)
		if (!used[slot])
			m->free_slots[m->n_free++] = slot;
	qsort(m->entries, m->n_entries, sizeof(*m->entries), compare_entry);
	/* What an earlier agent changed last may still be in some program's hands. */
	maps_wait();
	return 0;
}

void maps_forget_tables(struct maps *m)
{
	free(take_ptr(m->entries));
	free(take_ptr(m->routes));
	free(take_ptr(m->prefixes));
	free(take_ptr(m->free_slots));
	free(take_ptr(m->pending_slots));
	m->n_entries = m->n_prefixes = m->n_free = m->n_pending = 0;
}

int maps_adopt_tables(struct maps *m)
{
	int err;

	maps_forget_tables(m);
	err = adopt_prefixes(m);
	return err ? err : adopt_peers(m);
}
/* Slots. */

static int slot_take(struct maps *m, uint32_t *slot)
{
	if (m->n_free == 0 && m->n_pending > 0) {
		maps_wait();
		memcpy(m->free_slots, m->pending_slots, m->n_pending * sizeof(*m->free_slots));
		m->n_free = m->n_pending;
		m->n_pending = 0;
	}
	if (m->n_free == 0)
		return log_err(-ENOSPC, "peer table full (%d)", WEFT_MAX_PEERS - 1);
	*slot = m->free_slots[--m->n_free];
	return 0;
}

static void slot_release(struct maps *m, uint32_t slot)
{
	m->pending_slots[m->n_pending++] = slot;
}

static struct peer_entry *entry_find(const struct maps *m, uint32_t public_ip)
{
	struct peer_entry key = {.public_ip = public_ip};

	return bsearch(&key, m->entries, m->n_entries, sizeof(key), compare_entry);
}

/* Prefixes (the LPM trie replaces a node as a whole). */

static int prefix_write(struct maps *m, const struct prefix_entry *p)
{
	struct weft_prefix key = {.prefixlen = p->len, .addr = htonl(p->addr)};

	if (bpf_map_update_elem(m->fds.prefixes, &key, &p->value, BPF_ANY)) {
		char name[INET_ADDRSTRLEN];

		return log_err(-errno, "route %s/%u", ip4_format(p->addr, name), p->len);
	}
	return 0;
}

static int delete_elem(int fd, const void *key, const char *what)
{
	if (bpf_map_delete_elem(fd, key) == 0 || errno == ENOENT)
		return 0;
	return log_err(-errno, "%s", what);
}

static int prefix_delete(struct maps *m, const struct prefix_entry *p)
{
	struct weft_prefix key = {.prefixlen = p->len, .addr = htonl(p->addr)};

	return delete_elem(m->fds.prefixes, &key, "table of long prefixes");
}

static struct prefix_entry *prefix_find(const struct maps *m, uint32_t addr)
{
	struct prefix_entry key = {.addr = addr};

	return bsearch(&key, m->prefixes, m->n_prefixes, sizeof(key), compare_prefix);
}

/* What the tables shall be, built aside before anything changes. */
struct plan {
	uint32_t *cells;
	struct prefix_entry *prefixes;
	size_t n_prefixes;
	struct peer_entry *entries;
	size_t n_entries;
	struct datapath_route *routes;
};

static void plan_free(struct plan *plan)
{
	free(plan->cells);
	free(plan->prefixes);
	free(plan->entries);
	free(plan->routes);
}

static int plan_alloc(struct plan *plan, const struct datapath_route *routes, size_t n)
{
	plan->cells = calloc(WEFT_MAX_ROUTES, sizeof(*plan->cells));
	plan->prefixes = calloc(WEFT_MAX_ROUTES, sizeof(*plan->prefixes));
	plan->entries = calloc(WEFT_MAX_PEERS, sizeof(*plan->entries));
	plan->routes = calloc(n + 1, sizeof(*plan->routes));
	if (n > WEFT_MAX_ROUTES)
		return log_err(-E2BIG, "route table full (%d)", WEFT_MAX_ROUTES);
	if (!plan->cells || !plan->prefixes || !plan->entries || !plan->routes)
		return -ENOMEM;
	memcpy(plan->routes, routes, n * sizeof(*routes));
	qsort(plan->routes, n, sizeof(*plan->routes), compare_route);
	return 0;
}

/* A cell's size of which no route fills one. */
#define NO_CELLS 32

static uint32_t cell_of(uint32_t addr, uint32_t network, uint8_t cell_shift)
{
	return (uint32_t)((uint64_t)(addr - network) >> cell_shift);
}

/* A route shorter than a cell fills several, a longer one sends its cell to the prefixes. */
static void plan_route(struct plan *plan, uint32_t network, uint8_t cell_shift,
		       const struct datapath_route *r, uint32_t value)
{
	uint32_t first = cell_of(r->addr, network, cell_shift);
	uint32_t last = cell_of(r->addr + ~prefix4_mask(r->len), network, cell_shift);

	if (r->len > 32 - cell_shift) {
		plan->cells[first & (WEFT_MAX_ROUTES - 1)] = WEFT_ROUTE_LPM;
		plan->prefixes[plan->n_prefixes++] =
			(struct prefix_entry){.addr = r->addr, .len = r->len, .value = value};
		return;
	}
	for (uint32_t cell = first; cell <= last && cell < WEFT_MAX_ROUTES; cell++)
		plan->cells[cell] = value;
}

/* The peer's present slot, or a fresh one whose header says where, but not yet how. */
static int plan_slot(struct maps *m, uint32_t public_ip, uint32_t *slot)
{
	const struct peer_entry *known = entry_find(m, public_ip);
	int err;

	if (known) {
		*slot = known->slot;
		return 0;
	}
	err = slot_take(m, slot);
	if (err)
		return err;
	m->peers[*slot] = (struct weft_peer){.daddr = htonl(public_ip)};
	return 0;
}

/* A peer's routes follow one another, and share its slot. */
static int plan_peer(struct maps *m, struct plan *plan, size_t route, uint32_t *slot)
{
	uint32_t public_ip = plan->routes[route].public_ip;
	struct peer_entry *last = plan->n_entries ? &plan->entries[plan->n_entries - 1] : NULL;
	int err;

	if (last && last->public_ip == public_ip) {
		last->n_routes++;
		*slot = last->slot;
		return 0;
	}
	err = plan_slot(m, public_ip, slot);
	if (err == 0)
		plan->entries[plan->n_entries++] = (struct peer_entry){
			.public_ip = public_ip,
			.slot = *slot,
			.first_route = route,
			.n_routes = 1,
		};
	return err;
}

static int plan_build(struct maps *m, struct plan *plan, uint32_t network, uint8_t cell_shift,
		      const struct datapath_route *routes, size_t n)
{
	int err = plan_alloc(plan, routes, n);

	for (size_t i = 0; i < WEFT_MAX_ROUTES && err == 0 && cell_shift == NO_CELLS; i++)
		plan->cells[i] = WEFT_ROUTE_LPM;
	for (size_t i = 0; i < n && err == 0; i++) {
		uint32_t value = WEFT_ROUTE_LOCAL;

		if (!plan->routes[i].local)
			err = plan_peer(m, plan, i, &value);
		if (err == 0)
			plan_route(plan, network, cell_shift, &plan->routes[i], value);
	}
	if (err == 0)
		qsort(plan->prefixes, plan->n_prefixes, sizeof(*plan->prefixes), compare_prefix);
	return err;
}

/* Those that an earlier agent was given are there, unless it lost the map, or died on its way. */
static int write_members(struct maps *m, const struct plan *plan)
{
	for (size_t i = 0; i < plan->n_entries; i++) {
		__be32 key = htonl(plan->entries[i].public_ip);
		uint32_t one = 1;

		if (m->members_known && entry_find(m, plan->entries[i].public_ip))
			continue;
		if (bpf_map_update_elem(m->fds.members, &key, &one, BPF_ANY))
			return log_err(-errno, "member table");
	}
	return 0;
}

static int write_prefixes(struct maps *m, const struct plan *plan)
{
	for (size_t i = 0; i < plan->n_prefixes; i++) {
		const struct prefix_entry *want = &plan->prefixes[i];
		const struct prefix_entry *have = prefix_find(m, want->addr);
		int err = 0;

		if (!have || have->len != want->len || have->value != want->value)
			err = prefix_write(m, want);
		if (err)
			return err;
	}
	return 0;
}

static int delete_stale_prefixes(struct maps *m, const struct plan *plan)
{
	int err = 0;
	size_t j = 0;

	for (size_t i = 0; i < m->n_prefixes && err == 0; i++) {
		while (j < plan->n_prefixes && plan->prefixes[j].addr < m->prefixes[i].addr)
			j++;
		if (j == plan->n_prefixes || plan->prefixes[j].addr != m->prefixes[i].addr ||
		    plan->prefixes[j].len != m->prefixes[i].len)
			err = prefix_delete(m, &m->prefixes[i]);
	}
	return err;
}

static const struct peer_entry *planned(const struct plan *plan, uint32_t public_ip)
{
	const struct peer_entry key = {.public_ip = public_ip};

	return bsearch(&key, plan->entries, plan->n_entries, sizeof(key), compare_entry);
}

static int delete_member(struct maps *m, __be32 addr)
{
	return delete_elem(m->fds.members, &addr, "member table");
}

/* Whatever is in the map, and not only what is known to be. */
static int delete_stray_members(struct maps *m, const struct plan *plan)
{
	__be32 key, next;
	bool more = bpf_map_get_next_key(m->fds.members, NULL, &next) == 0;
	int err = 0;

	while (more && err == 0) {
		key = next;
		more = bpf_map_get_next_key(m->fds.members, &key, &next) == 0;
		if (!planned(plan, ntohl(key)))
			err = delete_member(m, key);
	}
	return err;
}

static int delete_stale_members(struct maps *m, const struct plan *plan)
{
	int err = 0;

	if (!m->members_known)
		return delete_stray_members(m, plan);
	for (size_t i = 0; i < m->n_entries && err == 0; i++)
		if (!planned(plan, m->entries[i].public_ip))
			err = delete_member(m, htonl(m->entries[i].public_ip));
	return err;
}

/* An agent that died while flipping a peer leaves two slots for it. */
static void release_stale_slots(struct maps *m, const struct plan *plan)
{
	for (size_t i = 0; i < m->n_entries; i++) {
		const struct peer_entry *old = &m->entries[i];
		const struct peer_entry *kept = planned(plan, old->public_ip);

		if (!kept || kept->slot != old->slot)
			slot_release(m, old->slot);
	}
}

/* What write_prefixes() may have done before it failed. */
static int undo_prefixes(struct maps *m, const struct plan *plan)
{
	int err = 0;

	for (size_t i = 0; i < plan->n_prefixes && err == 0; i++) {
		const struct prefix_entry *undo = &plan->prefixes[i];
		const struct prefix_entry *have = prefix_find(m, undo->addr);

		if (!have || have->len != undo->len)
			err = prefix_delete(m, undo);
		else if (have->value != undo->value)
			err = prefix_write(m, have);
	}
	return err;
}

/* A failed plan leaves no trace: slots it took for new peers go back, if nothing leads to them. */
static void plan_undo(struct maps *m, const struct plan *plan)
{
	if (undo_prefixes(m, plan)) {
		m->stale = true;
		return;
	}
	for (size_t i = 0; plan->entries && i < plan->n_entries; i++) {
		__be32 key = htonl(plan->entries[i].public_ip);

		if (entry_find(m, plan->entries[i].public_ip))
			continue;
		bpf_map_delete_elem(m->fds.members, &key);
		slot_release(m, plan->entries[i].slot);
	}
}

static int plan_commit(struct maps *m, struct plan *plan)
{
	int err, member_err;

	for (uint32_t i = 0; i < WEFT_MAX_ROUTES; i++)
		if (m->cells[i].value != plan->cells[i])
			store_word(&m->cells[i].value, plan->cells[i]); /* rule 1 */
	err = delete_stale_prefixes(m, plan);
	member_err = delete_stale_members(m, plan);
	m->stale = err != 0;
	m->members_known = member_err == 0;
	/* A prefix that is still there leads to its slot. */
	if (err == 0)
		release_stale_slots(m, plan);
	free(m->entries);
	free(m->routes);
	free(m->prefixes);
	m->routes = take_ptr(plan->routes);
	m->entries = take_ptr(plan->entries);
	m->n_entries = plan->n_entries;
	m->prefixes = take_ptr(plan->prefixes);
	m->n_prefixes = plan->n_prefixes;
	return err ? err : member_err;
}

static int set_routes(struct maps *m, uint32_t network, uint8_t cell_shift,
		      const struct datapath_route *routes, size_t n)
{
	struct plan plan = {};
	int err = m->stale ? maps_adopt_tables(m) : 0;

	if (err == 0)
		err = plan_build(m, &plan, network, cell_shift, routes, n);
	if (err == 0)
		err = write_members(m, &plan);
	if (err == 0)
		err = write_prefixes(m, &plan);
	if (err) {
		plan_undo(m, &plan);
	} else {
		m->network = network;
		m->cell_shift = cell_shift;
		err = plan_commit(m, &plan);
	}
	plan_free(&plan);
	return err;
}

/* Routes that need no new slot; the others are left out. */
static size_t known_routes(const struct maps *m, const struct datapath_route *routes, size_t n,
			   struct datapath_route *known)
{
	size_t n_known = 0;

	for (size_t i = 0; i < n; i++)
		if (routes[i].local || entry_find(m, routes[i].public_ip))
			known[n_known++] = routes[i];
	return n_known;
}

/*
 * Cells mean other addresses in another network, or by another size. While the old configuration is
 * in force all of them lead by way of the prefixes, which mean the same in both.
 */
static bool is_provisional(const struct maps *m, uint32_t network, uint8_t cell_shift)
{
	const struct weft_config *now = &m->state->half[m->state->active & 1];

	return now->flags & WEFT_CONFIG_READY &&
	       (now->network != network || now->cell_shift != cell_shift);
}

/* More new peers than slots: those that leave go first. */
int maps_set_routes(struct maps *m, uint32_t network, uint8_t cell_shift,
		    const struct datapath_route *routes, size_t n)
{
	_free_ struct datapath_route *known = calloc(n + 1, sizeof(*known));
	bool provisional = is_provisional(m, network, cell_shift);
	uint8_t shift = provisional ? NO_CELLS : cell_shift;
	size_t n_known;
	int err = 0;

	if (!known)
		return -ENOMEM;
	/* A program may still read by the configuration that the prefixes were for. */
	if (m->cell_shift == NO_CELLS && !provisional && m->state_dirty) {
		maps_wait();
		m->state_dirty = false;
	}
	n_known = known_routes(m, routes, n, known);
	if (n - n_known > m->n_free + m->n_pending)
		err = set_routes(m, network, shift, known, n_known);
	if (err == 0)
		err = set_routes(m, network, shift, routes, n);
	return err ? err : provisional;
}

/* Point what the route leads to to another slot. */
static int flip_route(struct maps *m, const struct datapath_route *r, uint32_t slot)
{
	uint32_t first = cell_of(r->addr, m->network, m->cell_shift);
	uint32_t last = cell_of(r->addr + ~prefix4_mask(r->len), m->network, m->cell_shift);
	struct prefix_entry *p, flipped;
	int err;

	if (r->len > 32 - m->cell_shift) {
		p = prefix_find(m, r->addr);
		if (!p)
			return -ENOENT;
		flipped = *p;
		flipped.value = slot;
		err = prefix_write(m, &flipped);
		if (err == 0)
			*p = flipped;
		return err;
	}
	for (uint32_t cell = first; cell <= last && cell < WEFT_MAX_ROUTES; cell++)
		store_word(&m->cells[cell].value, slot);
	return 0;
}

bool maps_peer_is_resolved(const struct maps *m, uint32_t public_ip)
{
	const struct peer_entry *entry = entry_find(m, public_ip);

	return entry && m->peers[entry->slot].flags & WEFT_PEER_RESOLVED;
}

int maps_set_peer(struct maps *m, uint32_t public_ip, const struct weft_peer *peer)
{
	struct peer_entry *entry = entry_find(m, public_ip);
	uint32_t slot;
	int err;

	if (!entry || entry->n_routes == 0)
		return -ENOENT;
	if (memcmp(&m->peers[entry->slot], peer, sizeof(*peer)) == 0)
		return 0;
	err = slot_take(m, &slot);
	if (err)
		return err;
	m->peers[slot] = *peer; /* rule 2: nothing refers to it yet */
	for (size_t i = 0; i < entry->n_routes && err == 0; i++)
		err = flip_route(m, &m->routes[entry->first_route + i], slot);
	/* Some may lead to either slot by now. */
	if (err) {
		m->stale = true;
		return err;
	}
	slot_release(m, entry->slot);
	entry->slot = slot;
	return 0;
}
