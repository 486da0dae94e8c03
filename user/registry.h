/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The leases of a flannel registry as last seen (flannel.md 2.1): reading and writing of keys and
 * values, and which of them a node can use. No I/O. One that cannot be read never touches another,
 * and a known lease whose value turns bad stays as it was. So does one that gets another owner
 * while it stands: agents remove and create a key for that, or (weft) keep its lease in etcd. A key
 * that never had a good value is an entry without an owner: its subnet is not free. A subnet can
 * have two keys, as flannel makes another one when it gets an IPv6 subnet as well or loses it: of
 * one owner the later written counts, of two the older, and a bad one not at all.
 */
#ifndef WEFT_USER_REGISTRY_H
#define WEFT_USER_REGISTRY_H

#include "etcd.h"
#include "netconf.h"

struct registry;

struct registry_entry {
	struct lease lease; /* public_ip 0: of no owner, the subnet is all that is known */
	int64_t create_revision;
	int64_t mod_revision; /* of the key, also when its value is bad; 0: etcd has not said yet */
	int64_t etcd_lease; /* 0: a reservation, never expires; -1: not known */
	uint64_t gone_ms; /* 0: it is there; else it is kept up to this time and then swept away */
	unsigned int listing; /* in which it was last seen */
	bool contested; /* the key's value is bad or another owner's, and is not believed */
	bool dual; /* the key names an IPv6 subnet, too: not what registry_key() makes of it */
};

/* Longest key below "PREFIX/subnets/" of a lease of IPv4 only. */
#define REGISTRY_KEY_LEN PREFIX4_STRLEN
/* "10.9.17.0-24"; buf of REGISTRY_KEY_LEN. Returns buf. */
const char *registry_key(struct prefix4 subnet, char *buf);
/* As flannel's backends write it; buf of REGISTRY_VALUE_LEN. Returns buf. */
#define REGISTRY_VALUE_LEN 192
const char *registry_value(const struct lease *lease, char *buf);

/* Can it be the address of a node of this network? */
bool registry_can_own(struct prefix4 network, uint32_t addr);

/* -ENOMEM. */
int registry_new(struct registry **out);
void registry_free(struct registry *r);

/* Leases must lie in conf's network; those that no longer do are gone. */
void registry_set_config(struct registry *r, const struct netconf *conf);

/*
 * The key (of it, what follows the last slash) has this value. 1: something is different for a
 * reader, 0: nothing is, -EINVAL with the reason: refused, -ENOMEM.
 */
int registry_put(struct registry *r, const struct etcd_kv *kv, char error[NETCONF_ERROR_LEN]);
/* The key is gone; the lease stays until then, unless it comes back before. */
void registry_remove(struct registry *r, const char *key, uint64_t until_ms);

/* A whole listing: what was not put between these two stays until then. */
void registry_list_begin(struct registry *r);
void registry_list_end(struct registry *r, uint64_t until_ms);
/* Drops what has outlived its time, and says how many; *next_ms: when the next will, or never. */
size_t registry_sweep(struct registry *r, uint64_t now_ms, uint64_t *next_ms);

/* NULL when not known. Valid until the next change. */
const struct registry_entry *registry_find(const struct registry *r, struct prefix4 subnet);
/* In the order of their subnets; NULL: the first, or there is no more. */
const struct registry_entry *registry_next(const struct registry *r,
					   const struct registry_entry *after);
/* The first one of public_ip behind after, NULL: from the beginning. */
const struct registry_entry *registry_of_owner(const struct registry *r, uint32_t public_ip,
					       const struct registry_entry *after);

/* Does a lease overlap it? */
bool registry_is_used(const struct registry *r, struct prefix4 subnet);
/*
 * Subnets of conf's size between its bounds that overlap no lease, from the lowest on; at most max.
 * Returns how many were found.
 */
size_t registry_unused(const struct registry *r, const struct netconf *conf, struct prefix4 *out,
		       size_t max);

/*
 * conf with the leases that agree: of two that overlap the one created first counts, but own (len
 * 0: none) before any. *refused becomes the number of the others. The caller frees *out. -ENOMEM.
 */
int registry_snapshot(const struct registry *r, const struct netconf *conf, struct prefix4 own,
		      struct netconf *out, size_t *refused);

#endif
