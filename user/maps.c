/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>

#include "datapath.h"
#include "log.h"
#include "netconf.h"
#include "util.h"

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

/*
 * All programs that were running have ended. MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel
 * sched/membarrier.c); where it is filtered, an interval no softirq lasts stands in.
 */
static void wait_grace_period(void)
{
	if (syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(100 * 1000);
}

static void store_word(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void *map_memory(int fd, size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

#define STATE_BYTES sizeof(struct weft_state)
#define CELLS_BYTES (WEFT_MAX_ROUTES * sizeof(struct cell))
#define PEERS_BYTES (WEFT_MAX_PEERS * sizeof(struct weft_peer))
#define ENDPOINTS_BYTES (WEFT_MAX_ENDPOINTS * sizeof(struct weft_endpoint))

static int map_all(struct maps *m)
{
	m->state = map_memory(m->fds.state, STATE_BYTES);
	m->cells = map_memory(m->fds.routes, CELLS_BYTES);
	m->peers = map_memory(m->fds.peers, PEERS_BYTES);
	m->endpoints = map_memory(m->fds.endpoints, ENDPOINTS_BYTES);
	if (m->state == MAP_FAILED || m->cells == MAP_FAILED || m->peers == MAP_FAILED ||
	    m->endpoints == MAP_FAILED)
		return log_err(-errno, "cannot map the BPF maps");
	return 0;
}

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
	wait_grace_period();
	return 0;
}

static void forget_tables(struct maps *m)
{
	free(take_ptr(m->entries));
	free(take_ptr(m->routes));
	free(take_ptr(m->prefixes));
	free(take_ptr(m->free_slots));
	free(take_ptr(m->pending_slots));
	m->n_entries = m->n_prefixes = m->n_free = m->n_pending = 0;
}

/* Our own view is what the maps hold: at first, and when they hold what they should not. */
static int adopt_tables(struct maps *m)
{
	int err;

	forget_tables(m);
	err = adopt_prefixes(m);
	return err ? err : adopt_peers(m);
}

/* What no configuration may be published without; an earlier agent's stays. */
static int adopt_state(struct maps *m)
{
	uint64_t secret[2];

	if (!m->state->generation)
		store_word(&m->state->generation, 1);
	if (m->state->secret[0] || m->state->secret[1])
		return 0;
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return log_err(-errno, "no random numbers");
	memcpy(m->state->secret, secret, sizeof(secret));
	return 0;
}

int maps_open(const struct map_fds *fds, struct maps **out)
{
	struct maps *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->fds = *fds;
	m->ep_dirty = calloc(WEFT_MAX_ENDPOINTS, 1);
	err = m->ep_dirty ? map_all(m) : -ENOMEM;
	if (err == 0)
		err = adopt_tables(m);
	if (err == 0)
		err = adopt_state(m);
	if (err) {
		maps_close(m);
		return err;
	}
	*out = m;
	return 0;
}

static void unmap(void *p, size_t len)
{
	if (p && p != MAP_FAILED)
		munmap(p, len);
}

void maps_close(struct maps *m)
{
	if (!m)
		return;
	unmap(m->state, STATE_BYTES);
	unmap(m->cells, CELLS_BYTES);
	unmap(m->peers, PEERS_BYTES);
	unmap(m->endpoints, ENDPOINTS_BYTES);
	forget_tables(m);
	free(m->ep_dirty);
	free(m);
}

int maps_set_config(struct maps *m, const struct weft_config *config)
{
	uint32_t active = m->state->active & 1;

	if (memcmp(&m->state->half[active], config, sizeof(*config)) == 0)
		return 0;
	if (m->state_dirty)
		wait_grace_period(); /* rule 4: only now may the other half be written again */
	m->state->half[!active] = *config;
	store_word(&m->state->active, !active);
	m->state_dirty = true;
	return 0;
}

uint32_t generation_advance(struct weft_state *state)
{
	uint32_t generation = __atomic_add_fetch(&state->generation, 1, __ATOMIC_RELEASE);

	return generation ? generation
			  : __atomic_add_fetch(&state->generation, 1, __ATOMIC_RELEASE);
}

/* The coarse clock ticks once per jiffy, so its resolution tells the kernel's HZ. */
static uint32_t to_jiffies(uint32_t seconds)
{
	struct timespec tick;
	uint64_t jiffies;

	if (seconds == 0 || clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_nsec <= 0)
		return UINT32_MAX;
	jiffies = (uint64_t)seconds * 1000000000 / (uint64_t)tick.tv_nsec;
	return jiffies < UINT32_MAX ? (uint32_t)jiffies : UINT32_MAX;
}

void maps_set_lifetimes(struct maps *m, uint32_t tcp_s, uint32_t other_s)
{
	store_word(&m->state->ttl_tcp, to_jiffies(tcp_s));
	store_word(&m->state->ttl_other, to_jiffies(other_s));
}

uint32_t maps_new_generation(struct maps *m)
{
	return generation_advance(m->state);
}

/* Slots. */

static int slot_take(struct maps *m, uint32_t *slot)
{
	if (m->n_free == 0 && m->n_pending > 0) {
		wait_grace_period();
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

/* A route shorter than a cell fills several, a longer one sends its cell to the prefixes. */
static void plan_route(struct plan *plan, uint32_t network, uint8_t cell_shift,
		       const struct datapath_route *r, uint32_t value)
{
	uint32_t first = (r->addr - network) >> cell_shift;
	uint32_t last = (r->addr + ~prefix4_mask(r->len) - network) >> cell_shift;

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

/* A failed plan leaves no trace: slots it took for new peers go back. */
static void plan_undo(struct maps *m, const struct plan *plan)
{
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
	int err = m->stale ? adopt_tables(m) : 0;

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

/* More new peers than slots: those that leave go first. */
int maps_set_routes(struct maps *m, uint32_t network, uint8_t cell_shift,
		    const struct datapath_route *routes, size_t n)
{
	_free_ struct datapath_route *known = calloc(n + 1, sizeof(*known));
	size_t n_known;
	int err = 0;

	if (!known)
		return -ENOMEM;
	n_known = known_routes(m, routes, n, known);
	if (n - n_known > m->n_free + m->n_pending)
		err = set_routes(m, network, cell_shift, known, n_known);
	return err ? err : set_routes(m, network, cell_shift, routes, n);
}

/* Point what the route leads to to another slot. */
static int flip_route(struct maps *m, const struct datapath_route *r, uint32_t slot)
{
	uint32_t first = (r->addr - m->network) >> m->cell_shift;
	uint32_t last = (r->addr + ~prefix4_mask(r->len) - m->network) >> m->cell_shift;
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

static bool endpoint_equal(const struct weft_endpoint *a, const struct weft_endpoint *b)
{
	return a->ifindex == b->ifindex && a->flags == b->flags && memcmp(a->mac, b->mac, 6) == 0;
}

int maps_set_endpoint(struct maps *m, uint32_t index, const struct weft_endpoint *ep)
{
	struct weft_endpoint *slot;

	if (index >= WEFT_MAX_ENDPOINTS)
		return -ERANGE;
	slot = &m->endpoints[index];
	if (endpoint_equal(slot, ep))
		return 0;
	if (slot->ifindex) {
		store_word(&slot->ifindex, 0); /* rule 3 */
		m->ep_dirty[index] = 1;
	}
	if (!ep->ifindex)
		return 0;
	if (m->ep_dirty[index]) {
		wait_grace_period();
		memset(m->ep_dirty, 0, WEFT_MAX_ENDPOINTS);
		m->state_dirty = false;
	}
	memcpy(slot->mac, ep->mac, sizeof(slot->mac));
	slot->flags = ep->flags;
	store_word(&slot->ifindex, ep->ifindex);
	return 0;
}

void maps_inherit_endpoints(struct maps *m, int older_fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	size_t size, bytes;
	const uint8_t *older;

	if (bpf_obj_get_info_by_fd(older_fd, &info, &len) || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.max_entries != WEFT_MAX_ENDPOINTS || info.value_size < sizeof(uint32_t))
		return;
	size = (info.value_size + 7) / 8 * 8; /* as in struct cell */
	bytes = info.value_size < sizeof(*m->endpoints) ? info.value_size : sizeof(*m->endpoints);
	older = mmap(NULL, WEFT_MAX_ENDPOINTS * size, PROT_READ, MAP_SHARED, older_fd, 0);
	if (older == MAP_FAILED)
		return;
	for (size_t i = 0; i < WEFT_MAX_ENDPOINTS; i++)
		memcpy(&m->endpoints[i], older + i * size, bytes);
	munmap((void *)older, WEFT_MAX_ENDPOINTS * size);
}

void maps_fill(const struct maps *m, struct datapath_fill *out)
{
	*out = (struct datapath_fill){.peers = (uint32_t)m->n_entries};
	for (size_t i = 0; i < WEFT_MAX_ROUTES; i++)
		out->routes += m->cells[i].value != WEFT_ROUTE_NONE;
	for (size_t i = 0; i < WEFT_MAX_ENDPOINTS; i++)
		out->endpoints += m->endpoints[i].ifindex != 0;
}

int maps_counters(const struct maps *m, struct weft_counter out[WEFT_COUNTER_MAX])
{
	int n = libbpf_num_possible_cpus();
	_free_ struct weft_counter *cpu = n > 0 ? calloc(n, sizeof(*cpu)) : NULL;

	if (!cpu)
		return n < 0 ? n : -ENOMEM;
	memset(out, 0, WEFT_COUNTER_MAX * sizeof(*out));
	for (uint32_t key = 0; key < WEFT_COUNTER_MAX; key++) {
		if (bpf_map_lookup_elem(m->fds.counters, &key, cpu))
			return -errno;
		for (int i = 0; i < n; i++) {
			out[key].packets += cpu[i].packets;
			out[key].bytes += cpu[i].bytes;
		}
	}
	return 0;
}
