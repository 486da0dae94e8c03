/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the halves of the etcd store share: store_etcd.c (sessions) and store_etcd_own.c. */
#ifndef WEFT_USER_STORE_ETCD_PRIV_H
#define WEFT_USER_STORE_ETCD_PRIV_H

#include <pthread.h>

#include "etcd.h"
#include "registry.h"
#include "store_priv.h"

#define STORE_PATH_MAX 256

/* This node's lease as the thread knows it. */
struct own_lease {
	struct prefix4 subnet; /* len 0: none yet */
	uint32_t public_ip; /* with which it was made */
	int64_t id; /* of the etcd lease; 0: without end */
	int64_t granted; /* the one that this process asked for */
	uint64_t renew_ms; /* by clock_ms(); UINT64_MAX: never */
	uint64_t reclaimed_ms; /* when its key was last set right; 0: never */
	uint64_t reclaim_ms; /* when it may be set right, which it needs; 0: it does not */
};

struct etcd_store {
	struct store store; /* fd: an eventfd */
	const struct store_options *options;
	char *endpoints, *password;
	int wake_fd; /* eventfd: something below is for the thread to look at */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* of the members up to the next empty line */
	bool stopping, joined, lost;
	struct store_node node;
	struct netconf ready; /* network.len 0: none yet */
	struct store_status status;
	uint64_t lease_ends_ms; /* UINT64_MAX: never */

	struct etcd *etcd; /* from here on the thread's own */
	struct registry *registry;
	struct netconf conf; /* the network alone; network.len 0: not read yet */
	char config_refusal[NETCONF_ERROR_LEN]; /* of what etcd has instead; "" when it is conf */
	struct store_node self; /* node, of this session */
	bool has_self;
	struct own_lease own;
	uint64_t cluster;
	int64_t revision; /* up to which the registry is known */
	uint64_t sweep_ms; /* when there may be something to sweep */
	bool dirty; /* different from what was handed over */
	bool unsaved; /* different from what is in the cache */
	uint64_t save_ms; /* the cache is not written before */
	bool own_touched; /* the own key changed */
	char reason[NETCONF_ERROR_LEN]; /* of what the thread does right now */
	unsigned int failures; /* in a row */
	uint64_t said_ms; /* when the last failure was logged, and which */
	char said[NETCONF_ERROR_LEN];
	uint64_t refusals_ms; /* when the allowance for refusals was renewed */
	unsigned int refusals; /* logged since */
};

/* Keeps the reason for whom it may concern and returns err. */
int etcd_store_fail(struct etcd_store *s, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* store_etcd_own.c */

/*
 * After a listing: find, take or make this node's lease. 0: the listing shows it; 1: list again.
 * -ENOSPC: no subnet is free; -EADDRNOTAVAIL: no node of the network can have this node's address;
 * -EKEYREVOKED: the lease is lost; or etcd.h's errors.
 */
int own_hold(struct etcd_store *s);
/* When it is due. -ENOENT: it has ended, look again. */
int own_renew(struct etcd_store *s);
/* Path of a lease's key; buf of STORE_PATH_MAX. Returns buf. */
const char *own_path(const struct etcd_store *s, struct prefix4 subnet, char *buf);

#endif
