/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "endpoints_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Events come in bursts; the end of one often makes the probe that its start asked for needless. */
#define PROBE_DELAY_MS 10
#define PROBE_PERIOD_MS 100

/* Slots. */

uint32_t eps_slot_addr(const struct endpoints *e, const struct slot *s)
{
	return e->subnet.addr + (uint32_t)(s - e->slots);
}

struct slot *eps_find_slot(const struct endpoints *e, uint32_t addr)
{
	if (!prefix4_contains(e->subnet, addr) || addr == e->subnet.addr)
		return NULL;
	return &e->slots[addr - e->subnet.addr];
}

bool eps_is_complete(const struct slot *s)
{
	return s->mac && s->mac->learnt && s->mac->port->running && !s->local;
}

void eps_describe(const struct endpoints *e, const struct slot *s, struct endpoint *out)
{
	*out = (struct endpoint){.addr = eps_slot_addr(e, s), .ifindex = s->ifindex};
	memcpy(out->mac, s->reported_mac, sizeof(out->mac));
	if (s->ifindex)
		memcpy(out->ifname, s->mac->port->ifname, sizeof(out->ifname));
}

void eps_evaluate(struct endpoints *e, struct slot *s)
{
	static const uint8_t none[6];
	bool complete = eps_is_complete(s);
	uint32_t ifindex = complete ? s->mac->port->ifindex : 0;
	const uint8_t *mac = complete ? s->mac->addr : none;
	struct endpoint ep;

	if (ifindex == s->ifindex && memcmp(mac, s->reported_mac, sizeof(s->reported_mac)) == 0)
		return;
	s->ifindex = ifindex;
	memcpy(s->reported_mac, mac, sizeof(s->reported_mac));
	if (ifindex)
		s->last_port = ifindex;
	eps_describe(e, s, &ep);
	e->events.endpoint(&ep, e->events.arg);
}

static void evaluate_mac(struct endpoints *e, struct mac *m)
{
	for (struct slot *s = LIST_FIRST(&m->slots); s; s = LIST_NEXT(s, of_mac))
		eps_evaluate(e, s);
}

/* The probe queue. */

void eps_enqueue(struct endpoints *e, struct slot *s, bool hint)
{
	if (s->queued)
		return;
	s->queued = true;
	s->hint = hint;
	e->n_hints += hint;
	if (hint)
		TAILQ_INSERT_TAIL(&e->queue, s, in_queue);
	else
		TAILQ_INSERT_HEAD(&e->queue, s, in_queue);
	if (!e->probing)
		loop_timer_arm(e->probe_timer, PROBE_DELAY_MS, PROBE_PERIOD_MS);
	e->probing = true;
}

struct slot *eps_dequeue(struct endpoints *e)
{
	struct slot *s = TAILQ_FIRST(&e->queue);

	if (!s)
		return NULL;
	TAILQ_REMOVE(&e->queue, s, in_queue);
	s->queued = false;
	e->n_hints -= s->hint;
	return s;
}

void eps_enqueue_mac(struct endpoints *e, struct mac *m)
{
	for (struct slot *s = LIST_FIRST(&m->slots); s; s = LIST_NEXT(s, of_mac))
		eps_enqueue(e, s, false);
}

/* MACs and their ports. */

static size_t mac_bucket(const struct endpoints *e, const uint8_t addr[6])
{
	uint64_t key = 0;

	memcpy(&key, addr, 6);
	/* Fibonacci hashing; pods choose their MACs, but not the seed. */
	return ((key ^ e->seed) * 0x9e3779b97f4a7c15ULL) >> 32 & (MAC_BUCKETS - 1);
}

struct mac *eps_find_mac(const struct endpoints *e, const uint8_t addr[6])
{
	struct mac *m = LIST_FIRST(&e->macs[mac_bucket(e, addr)]);

	while (m && memcmp(m->addr, addr, sizeof(m->addr)))
		m = LIST_NEXT(m, in_bucket);
	return m;
}

