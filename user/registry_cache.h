/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What was last known of a registry, in a file: for an agent that starts while etcd is away, on a
 * node whose pods go on.
 */
#ifndef WEFT_USER_REGISTRY_CACHE_H
#define WEFT_USER_REGISTRY_CACHE_H

#include "registry.h"

/* Atomically, mode 0600. */
int registry_cache_write(const char *path, const struct netconf *conf, const struct registry *r);
/*
 * *conf (without leases) and the entries of r, which is empty. -ENOENT, or -EINVAL when it is not
 * what registry_cache_write() wrote; both are then as they were.
 */
int registry_cache_read(const char *path, struct netconf *conf, struct registry *r);

#endif
