/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The routing table of the slow path, and what it says of a packet. No system calls. */
#include "forward.h"
#include "util.h"

/* One allocation: the members follow the routes, whose size keeps them aligned. */
struct forward_table *forward_table_new(size_t n_routes, size_t n_members)
{
	struct forward_table *table;
	size_t routes, members, total;

	if (__builtin_mul_overflow(n_routes, sizeof(table->routes[0]), &routes) ||
	    __builtin_mul_overflow(n_members, sizeof(table->members[0]), &members) ||
	    __builtin_add_overflow(routes, members, &total) ||
	    __builtin_add_overflow(total, sizeof(*table), &total))
		return NULL;
	table = calloc(1, total);
	if (!table)
		return NULL;
	table->n_routes = n_routes;
	table->n_members = n_members;
	table->members = (uint32_t *)&table->routes[n_routes];
	return table;
}

void forward_table_free(struct forward_table *table)
{
	free(table);
}

const struct forward_route *forward_lookup(const struct forward_table *table, uint32_t addr)
{
	size_t low = 0, high = table->n_routes;
	const struct forward_route *route;

	/* Find the first route above addr: only the one before it can contain addr. */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (table->routes[mid].subnet.addr <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return NULL;
	route = &table->routes[low - 1];
	return prefix4_contains(route->subnet, addr) ? route : NULL;
}

bool forward_is_member(const struct forward_table *table, uint32_t public_ip)
{
	size_t low = 0, high = table->n_members;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (table->members[mid] == public_ip)
			return true;
		if (table->members[mid] < public_ip)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* The source goes first: no ICMP error may go to an address that is not the sender's. */
enum weft_reason forward_check_out(const struct forward_table *table, const void *packet,
				   size_t len, struct ip4_info *info,
				   const struct forward_route **route)
{
	enum weft_reason reason = ip4_parse(packet, len, info);
	const struct forward_route *found;

	if (reason != WEFT_R_OK)
		return reason;
	if (table->peer_check && !prefix4_contains(table->subnet, info->saddr))
		return WEFT_R_SPOOFED_LOCAL;
	if (!info->ttl)
		return WEFT_R_TTL;
	if (!prefix4_contains(table->network, info->daddr))
		return WEFT_R_NOT_OVERLAY;
	if (prefix4_contains(table->subnet, info->daddr))
		return WEFT_R_NO_ROUTE;
	found = forward_lookup(table, info->daddr);
	if (!found)
		return WEFT_R_NO_ROUTE;
	*route = found;
	return WEFT_R_OK;
}

/* The inner source must be the sending member's, and never ours even with the check off. */
static bool is_source_spoofed(const struct forward_table *table, uint32_t outer_src, uint32_t saddr)
{
	const struct forward_route *route;

	if (prefix4_contains(table->subnet, saddr))
		return true;
	if (!table->peer_check)
		return false;
	route = forward_lookup(table, saddr);
	return !route || route->public_ip != outer_src;
}

enum weft_reason forward_check_in(const struct forward_table *table, uint32_t outer_src,
				  const void *packet, size_t len, struct ip4_info *info)
{
	enum weft_reason reason;

	if (table->peer_check && !forward_is_member(table, outer_src))
		return WEFT_R_UNKNOWN_PEER;
	reason = ip4_parse(packet, len, info);
	if (reason != WEFT_R_OK)
		return reason;
	/* A datagram is one packet: what follows it could be anything. */
	if (info->len != len)
		return WEFT_R_BAD_IP4;
	if (is_source_spoofed(table, outer_src, info->saddr))
		return WEFT_R_SPOOFED_INNER;
	if (!prefix4_contains(table->subnet, info->daddr))
		return WEFT_R_FOREIGN_DST;
	return info->ttl ? WEFT_R_OK : WEFT_R_TTL;
}

uint32_t forward_icmp_source(const struct forward_table *table)
{
	if (!prefix4_contains(table->subnet, table->network.addr))
		return table->network.addr;
	return (table->subnet.addr | ~prefix4_mask(table->subnet.len)) + 1;
}
