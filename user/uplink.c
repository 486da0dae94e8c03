/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "uplink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <regex.h>
#include <string.h>

#include "log.h"
#include "rtnl.h"
#include "util.h"

/* Kernel state that a choice is made from. */
struct candidates {
	struct rtnl_link *links;
	size_t n_links;
	struct rtnl_addr *addrs;
	size_t n_addrs;
	enum log_level level; /* of what is said of those that are none */
};

static void cleanup_candidates(struct candidates *c)
{
	free(c->links);
	free(c->addrs);
}

static bool is_link_local(uint32_t addr)
{
	return addr >> 16 == 0xa9fe;
}

/* Go's IsGlobalUnicast() or IsLinkLocalUnicast(), and not deprecated. */
static bool is_usable(const struct rtnl_addr *a)
{
	uint8_t top = a->addr >> 24;

	return a->addr && top != 127 && top >> 4 != 0xe && a->addr != INADDR_BROADCAST &&
	       !(a->flags & IFA_F_DEPRECATED);
}

/* Lower is better. For IPv4 the bit of "temporary" means "secondary". */
static int addr_rank(const struct rtnl_addr *a)
{
	return (is_link_local(a->addr) ? 4 : 0) + (a->flags & IFA_F_PERMANENT ? 0 : 2) +
	       (a->flags & IFA_F_TEMPORARY ? 1 : 0);
}

static uint32_t first_usable_addr(const struct candidates *c, uint32_t ifindex)
{
	const struct rtnl_addr *best = NULL, *a;

	for (a = c->addrs; a < c->addrs + c->n_addrs; a++) {
		if (a->ifindex != ifindex || !is_usable(a))
			continue;
		if (!best || addr_rank(a) < addr_rank(best))
			best = a;
	}
	return best ? best->addr : 0;
}

static const struct rtnl_addr *addr_owner(const struct candidates *c, uint32_t addr)
{
	const struct rtnl_addr *a;

	for (a = c->addrs; a < c->addrs + c->n_addrs; a++) {
		if (a->addr == addr)
			return a;
	}
	return NULL;
}

static const struct rtnl_link *link_by_index(const struct candidates *c, uint32_t ifindex)
{
	const struct rtnl_link *l;

	for (l = c->links; l < c->links + c->n_links; l++) {
		if (l->ifindex == ifindex)
			return l;
	}
	return NULL;
}

static const struct rtnl_link *link_by_name(const struct candidates *c, const char *ifname)
{
	const struct rtnl_link *l;

	for (l = c->links; l < c->links + c->n_links; l++) {
		if (strcmp(l->ifname, ifname) == 0)
			return l;
	}
	return NULL;
}

static int refuse(const struct candidates *c, const char *how, const char *value, const char *why)
{
	log_at(c->level, "no underlay interface by %s%s%s: %s", how, value ? " " : "",
	       value ? value : "", why);
	return -ENODEV;
}

/* The rest of *out is read by uplink_refresh(). */
static int take(const struct rtnl_link *link, uint32_t addr, struct uplink *out)
{
	if (!link || !addr)
		return -ENODEV;
	out->ifindex = link->ifindex;
	memcpy(out->ifname, link->ifname, sizeof(out->ifname));
	out->addr = addr;
	return 0;
}

static int choose_owner(const struct candidates *c, const char *how, const char *text,
			struct uplink *out)
{
	const struct rtnl_addr *owner;
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) != 1)
		return refuse(c, how, text, "not an IPv4 address");
	owner = addr_owner(c, ntohl(in.s_addr));
	if (!owner || take(link_by_index(c, owner->ifindex), owner->addr, out))
		return refuse(c, how, text, "no interface has this address");
	return 0;
}

static int choose_iface(const struct candidates *c, const char *iface, struct uplink *out)
{
	const struct rtnl_link *link;
	struct in_addr in;

	if (inet_pton(AF_INET, iface, &in) == 1)
		return choose_owner(c, "address", iface, out);
	link = link_by_name(c, iface);
	if (!link)
		return refuse(c, "name", iface, "no such interface");
	if (take(link, first_usable_addr(c, link->ifindex), out))
		return refuse(c, "name", iface, "it has no usable IPv4 address");
	return 0;
}

/* Usable addresses first, interface by interface; the best address of the interface wins. */
static uint32_t match_addr(const struct candidates *c, uint32_t ifindex, const regex_t *regex)
{
	const struct rtnl_addr *best = NULL, *a;
	char text[INET_ADDRSTRLEN];
	struct in_addr in;

	for (a = c->addrs; a < c->addrs + c->n_addrs; a++) {
		if (a->ifindex != ifindex || !is_usable(a))
			continue;
		in.s_addr = htonl(a->addr);
		inet_ntop(AF_INET, &in, text, sizeof(text));
		if (regexec(regex, text, 0, NULL, 0) == 0 &&
		    (!best || addr_rank(a) < addr_rank(best)))
			best = a;
	}
	return best ? best->addr : 0;
}

static int match_links(const struct candidates *c, const regex_t *regex, const char *text,
		       struct uplink *out)
{
	const struct rtnl_link *l;

