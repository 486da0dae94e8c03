/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Three small tables (endpoints_table.c) and one rule. A slot per address of the subnet names the
 * MAC that the neighbour table has for it; a MAC in use by a slot names the port that learnt it; a
 * port knows whether it runs. An address whose slot, MAC and port agree is an endpoint:
 * eps_evaluate() compares that with what was reported last, and is called after every change of
 * any of the three.
 *
 * Only MACs that some slot refers to are kept, so that a pod which forges frames can fill the
 * bridge's table but not ours. The port of a MAC that is new here is asked for (eps_locate()).
 *
 * What the kernel merely forgets (garbage collection, ageing) is not taken for news: the slot goes
 * on the probe queue, and only a failed probe, another MAC or the port's end change it.
 */
#include "endpoints_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "log.h"
#include "rtnl.h"
#include "util.h"

#define GROUP(name) (1u << (RTNLGRP_##name - 1))
/* The states in which a neighbour's MAC is good for sending (the kernel's NUD_VALID). */
#define USABLE (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

/* The shortest prefix whose addresses fit the endpoint map (WEFT_MAX_ENDPOINTS). */
#define SUBNET_LEN_MIN 16
/* Queued probes: so many each PROBE_PERIOD_MS, which makes 100 a second. */
#define PROBE_BATCH 10
#define HINTS_QUEUED_MAX 100
#define HINT_INTERVAL_MS 1000
/* Every endpoint's turn comes this often, a slice each second: well within the kernel's ageing. */
#define KEEPALIVE_S 30
/* A flood of events can overrun the socket again and again; it must not make us dump as often. */
#define RESYNC_INTERVAL_MS 500

/* What the kernel says, in events and dumps. */

static int take_neigh(struct endpoints *e, const struct nlmsghdr *nlh, const struct rtnl_neigh *n)
{
	struct slot *s = n->ifindex == e->bridge ? eps_find_slot(e, n->addr) : NULL;
	bool valid = n->state & USABLE && n->has_mac && !(n->mac[0] & 1);

	if (!s)
		return 0;
	if (nlh->nlmsg_type == RTM_DELNEIGH) {
		s->fixed = false;
		if (s->mac)
			eps_enqueue(e, s, false);
		return 0;
	}
	s->seen = e->resync;
	if (valid) {
		s->fixed = n->state & (NUD_PERMANENT | NUD_NOARP);
		return eps_set_mac(e, s, n->mac);
	}
	if (!(n->state & NUD_FAILED) || !s->mac)
		return 0;
	/*
	 * A failed probe is the kernel's own message. One with a sender is "ip neigh del" or flush,
	 * which fails an entry before it deletes it: forgetting, not news. (In a dump the sender is
	 * us.) A failed unicast probe is followed by one broadcast: the pod may have a new MAC.
	 */
	s->fixed = false;
	if (!nlh->nlmsg_pid || e->syncing)
		eps_forget_mac(e, s);
	eps_enqueue(e, s, false);
	return 0;
}

static int take_fdb(struct endpoints *e, const struct bridge_fdb *fdb, bool deleted)
{
	struct mac *m = fdb->master == e->bridge && !fdb->local ? eps_find_mac(e, fdb->mac) : NULL;
	struct port *p = m ? eps_find_port(e, fdb->ifindex) : NULL;

	if (!p)
		return 0;
	if (!deleted)
		eps_place(e, m, p);
	else if (m->port == p && m->learnt)
		eps_enqueue_mac(e, m);
	return 0;
}

/* A pod that claims the bridge's own address must never become the endpoint of it. */
static int take_addr(struct endpoints *e, const struct nlmsghdr *nlh)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	struct slot *s = NULL;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifa) || ifa->ifa_family != AF_INET)
		return 0;
	mnl_attr_for_each (attr, nlh, sizeof(*ifa)) {
		if (mnl_attr_get_type(attr) == IFA_LOCAL &&
		    mnl_attr_get_payload_len(attr) >= sizeof(uint32_t))
			s = eps_find_slot(e, ntohl(mnl_attr_get_u32(attr)));
	}
	if (!s)
		return 0;
	/* Another device may still have it. */
	if (nlh->nlmsg_type == RTM_DELADDR) {
		e->resync_due = true;
		return 0;
	}
	s->local = true;
	s->seen_local = e->resync;
	eps_evaluate(e, s);
	return 0;
}

