/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The uplink's address changes. The subnet stays: the registry is told the new address first, and
 * once it knows, the program starts anew in place of this process, which binds its sockets and
 * writes its headers with the new one.
 */
#include <string.h>

#include "agent_priv.h"
#include "log.h"
#include "prefix4.h"
#include "subnet_env.h"
#include "uplink.h"

/* One that is taken away and given back at once is no change. */
#define SETTLE_MS 2000

struct underlay_select address_select(const struct options *opt)
{
	return (struct underlay_select){
		.iface = opt->iface,
		.iface_regex = opt->iface_regex,
		.can_reach = opt->iface_can_reach,
		.public_ip = opt->public_ip,
	};
}

uint32_t address_published(const struct options *opt, uint32_t local)
{
	uint32_t addr;

	return opt->public_ip && prefix4_parse_addr(opt->public_ip, &addr) == 0 ? addr : local;
}

void address_join(struct agent *a, uint32_t public_ip)
{
	struct store_node node = {.public_ip = public_ip};
	char ip[INET_ADDRSTRLEN];

	log_debug("joining as %s", ip4_format(public_ip, ip));
	/* Nothing there, or nothing of use: then there is no previous subnet. */
	subnet_env_read(a->opt->subnet_file, &node.previous);
	store_join(a->store, &node);
}

void address_start_anew(struct agent *a)
{
	/* Adoption by a fresh process is the tested way to change who we are. */
	a->restart = true;
	loop_stop(a->loop);
}

/* A file that was refused under one address may be good under another. */
static void ask_again(struct agent *a, uint32_t public_ip)
{
	address_join(a, public_ip);
	loop_timer_arm(a->reload_timer, 10, 0);
}

static void move_to(struct agent *a, uint32_t local)
{
	char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN], ignored[NETCONF_ERROR_LEN];
	struct lease own;

	a->next_ip = address_published(a->opt, local);
	log_info("this node's address changed from %s to %s",
		 ip4_format(underlay_uplink(a->underlay)->addr, from), ip4_format(local, to));
	if (apply_find_own(&a->conf, a->next_ip, &own, ignored) == 0 && own.public_ip == a->next_ip)
		address_start_anew(a);
	else
		ask_again(a, a->next_ip);
}

/* The address is back before the store knew another one. */
static void move_back(struct agent *a)
{
	char ip[INET_ADDRSTRLEN];

	log_info("this node's address is %s again", ip4_format(a->public_ip, ip));
	a->next_ip = 0;
	ask_again(a, a->public_ip);
}

/*
 * Where is the address now, or which one is there instead? An interface that is down may come up
 * again with its own, so then only the same one elsewhere counts. There is no event for what
 * happens to other interfaces.
 */
static void on_settled(void *arg)
{
	struct agent *a = arg;
	const struct underlay_select select = address_select(a->opt);
	const struct uplink *up = underlay_uplink(a->underlay);
	enum log_level level = a->choice_said ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN;
	struct uplink now;

	if (up->addr_present)
		return;
	loop_timer_arm(a->address_timer, SETTLE_MS, 0);
	a->choice_said = true;
	if (uplink_choose(a->nl, &select, level, &now))
		return;
	if (now.addr == up->addr && now.ifindex != up->ifindex) {
		log_info("%s: has this node's address now", now.ifname);
		address_start_anew(a);
	} else if (up->up && now.addr != up->addr &&
		   address_published(a->opt, now.addr) != a->next_ip) {
		move_to(a, now.addr);
	}
}

void address_check(struct agent *a)
{
	if (!underlay_uplink(a->underlay)->addr_present) {
		loop_timer_arm(a->address_timer, SETTLE_MS, 0);
		return;
	}
	loop_timer_disarm(a->address_timer);
	a->choice_said = false;
	if (a->next_ip)
		move_back(a);
}

int address_open(struct agent *a)
{
	return loop_timer_new(a->loop, on_settled, a, &a->address_timer);
}