struct port *eps_find_port(const struct endpoints *e, uint32_t ifindex)
{
	struct port *p = LIST_FIRST(&e->ports[ifindex % PORT_BUCKETS]);

	while (p && p->ifindex != ifindex)
		p = LIST_NEXT(p, in_bucket);
	return p;
}

void eps_place(struct endpoints *e, struct mac *m, struct port *p)
{
	if (m->port != p) {
		if (m->port)
			LIST_REMOVE(m, on_port);
		if (p)
			LIST_INSERT_HEAD(&p->macs, m, on_port);
		m->port = p;
	}
	m->learnt = p;
	evaluate_mac(e, m);
}

void eps_locate(struct endpoints *e, struct mac *m)
{
	struct bridge_fdb fdb;
	struct port *p;

	if (bridge_fdb_get(e->nl, e->bridge, m->addr, &fdb)) {
		e->fdb_due |= e->vlan_filtering;
		return;
	}
	p = fdb.local ? NULL : eps_find_port(e, fdb.ifindex);
	if (p)
		eps_place(e, m, p);
}

static int make_mac(struct endpoints *e, const uint8_t addr[6], struct mac **out)
{
	struct mac *m = eps_find_mac(e, addr);

	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		memcpy(m->addr, addr, sizeof(m->addr));
		LIST_INSERT_HEAD(&e->macs[mac_bucket(e, addr)], m, in_bucket);
	}
	*out = m;
	return 0;
}

static void release_mac(struct slot *s)
{
	struct mac *m = s->mac;

	if (!m)
		return;
	s->mac = NULL;
	LIST_REMOVE(s, of_mac);
	if (!LIST_EMPTY(&m->slots))
		return;
	if (m->port)
		LIST_REMOVE(m, on_port);
	LIST_REMOVE(m, in_bucket);
	free(m);
}

void eps_forget_mac(struct endpoints *e, struct slot *s)
{
	release_mac(s);
	s->fixed = false;
	eps_evaluate(e, s);
}

int eps_set_mac(struct endpoints *e, struct slot *s, const uint8_t addr[6])
{
	struct mac *m;
	int err;

	if (s->mac && memcmp(s->mac->addr, addr, sizeof(s->mac->addr)) == 0)
		return 0;
	err = make_mac(e, addr, &m);
	if (err)
		return err;
	release_mac(s);
	s->mac = m;
	/* Asked before the slot joins, so that a change of MAC is one event and not two. */
	if (!m->learnt && !e->syncing)
		eps_locate(e, m);
	LIST_INSERT_HEAD(&m->slots, s, of_mac);
	eps_evaluate(e, s);
	if (!m->learnt && !e->syncing)
		eps_enqueue(e, s, false);
	return 0;
}

/* Ports. */

/* They may be back as soon as it runs again; what the bridge knew is void until then. */
static void stop_port(struct endpoints *e, struct port *p)
{
	for (struct mac *m = LIST_FIRST(&p->macs); m; m = LIST_NEXT(m, on_port)) {
		p->orphaned |= m->learnt;
		m->learnt = false;
		evaluate_mac(e, m);
	}
}

static void start_port(struct endpoints *e, struct port *p)
{
	for (struct mac *m = LIST_FIRST(&p->macs); m; m = LIST_NEXT(m, on_port)) {
		/* Static entries outlive the interruption, and events may overtake each other. */
		evaluate_mac(e, m);
	}
	if (!p->orphaned)
		return;
	p->orphaned = false;
	for (uint32_t i = 0; i < e->n_slots; i++) {
		if (e->slots[i].last_port == p->ifindex)
			eps_enqueue(e, &e->slots[i], false);
	}
}

