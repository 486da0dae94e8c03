/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "underlay.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "neighbour.h"
#include "netlink.h"
#include "rtnl.h"
#include "uplink.h"
#include "util.h"

#define GROUP(name) (1u << (RTNLGRP_##name - 1))
#define GROUPS \
	(GROUP(LINK) | GROUP(NEIGH) | GROUP(IPV4_IFADDR) | GROUP(IPV4_ROUTE) | GROUP(IPV4_RULE) | \
	 GROUP(NEXTHOP))

/* Route changes come in bursts; this long they are collected. */
#define COALESCE_MS 15
/* Lookups in one go (about 10 ms), so that 65,536 peers do not stall the loop. */
#define LOOKUP_BATCH 2048
/*
 * The kernel announces neither a learnt path MTU nor its expiry, nor the routes that it drops with
 * an interface. Each peer is therefore looked up again this often, a slice per REFRESH_MS.
 */
#define REFRESH_S 30
#define LEARNT_MS 600000 /* net/ipv4/route.c, DEFAULT_MTU_EXPIRES */
#define REFRESH_MS 1000

/* An output device that some peer's route has or had. */
struct device {
	struct rtnl_link link;
	bool gone;
	size_t refs;
	struct device *next;
};

struct peer {
	uint32_t ip;
	uint32_t route_mtu; /* 0: the device's */
	uint32_t learnt_mtu; /* 0: none; see underlay_learn_mtu() */
	uint64_t learnt_until; /* by clock_ms() */
	bool dirty; /* its route must be looked up again */
	struct device *device; /* NULL: no usable route */
	struct neighbour *neighbour;
	struct peer *next; /* of the same neighbour */
	struct peer **pprev;
	struct nexthop nexthop; /* as last reported */
};

struct underlay {
	struct loop *loop;
	struct nl *events;
	struct nl *nl;
	struct uplink uplink;
	bool uplink_dirty;
	struct device *devices;
	struct neighbours *neighbours;
	struct peer *peers;
	size_t n_peers;
	size_t n_dirty;
	size_t cursor; /* where the next batch of lookups starts */
	size_t refresh_cursor;
	bool lookup_armed;
	struct loop_timer *lookup_timer;
	struct loop_timer *refresh_timer;
	void (*peer_fn)(uint32_t public_ip, void *arg);
	void (*uplink_fn)(void *arg);
	void *arg;
};

static struct device *find_device(const struct underlay *u, uint32_t ifindex)
{
	struct device *d;

	for (d = u->devices; d; d = d->next) {
		if (d->link.ifindex == ifindex)
			return d;
	}
	return NULL;
}

/* NULL also when the kernel does not know it any more. */
static struct device *get_device(struct underlay *u, uint32_t ifindex)
{
	struct device *d = find_device(u, ifindex);

	if (d)
		return d->gone ? NULL : d;
	d = calloc(1, sizeof(*d));
	if (!d || rtnl_link_get(u->nl, ifindex, NULL, &d->link)) {
		free(d);
		return NULL;
	}
	d->next = u->devices;
	u->devices = d;
	return d;
}

static void reap_devices(struct underlay *u)
{
	struct device **p = &u->devices, *d;

	while ((d = *p)) {
		if (d->gone && !d->refs) {
			*p = d->next;
			free(d);
		} else {
			p = &d->next;
		}
	}
}

static void detach(struct underlay *u, struct peer *p)
{
	struct neighbour *n = p->neighbour;

	if (n) {
		*p->pprev = p->next;
		if (p->next)
			p->next->pprev = p->pprev;
		if (!n->peers)
			neighbour_put(u->neighbours, n);
	}
	if (p->device)
		p->device->refs--;
	p->neighbour = NULL;
	p->device = NULL;
}

static void attach(struct peer *p, struct device *d, struct neighbour *n)
{
	p->device = d;
	d->refs++;
	p->neighbour = n;
	if (!n)
		return;
	p->next = n->peers;
	if (p->next)
		p->next->pprev = &p->next;
	p->pprev = &n->peers;
	n->peers = p;
}

static bool is_same_nexthop(const struct nexthop *a, const struct nexthop *b)
{
	return a->resolved == b->resolved && a->ifindex == b->ifindex &&
	       memcmp(a->dst_mac, b->dst_mac, sizeof(a->dst_mac)) == 0 &&
	       memcmp(a->src_mac, b->src_mac, sizeof(a->src_mac)) == 0 &&
	       a->gateway == b->gateway && a->mtu == b->mtu && a->asymmetric == b->asymmetric;
}