static int take_message(const struct nlmsghdr *nlh, void *arg)
{
	struct bridge_link link;
	struct bridge_fdb fdb;
	struct rtnl_neigh neigh;

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (bridge_link_parse(nlh, &link))
			return 0;
		return eps_take_link(arg, &link, nlh->nlmsg_type == RTM_DELLINK);
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		if (rtnl_neigh_parse(nlh, &neigh) == 0)
			return take_neigh(arg, nlh, &neigh);
		if (bridge_fdb_parse(nlh, &fdb) == 0)
			return take_fdb(arg, &fdb, nlh->nlmsg_type == RTM_DELNEIGH);
		return 0;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return take_addr(arg, nlh);
	default:
		return 0;
	}
}

/* Resynchronisation: everything is dumped and treated like events; what is missing is swept. */

static int dump_bridge(struct endpoints *e)
{
	struct bridge_link link;
	int err = bridge_link_get(e->nl, e->name, &link);

	if (err == -ENODEV)
		eps_lose_bridge(e);
	else if (err == 0)
		eps_update_bridge(e, &link);
	return err == -ENODEV ? 0 : err;
}

static int dump_tables(struct endpoints *e)
{
	int err = bridge_dump(e->nl, RTM_GETLINK, AF_UNSPEC, take_message, e);

	if (err)
		return err;
	eps_sweep_ports(e);
	err = bridge_dump(e->nl, RTM_GETADDR, AF_INET, take_message, e);
	/* The addresses first: only MACs that belong to one are looked for. */
	if (err == 0)
		err = bridge_dump(e->nl, RTM_GETNEIGH, AF_INET, take_message, e);
	if (err == 0)
		err = bridge_dump(e->nl, RTM_GETNEIGH, AF_BRIDGE, take_message, e);
	return err;
}

/* The neighbours that are missing may have been forgotten or have failed: a probe will tell. */
static void sweep_slots(struct endpoints *e)
{
	for (uint32_t i = 0; i < e->n_slots; i++) {
		struct slot *s = &e->slots[i];

		if (s->local && s->seen_local != e->resync) {
			s->local = false;
			eps_evaluate(e, s);
			/* Nobody has asked while it was ours. */
			if (!s->mac)
				eps_enqueue(e, s, false);
		}
		if (s->mac && (s->seen != e->resync || !s->mac->learnt))
			eps_enqueue(e, s, false);
	}
}

static int resync(struct endpoints *e)
{
	int err;

	e->resync_ms = clock_ms();
	e->resync++;
	e->syncing = true;
	err = dump_bridge(e);
	/* A bridge that takes the name only after this is news to the dumps, too. */
	e->resync_due = false;
	if (err == 0)
		err = dump_tables(e);
	if (err == 0)
		sweep_slots(e);
	e->syncing = false;
	e->resync_due |= err != 0;
	return err;
}

static void resync_if_due(void *arg)
{
	struct endpoints *e = arg;
	uint64_t next = e->resync_ms + RESYNC_INTERVAL_MS, now = clock_ms();
	int err;

	if (!e->resync_due)
		return;
	if (now >= next) {
		err = resync(e);
		if (err)
			log_err(err, "%s: cannot read its state, trying again", e->name);
		next = e->resync_ms + RESYNC_INTERVAL_MS;
	}
	if (e->resync_due)
		loop_timer_arm(e->resync_timer, next > now ? next - now : 0, 0);
}

static void on_watch(void *arg)
{
	struct endpoints *e = arg;
	bool overrun = false;
	int err = nl_receive(e->watch, take_message, e, &overrun);

	if (overrun)
		log_info("%s: kernel events were lost, reading everything", e->name);
	if (err)
		log_err(err, "%s: netlink events", e->name);
	e->resync_due |= overrun || err;
	resync_if_due(e);
}

/* Probes. */

static void probe(struct endpoints *e, struct slot *s)
{
	struct mac *m = s->mac;

	if (!e->bridge || s->local)
		return;
	if (m && m->port && !m->port->running)
		return;
	if (m && !m->learnt)
		eps_locate(e, m);
	if (m && s->fixed)
		return;
	/* The pod's answer is what teaches the bridge its MAC, so a fresh entry is no excuse. */
	if (!m || bridge_neigh_verify(e->nl, e->bridge, eps_slot_addr(e, s)))
		bridge_neigh_use(e->nl, e->bridge, eps_slot_addr(e, s));
}

/* A probe takes a neighbour for what it was: what has happened to it since is read first. */
static void on_probe_timer(void *arg)
{
	struct endpoints *e = arg;
	struct slot *s;

	on_watch(e);
	for (int i = 0; i < PROBE_BATCH; i++) {
		s = eps_dequeue(e);
		if (!s) {
			loop_timer_disarm(e->probe_timer);
			e->probing = false;
			return;
		}
		probe(e, s);
	}
}