static void update_port(struct endpoints *e, struct port *p, const struct bridge_link *link)
{
	p->seen = e->resync;
	if (strcmp(p->ifname, link->ifname)) {
		memcpy(p->ifname, link->ifname, sizeof(p->ifname));
		e->events.port(p->ifindex, p->ifname, true, e->events.arg);
	}
	if (p->running == link->running)
		return;
	p->running = link->running;
	if (p->running)
		start_port(e, p);
	else
		stop_port(e, p);
}

static int add_port(struct endpoints *e, const struct bridge_link *link)
{
	struct port *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->ifindex = link->ifindex;
	p->running = link->running;
	p->seen = e->resync;
	memcpy(p->ifname, link->ifname, sizeof(p->ifname));
	LIST_INSERT_HEAD(&e->ports[p->ifindex % PORT_BUCKETS], p, in_bucket);
	e->events.port(p->ifindex, p->ifname, true, e->events.arg);
	return 0;
}

static void remove_port(struct endpoints *e, struct port *p)
{
	while (!LIST_EMPTY(&p->macs))
		eps_place(e, LIST_FIRST(&p->macs), NULL);
	LIST_REMOVE(p, in_bucket);
	e->events.port(p->ifindex, p->ifname, false, e->events.arg);
	free(p);
}

/* Those that the last resync has not seen, or all. */
static void remove_ports(struct endpoints *e, bool all)
{
	struct port *p, *next;

	for (size_t i = 0; i < PORT_BUCKETS; i++) {
		for (p = LIST_FIRST(&e->ports[i]); p; p = next) {
			next = LIST_NEXT(p, in_bucket);
			if (all || p->seen != e->resync)
				remove_port(e, p);
		}
	}
}

void eps_sweep_ports(struct endpoints *e)
{
	remove_ports(e, false);
}

/* The bridge. */

void eps_lose_bridge(struct endpoints *e)
{
	if (!e->bridge)
		return;
	remove_ports(e, true);
	for (uint32_t i = 0; i < e->n_slots; i++) {
		eps_forget_mac(e, &e->slots[i]);
		e->slots[i].last_port = 0;
	}
	e->bridge = 0;
	memset(e->bridge_mac, 0, sizeof(e->bridge_mac));
	e->events.bridge(0, e->bridge_mac, e->events.arg);
}

void eps_update_bridge(struct endpoints *e, const struct bridge_link *link)
{
	e->vlan_filtering = link->vlan_filtering;
	if (e->bridge == link->ifindex && memcmp(e->bridge_mac, link->mac, 6) == 0)
		return;
	if (e->bridge != link->ifindex) {
		eps_lose_bridge(e);
		/* A renamed bridge comes with ports and neighbours that were reported before. */
		e->resync_due = true;
	}
	e->bridge = link->ifindex;
	memcpy(e->bridge_mac, link->mac, sizeof(e->bridge_mac));
	e->events.bridge(e->bridge, e->bridge_mac, e->events.arg);
}

int eps_take_link(struct endpoints *e, const struct bridge_link *link, bool deleted)
{
	bool is_bridge = !deleted && link->bridge && strcmp(link->ifname, e->name) == 0;
	bool is_port = !deleted && e->bridge && link->master == e->bridge;
	struct port *p = eps_find_port(e, link->ifindex);

	if (is_bridge)
		eps_update_bridge(e, link);
	else if (link->ifindex == e->bridge)
		eps_lose_bridge(e);
	else if (is_port && p)
		update_port(e, p, link);
	else if (is_port)
		return add_port(e, link);
	else if (p)
		remove_port(e, p);
	return 0;
}

void eps_free_tables(struct endpoints *e)
{
	struct port *p;

	for (uint32_t i = 0; e->slots && i < e->n_slots; i++)
		release_mac(&e->slots[i]);
	for (size_t i = 0; i < PORT_BUCKETS; i++) {
		while ((p = LIST_FIRST(&e->ports[i]))) {
			LIST_REMOVE(p, in_bucket);
			free(p);
		}
	}
	free(e->slots);
}
