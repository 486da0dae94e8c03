/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The leases: each one sound by itself, no two overlapping, no owner twice. */
#include "netconf_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <weft/abi.h>

#include "prefix4.h"
#include "util.h"

#define MAX_LEASE_LEN 30
#define LEASES "$.Leases"

/* A lease and its place in the document, which sorting would lose. */
struct entry {
	struct lease lease;
	size_t index;
};

bool netconf_is_node_address(uint32_t addr)
{
	/* Not 0/8, not loopback, nothing from multicast up (class E and broadcast). */
	return addr >> 24 != 0 && addr >> 24 != 127 && addr < 0xe0000000;
}

static int parse_subnet(const struct json_place *at, struct prefix4 network, struct prefix4 *out)
{
	char quote[JSON_QUOTE_LEN], name[PREFIX4_STRLEN];
	const char *text;
	struct prefix4 subnet;
	uint32_t addr;
	int found = json_member_string(at, "Subnet", &text);

	if (found < 0)
		return found;
	if (!found)
		return json_refuse(at, "Subnet", "missing");
	json_quote(text, quote);
	if (prefix4_split(text, &addr, &subnet.len))
		return json_refuse(at, "Subnet", "%s is not an IPv4 prefix (a.b.c.d/len)", quote);
	subnet.addr = addr & prefix4_mask(subnet.len);
	if (addr != subnet.addr)
		return json_refuse(at, "Subnet", "%s has host bits set: write %s", quote,
				   prefix4_format(subnet, name));
	if (subnet.len > MAX_LEASE_LEN)
		return json_refuse(at, "Subnet", "%s is too small: at most /%u", quote,
				   MAX_LEASE_LEN);
	if (subnet.len < network.len || !prefix4_contains(network, subnet.addr))
		return json_refuse(at, "Subnet", "%s is outside Network %s", quote,
				   prefix4_format(network, name));
	*out = subnet;
	return 0;
}

static int parse_public_ip(const struct json_place *at, struct prefix4 network, uint32_t *out)
{
	char quote[JSON_QUOTE_LEN], name[PREFIX4_STRLEN];
	const char *text;
	uint32_t addr;
	int found = json_member_string(at, "PublicIP", &text);

	if (found < 0)
		return found;
	if (!found)
		return json_refuse(at, "PublicIP", "missing");
	json_quote(text, quote);
	if (prefix4_parse_addr(text, &addr))
		return json_refuse(at, "PublicIP", "%s is not an IPv4 address", quote);
	if (!netconf_is_node_address(addr))
		return json_refuse(at, "PublicIP", "%s is not an address a node can have", quote);
	/* The overlay's own packets would be routed into the overlay. */
	if (prefix4_contains(network, addr))
		return json_refuse(at, "PublicIP", "%s is inside Network %s", quote,
				   prefix4_format(network, name));
	*out = addr;
	return 0;
}

static int parse_entries(const struct json_place *root, const json_t *list,
			 const struct netconf *conf, struct entry *entries)
{
	struct json_place at = {.path = LEASES, .error = root->error};
	size_t n = json_array_size(list);
	int err;

	for (size_t i = 0; i < n; i++) {
		at.object = json_array_get(list, i);
		at.index = i;
		entries[i].index = i;
		if (!json_is_object(at.object))
			return json_refuse(&at, NULL, "must be an object");
		err = parse_subnet(&at, conf->network, &entries[i].lease.subnet);
		if (err == 0)
			err = parse_public_ip(&at, conf->network, &entries[i].lease.public_ip);
		if (err == 0)
			err = lease_parse_backend(&at, conf->format, conf->vni, &entries[i].lease);
		if (err)
			return err;
	}
	return 0;
}

/* Ties are broken by place, so that a refusal names the same pair each time. */
static int by_place(const struct entry *a, const struct entry *b)
{
	return a->index < b->index ? -1 : a->index > b->index;
}

static int by_owner(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	if (a->lease.public_ip != b->lease.public_ip)
		return a->lease.public_ip < b->lease.public_ip ? -1 : 1;
	return by_place(a, b);
}

/* By address, and the wider of two that start together first. */
static int by_subnet(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	if (a->lease.subnet.addr != b->lease.subnet.addr)
		return a->lease.subnet.addr < b->lease.subnet.addr ? -1 : 1;
	if (a->lease.subnet.len != b->lease.subnet.len)
		return (int)a->lease.subnet.len - b->lease.subnet.len;
	return by_place(a, b);
}

/* Expects the order of by_owner. */
static int check_owners(const struct json_place *root, const struct entry *entries, size_t n)
{
	char ip[INET_ADDRSTRLEN];

	for (size_t i = 1; i < n; i++) {
		struct json_place at = {
			.path = LEASES, .index = entries[i].index, .error = root->error};

		if (entries[i - 1].lease.public_ip == entries[i].lease.public_ip)
			return json_refuse(
				&at, "PublicIP", "%s is already the owner of " LEASES "[%zu]",
				ip4_format(entries[i].lease.public_ip, ip), entries[i - 1].index);
	}
	return 0;
}

/*
 * Expects the order of by_subnet. Two prefixes nest or are apart: in this order an overlap shows
 * between neighbours first.
 */
static int check_overlap(const struct json_place *root, const struct entry *entries, size_t n)
{
	char name[2][PREFIX4_STRLEN];

	for (size_t i = 1; i < n; i++) {
		const struct entry *a = &entries[i - 1], *b = &entries[i];
		const struct entry *first = a->index < b->index ? a : b;
		const struct entry *second = first == a ? b : a;
		struct json_place at = {
			.path = LEASES, .index = second->index, .error = root->error};

		if (prefix4_contains(a->lease.subnet, b->lease.subnet.addr))
			return json_refuse(
				&at, "Subnet", "%s overlaps %s of " LEASES "[%zu].Subnet",
				prefix4_format(second->lease.subnet, name[0]),
				prefix4_format(first->lease.subnet, name[1]), first->index);
	}
	return 0;
}

/* Leaves entries in the order of their subnets. */
static int check_entries(const struct json_place *root, struct entry *entries, size_t n)
{
	int err;

	qsort(entries, n, sizeof(*entries), by_owner);
	err = check_owners(root, entries, n);
	if (err)
		return err;
	qsort(entries, n, sizeof(*entries), by_subnet);
	return check_overlap(root, entries, n);
}

static int read_list(const struct json_place *root, const json_t *list, struct netconf *conf)
{
	size_t n = json_array_size(list);
	_free_ struct entry *entries = calloc(n, sizeof(*entries));
	_free_ struct lease *leases = calloc(n, sizeof(*leases));
	int err;

	if (!entries || !leases) {
		json_refuse(root, "Leases", "out of memory");
		return -ENOMEM;
	}
	err = parse_entries(root, list, conf, entries);
	if (err == 0)
		err = check_entries(root, entries, n);
	if (err)
		return err;
	for (size_t i = 0; i < n; i++)
		leases[i] = entries[i].lease;
	conf->leases = take_ptr(leases);
	conf->n_leases = n;
	return 0;
}

int netconf_parse_leases(const struct json_place *root, struct netconf *conf)
{
	const json_t *list = json_member(root, "Leases");
	size_t n = json_array_size(list);

	if (list && !json_is_array(list))
		return json_refuse(root, "Leases", "must be an array");
	if (n > WEFT_MAX_ROUTES)
		return json_refuse(root, "Leases", "%zu leases, at most %u", n, WEFT_MAX_ROUTES);
	return n ? read_list(root, list, conf) : 0;
}