static void keep_alive(struct endpoints *e, struct slot *s)
{
	if (eps_is_complete(s) && !s->fixed)
		bridge_neigh_use(e->nl, e->bridge, eps_slot_addr(e, s));
	else if (s->mac && !s->mac->learnt)
		eps_enqueue(e, s, false);
}

static void on_keepalive_timer(void *arg)
{
	struct endpoints *e = arg;
	uint32_t end;

	if (e->fdb_due) {
		e->fdb_due = false;
		bridge_dump(e->nl, RTM_GETNEIGH, AF_BRIDGE, take_message, e);
	}
	e->turn = e->turn % KEEPALIVE_S + 1;
	end = (uint32_t)((uint64_t)e->n_slots * e->turn / KEEPALIVE_S);
	while (e->cursor < end)
		keep_alive(e, &e->slots[e->cursor++]);
	e->cursor %= e->n_slots;
}

void endpoints_hint(struct endpoints *e, uint32_t addr, uint32_t ifindex)
{
	struct slot *s = eps_find_slot(e, addr);
	uint64_t now;

	if (!s || s->local || s->queued || e->n_hints >= HINTS_QUEUED_MAX)
		return;
	if (s->ifindex && s->ifindex == ifindex)
		return;
	now = clock_ms();
	if (s->hint_ms && now - s->hint_ms < HINT_INTERVAL_MS)
		return;
	s->hint_ms = now;
	eps_enqueue(e, s, true);
}

/* Life and death. */

static int start(struct endpoints *e)
{
	uint32_t groups = GROUP(LINK) | GROUP(NEIGH) | GROUP(IPV4_IFADDR);
	int err = nl_open(0, &e->nl);

	/* Subscribed before the dump, so that no change falls between the two. */
	if (err == 0)
		err = nl_open(groups, &e->watch);
	if (err == 0)
		err = loop_timer_new(e->loop, on_probe_timer, e, &e->probe_timer);
	if (err == 0)
		err = loop_timer_new(e->loop, on_keepalive_timer, e, &e->keepalive_timer);
	if (err == 0)
		err = loop_timer_new(e->loop, resync_if_due, e, &e->resync_timer);
	if (err == 0)
		err = loop_add(e->loop, nl_fd(e->watch), on_watch, e);
	if (err == 0)
		err = resync(e);
	/* Tables that do not hold still are no reason to give up: what is known is right. */
	if (err && err != -EAGAIN)
		return err;
	resync_if_due(e);
	loop_timer_arm(e->keepalive_timer, 1000, 1000);
	return 0;
}

int endpoints_open(struct loop *loop, const char *bridge, struct prefix4 subnet,
		   const struct endpoints_events *events, struct endpoints **out)
{
	struct endpoints *e;
	int err;

	if (subnet.len < SUBNET_LEN_MIN || strlen(bridge) >= IF_NAMESIZE)
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->loop = loop;
	e->events = *events;
	e->subnet = subnet;
	e->n_slots = 1u << (32 - subnet.len);
	e->slots = calloc(e->n_slots, sizeof(*e->slots));
	memcpy(e->name, bridge, strlen(bridge));
	TAILQ_INIT(&e->queue);
	/* Without a seed the table still works, only predictably. */
	if (getrandom(&e->seed, sizeof(e->seed), GRND_NONBLOCK) < 0)
		e->seed = clock_ms();
	err = e->slots ? start(e) : -ENOMEM;
	if (err) {
		endpoints_close(e);
		return err;
	}
	*out = e;
	return 0;
}

void endpoints_close(struct endpoints *e)
{
	if (!e)
		return;
	if (e->probe_timer)
		loop_timer_disarm(e->probe_timer);
	if (e->keepalive_timer)
		loop_timer_disarm(e->keepalive_timer);
	if (e->resync_timer)
		loop_timer_disarm(e->resync_timer);
	if (e->watch) {
		loop_remove(e->loop, nl_fd(e->watch));
		nl_close(e->watch);
	}
	nl_close(e->nl);
	eps_free_tables(e);
	free(e);
}

void endpoints_each(const struct endpoints *e, void (*fn)(const struct endpoint *ep, void *arg),
		    void *arg)
{
	struct endpoint ep;

	for (uint32_t i = 0; i < e->n_slots; i++) {
		if (!e->slots[i].ifindex)
			continue;
		eps_describe(e, &e->slots[i], &ep);
		fn(&ep, arg);
	}
}

void endpoints_each_port(const struct endpoints *e, void (*fn)(uint32_t ifindex, void *arg),
			 void *arg)
{
	const struct port *p;

	for (size_t i = 0; i < PORT_BUCKETS; i++) {
		for (p = LIST_FIRST(&e->ports[i]); p; p = LIST_NEXT(p, in_bucket))
			fn(p->ifindex, arg);
	}
}