	for (l = c->links; l < c->links + c->n_links; l++) {
		if (take(l, match_addr(c, l->ifindex, regex), out) == 0)
			return 0;
	}
	for (l = c->links; l < c->links + c->n_links; l++) {
		if (regexec(regex, l->ifname, 0, NULL, 0))
			continue;
		if (take(l, first_usable_addr(c, l->ifindex), out))
			return refuse(c, "regex", text, "the match has no usable IPv4 address");
		return 0;
	}
	return refuse(c, "regex", text, "no interface's address or name matches");
}

static int choose_regex(const struct candidates *c, const char *text, struct uplink *out)
{
	char why[128];
	regex_t regex;
	int err;

	err = regcomp(&regex, text, REG_EXTENDED);
	if (err) {
		regerror(err, &regex, why, sizeof(why));
		return refuse(c, "regex", text, why);
	}
	err = match_links(c, &regex, text, out);
	regfree(&regex);
	return err;
}

static int choose_can_reach(struct nl *nl, const struct candidates *c, const char *text,
			    struct uplink *out)
{
	struct rtnl_route route;
	struct in_addr in;
	int err;

	if (inet_pton(AF_INET, text, &in) != 1)
		return refuse(c, "route to", text, "not an IPv4 address");
	err = rtnl_route_lookup(nl, ntohl(in.s_addr), 0, &route);
	if (err)
		return refuse(c, "route to", text, strerror(-err));
	if (!route.unicast)
		return refuse(c, "route to", text, "not a remote address");
	if (take(link_by_index(c, route.ifindex), route.prefsrc, out))
		return refuse(c, "route to", text, "the route has no source address");
	return 0;
}

static int choose_default(struct nl *nl, const struct candidates *c, struct uplink *out)
{
	uint32_t ifindex;
	int err = rtnl_default_route(nl, &ifindex);

	if (err == -ELOOP)
		return refuse(c, "default route", NULL, "it has several interfaces");
	if (err)
		return refuse(c, "default route", NULL, "the main table has none");
	if (take(link_by_index(c, ifindex), first_usable_addr(c, ifindex), out))
		return refuse(c, "default route", NULL, "its device has no usable IPv4 address");
	return 0;
}

/* As flannel: each flag that is given has its turn, in this order, until one succeeds. */
static int choose(struct nl *nl, const struct underlay_select *s, const struct candidates *c,
		  struct uplink *out)
{
	if (s->iface && choose_iface(c, s->iface, out) == 0)
		return 0;
	if (s->iface_regex && choose_regex(c, s->iface_regex, out) == 0)
		return 0;
	if (s->can_reach && choose_can_reach(nl, c, s->can_reach, out) == 0)
		return 0;
	if (s->iface || s->iface_regex || s->can_reach)
		return -ENODEV;
	if (s->public_ip)
		return choose_owner(c, "public IP", s->public_ip, out);
	return choose_default(nl, c, out);
}

int uplink_choose(struct nl *nl, const struct underlay_select *select, enum log_level level,
		  struct uplink *out)
{
	__attribute__((cleanup(cleanup_candidates))) struct candidates c = {.level = level};
	struct uplink uplink = {};
	bool changed;
	int err;

	err = rtnl_link_dump(nl, &c.links, &c.n_links);
	if (!err)
		err = rtnl_addr_dump(nl, &c.addrs, &c.n_addrs);
	if (err)
		return log_err(err, "cannot list interfaces");
	err = choose(nl, select, &c, &uplink);
	if (err)
		return err;
	err = uplink_refresh(nl, &uplink, &changed);
	if (err)
		return log_err(err, "%s: cannot read interface", uplink.ifname);
	if (!uplink.mtu)
		return refuse(&c, "name", uplink.ifname, "its MTU is 0");
	*out = uplink;
	return 0;
}

static int has_addr(struct nl *nl, const struct uplink *uplink, bool *present)
{
	_free_ struct rtnl_addr *addrs = NULL;
	size_t n = 0, i;
	int err;

	err = rtnl_addr_dump(nl, &addrs, &n);
	if (err)
		return err;
	*present = false;
	for (i = 0; i < n; i++) {
		if (addrs[i].ifindex == uplink->ifindex && addrs[i].addr == uplink->addr)
			*present = true;
	}
	return 0;
}

static bool is_same(const struct uplink *a, const struct uplink *b)
{
	return a->ifindex == b->ifindex && strcmp(a->ifname, b->ifname) == 0 &&
	       memcmp(a->mac, b->mac, sizeof(a->mac)) == 0 && a->mtu == b->mtu &&
	       a->addr == b->addr && a->up == b->up && a->addr_present == b->addr_present;
}

int uplink_refresh(struct nl *nl, struct uplink *uplink, bool *changed)
{
	struct uplink now = *uplink;
	struct rtnl_link link;
	int err;

	err = rtnl_link_get(nl, now.ifindex, NULL, &link);
	if (err == -ENODEV)
		err = rtnl_link_get(nl, 0, now.ifname, &link);
	if (err && err != -ENODEV)
		return err;
	now.up = false;
	now.addr_present = false;
	if (!err) {
		now.ifindex = link.ifindex;
		memcpy(now.ifname, link.ifname, sizeof(now.ifname));
		memcpy(now.mac, link.mac, sizeof(now.mac));
		now.mtu = link.mtu;
		now.up = link.up;
		err = has_addr(nl, &now, &now.addr_present);
		if (err)
			return err;
	}
	*changed = !is_same(&now, uplink);
	*uplink = now;
	return 0;
}
