/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the network configuration and the leases come from. One implementation per URL scheme;
 * the agent sees only this. A store hands out whole, validated states, never parts.
 */
#ifndef WEFT_USER_STORE_H
#define WEFT_USER_STORE_H

#include "netconf.h"

struct store;

/*
 * Open "static:FILE". Reads nothing yet. error is filled on failure.
 * -EINVAL: bad URL or unknown scheme; other errnos from the system.
 */
int store_open(const char *url, struct store **out, char error[NETCONF_ERROR_LEN]);
void store_close(struct store *store);

/* Becomes readable when the source may have changed; call store_ack() then store_read(). */
int store_fd(const struct store *store);
/* Consume the notification. Returns true when a re-read is worth it. */
bool store_ack(struct store *store);
/*
 * Read the current state whole. On failure *out is untouched and error names file, place and
 * reason. The caller frees *out with netconf_free().
 */
int store_read(struct store *store, struct netconf *out, char error[NETCONF_ERROR_LEN]);

#endif