/* What is not known is 0. */
static struct nexthop current_nexthop(const struct peer *p)
{
	const struct rtnl_link *link;
	struct nexthop hop = {};

	if (!p->device)
		return hop;
	link = &p->device->link;
	hop.ifindex = link->up ? link->ifindex : 0;
	hop.mtu = p->route_mtu && p->route_mtu < link->mtu ? p->route_mtu : link->mtu;
	if (p->learnt_mtu && p->learnt_mtu < hop.mtu && clock_ms() < p->learnt_until)
		hop.mtu = p->learnt_mtu;
	memcpy(hop.src_mac, link->mac, sizeof(hop.src_mac));
	if (!p->neighbour)
		return hop;
	hop.gateway = p->neighbour->addr;
	hop.resolved = link->up && p->neighbour->resolved;
	hop.asymmetric = p->neighbour->asymmetric;
	if (hop.resolved)
		memcpy(hop.dst_mac, p->neighbour->mac, sizeof(hop.dst_mac));
	return hop;
}

static void update_peer(struct underlay *u, struct peer *p)
{
	struct nexthop hop = current_nexthop(p);

	if (is_same_nexthop(&hop, &p->nexthop))
		return;
	p->nexthop = hop;
	if (u->peer_fn)
		u->peer_fn(p->ip, u->arg);
}

static void on_neighbour(struct neighbour *n, void *arg)
{
	struct peer *p;

	for (p = n->peers; p; p = p->next)
		update_peer(arg, p);
}

/* The route of p as of now, without reporting it. */
static void look_up(struct underlay *u, struct peer *p)
{
	struct neighbour *n = NULL;
	struct rtnl_route route = {};
	struct device *d = NULL;

	if (p->dirty) {
		p->dirty = false;
		u->n_dirty--;
	}
	if (rtnl_route_lookup(u->nl, p->ip, u->uplink.addr, &route) == 0 && route.unicast)
		d = get_device(u, route.ifindex);
	p->route_mtu = route.mtu;
	if (d && d->link.ethernet && neighbour_get(u->neighbours, &d->link, route.gateway, &n) < 0)
		d = NULL;
	if (d == p->device && n == p->neighbour)
		return;
	detach(u, p);
	if (d)
		attach(p, d, n);
}

static void arm_lookup(struct underlay *u, uint64_t delay_ms)
{
	if (u->lookup_armed || !u->n_dirty)
		return;
	u->lookup_armed = true;
	loop_timer_arm(u->lookup_timer, delay_ms, 0);
}

/* Index of the first peer that is not below ip. */
static size_t lower_bound(const struct underlay *u, uint32_t ip)
{
	size_t low = 0, high = u->n_peers;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (u->peers[mid].ip < ip)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct peer *find_peer(const struct underlay *u, uint32_t ip)
{
	size_t i = lower_bound(u, ip);

	return i < u->n_peers && u->peers[i].ip == ip ? &u->peers[i] : NULL;
}

static void mark_dirty(struct underlay *u, uint32_t first, uint32_t last)
{
	size_t i;

	for (i = lower_bound(u, first); i < u->n_peers && u->peers[i].ip <= last; i++) {
		u->n_dirty += !u->peers[i].dirty;
		u->peers[i].dirty = true;
	}
	arm_lookup(u, COALESCE_MS);
}

static void mark_all_dirty(struct underlay *u)
{
	mark_dirty(u, 0, UINT32_MAX);
}

static void on_lookup(void *arg)
{
	struct underlay *u = arg;
	size_t budget = LOOKUP_BATCH;

	u->lookup_armed = false;
	while (u->n_dirty && budget) {
		struct peer *p = &u->peers[u->cursor];

		u->cursor = (u->cursor + 1) % u->n_peers;
		if (!p->dirty)
			continue;
		look_up(u, p);
		update_peer(u, p);
		budget--;
	}
	reap_devices(u);
	arm_lookup(u, 1);
}

static void on_refresh(void *arg)
{
	struct underlay *u = arg;
	size_t n = (u->n_peers + REFRESH_S - 1) / REFRESH_S;

	for (; n; n--) {
		struct peer *p = &u->peers[u->refresh_cursor];

		u->refresh_cursor = (u->refresh_cursor + 1) % u->n_peers;
		u->n_dirty += !p->dirty;
		p->dirty = true;
	}
	arm_lookup(u, COALESCE_MS);
}

static void update_device_peers(struct underlay *u, const struct device *d)
{
	size_t i;

	for (i = 0; i < u->n_peers; i++) {
		if (u->peers[i].device == d)
			update_peer(u, &u->peers[i]);
	}
}

/* Take over its present state; link->ifindex 0: it is gone. True when anything changed. */
static bool update_device(struct underlay *u, struct device *d, const struct rtnl_link *link)
{
	struct rtnl_link old = d->link;
	bool new_mac = memcmp(old.mac, link->mac, sizeof(old.mac)) != 0;

	d->link = *link;
	d->gone = !link->ifindex;
	d->link.ifindex = old.ifindex; /* a key of the neighbours */
	if (old.up != link->up || new_mac)
		neighbours_restart(u->neighbours, &d->link);
	update_device_peers(u, d);
	return d->gone || new_mac || old.up != link->up || old.mtu != link->mtu ||
	       old.ethernet != link->ethernet;
}

static void on_link(struct underlay *u, const struct nlmsghdr *nlh)
{
	struct rtnl_link link;
	struct device *d;
	bool changed;

	if (rtnl_link_parse(nlh, &link))
		return;
	if (link.ifindex == u->uplink.ifindex || strcmp(link.ifname, u->uplink.ifname) == 0)
		u->uplink_dirty = true;
	/* Pods come and go: their ports, and links that are not up, change no peer's route. */
	changed = link.up && !link.port;
	d = find_device(u, link.ifindex);
	if (d) {
		if (nlh->nlmsg_type == RTM_DELLINK)
			link = (struct rtnl_link){};
		changed = update_device(u, d, &link);
	}
	if (changed)
		mark_all_dirty(u);
}

static void on_route(struct underlay *u, const struct nlmsghdr *nlh)
{
	uint32_t first, last;

	if (rtnl_route_range(nlh, &first, &last) == 0)
		mark_dirty(u, first, last);
}

static void on_neigh(struct underlay *u, const struct nlmsghdr *nlh)
{
	struct rtnl_neigh neigh;

	if (rtnl_neigh_parse(nlh, &neigh) == 0)
		neighbours_event(u->neighbours, &neigh, nlh->nlmsg_type == RTM_DELNEIGH);
}

static int on_event(const struct nlmsghdr *nlh, void *arg)
{
	struct underlay *u = arg;

	switch (nlh->nlmsg_type) {
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		on_neigh(u, nlh);
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		on_link(u, nlh);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		on_route(u, nlh);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		u->uplink_dirty = true;
		mark_all_dirty(u);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		mark_all_dirty(u);
		break;
	}
	return 0;
}

/* Events were lost: everything that is known may be out of date. */
static void resync(struct underlay *u)
{
	struct device *d;
	int err;

	log_debug("underlay: events were lost, reading everything again");
	for (d = u->devices; d; d = d->next) {
		struct rtnl_link link = {};

		err = rtnl_link_get(u->nl, d->link.ifindex, NULL, &link);
		if (!err || err == -ENODEV)
			update_device(u, d, &link);
	}
	neighbours_restart(u->neighbours, NULL);
	u->uplink_dirty = true;
	mark_all_dirty(u);
}

static void update_uplink(struct underlay *u)
{
	bool changed;
	int err;

	u->uplink_dirty = false;
	err = uplink_refresh(u->nl, &u->uplink, &changed);
	if (err) {
		log_err(err, "%s: cannot read interface", u->uplink.ifname);
		return;
	}
	if (changed && u->uplink_fn)
		u->uplink_fn(u->arg);
}

static void on_readable(void *arg)
{
	struct underlay *u = arg;
	bool overrun;
	int err;

	err = nl_receive(u->events, on_event, u, &overrun);
	if (err)
		log_err(err, "underlay: cannot receive events");
	if (overrun)
		resync(u);
	if (u->uplink_dirty)
		update_uplink(u);
}

static int start(struct underlay *u, const struct underlay_select *select)
{
	int err;

	err = nl_open(0, &u->nl);
	/* Events first: what changes while the present state is read must not be missed. */
	if (!err)
		err = nl_open(GROUPS, &u->events);
	if (err)
		return log_err(err, "cannot open rtnetlink");
	err = uplink_choose(u->nl, select, LOG_LEVEL_WARN, &u->uplink);
	if (err)
		return err;
	err = neighbours_new(u->loop, u->nl, on_neighbour, u, &u->neighbours);
	if (!err)
		err = loop_timer_new(u->loop, on_lookup, u, &u->lookup_timer);
	if (!err)
		err = loop_timer_new(u->loop, on_refresh, u, &u->refresh_timer);
	if (!err)
		err = loop_add(u->loop, nl_fd(u->events), on_readable, u);
	if (err)
		return log_err(err, "cannot watch the underlay");
	loop_timer_arm(u->refresh_timer, REFRESH_MS, REFRESH_MS);
	return 0;
}

int underlay_open(struct loop *loop, const struct underlay_select *select, struct underlay **out)
{
	struct underlay *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->loop = loop;
	err = start(u, select);
	if (err) {
		underlay_close(u);
		return err;
	}
	*out = u;
	return 0;
}

void underlay_close(struct underlay *u)
{
	struct device *d;

	if (!u)
		return;
	/* Timers live as long as the loop, and must not fire on what is freed here. */
	loop_timer_disarm(u->lookup_timer);
	loop_timer_disarm(u->refresh_timer);
	if (u->events)
		loop_remove(u->loop, nl_fd(u->events));
	neighbours_free(u->neighbours);
	while ((d = u->devices)) {
		u->devices = d->next;
		free(d);
	}
	free(u->peers);
	nl_close(u->events);
	nl_close(u->nl);
	free(u);
}

const struct uplink *underlay_uplink(const struct underlay *u)
{
	return &u->uplink;
}

/* Take over what is known about a peer; the old record still holds its references. */
static void adopt(struct underlay *u, struct peer *p, const struct peer *old)
{
	p->route_mtu = old->route_mtu;
	p->learnt_mtu = old->learnt_mtu;
	p->learnt_until = old->learnt_until;
	p->nexthop = old->nexthop;
	p->dirty = old->dirty;
	u->n_dirty += p->dirty;
	if (old->device)
		attach(p, old->device, old->neighbour);
}

int underlay_set_peers(struct underlay *u, const uint32_t *public_ips, size_t n)
{
	struct peer *peers = calloc(n ? n : 1, sizeof(*peers)), *old = u->peers;
	size_t i, n_old = u->n_peers;
	const struct peer *known;

	if (!peers)
		return -ENOMEM;
	u->n_dirty = 0;
	for (i = 0; i < n; i++) {
		peers[i].ip = public_ips[i];
		known = find_peer(u, public_ips[i]);
		if (known) {
			adopt(u, &peers[i], known);
			continue;
		}
		look_up(u, &peers[i]);
		peers[i].nexthop = current_nexthop(&peers[i]);
	}
	for (i = 0; i < n_old; i++)
		detach(u, &old[i]);
	free(old);
	u->peers = peers;
	u->n_peers = n;
	u->cursor = 0;
	/* Where it was, so that often changed peers are all refreshed nevertheless. */
	u->refresh_cursor = n ? u->refresh_cursor % n : 0;
	reap_devices(u);
	arm_lookup(u, COALESCE_MS);
	return 0;
}

int underlay_nexthop(const struct underlay *u, uint32_t public_ip, struct nexthop *out)
{
	const struct peer *p = find_peer(u, public_ip);

	if (!p)
		return -ENOENT;
	*out = p->nexthop;
	return 0;
}

void underlay_learn_mtu(struct underlay *u, uint32_t public_ip, uint32_t mtu)
{
	struct peer *p = find_peer(u, public_ip);

	if (mtu < UNDERLAY_MIN_MTU)
		mtu = UNDERLAY_MIN_MTU;
	if (!p || mtu > p->nexthop.mtu)
		return;
	p->learnt_mtu = mtu;
	p->learnt_until = clock_ms() + LEARNT_MS;
	update_peer(u, p);
}

void underlay_probe(struct underlay *u, uint32_t public_ip)
{
	const struct peer *p = find_peer(u, public_ip);

	if (p && p->neighbour)
		neighbour_probe(u->neighbours, p->neighbour);
}

void underlay_on_change(struct underlay *u, void (*peer_fn)(uint32_t public_ip, void *arg),
			void (*uplink_fn)(void *arg), void *arg)
{
	u->peer_fn = peer_fn;
	u->uplink_fn = uplink_fn;
	u->arg = arg;
}
