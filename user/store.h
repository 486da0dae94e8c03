/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the network configuration and the leases come from. One implementation per URL scheme;
 * the agent sees only this. A store hands out whole, validated states, never parts.
 */
#ifndef WEFT_USER_STORE_H
#define WEFT_USER_STORE_H

#include "netconf.h"

struct store;

/* How to talk to a registry; strings belong to the caller and must outlive the store. */
struct store_options {
	const char *prefix; /* of the keys, without a slash at the end */
	const char *ca_file, *cert_file, *key_file; /* may be NULL, as the two below */
	const char *user;
	const char *password_file; /* its first line; else the environment's */
	enum weft_format format; /* to be announced; WEFT_FORMAT_MAX: the network's */
	const char *cache_file; /* the last state, for a start while the registry is away */
	unsigned int lease_ttl; /* seconds a lease is asked for */
	unsigned int renew_margin; /* seconds before its end when it is renewed, at most ttl / 2 */
};

/* What a registry must know of this node to give it a subnet. */
struct store_node {
	uint32_t public_ip; /* host byte order */
	struct prefix4 previous; /* the subnet it had; len 0: none */
};

struct store_status {
	bool up; /* the latest attempt to read went well */
	int64_t lease_s; /* until the own lease ends, negative when it is over; see has_lease */
	bool has_lease; /* false: there is none, or one without end */
	size_t refused; /* keys or values of no use, since the last whole listing */
	uint64_t refusals; /* since the start */
	char reason[NETCONF_ERROR_LEN]; /* why not up, else "" */
	char refusal[NETCONF_ERROR_LEN]; /* the latest, with its key; "" when refused is 0 */
};

/*
 * Open "static:FILE" or "etcd:URL[,URL...]". Reads nothing yet. error is filled on failure.
 * -EINVAL: bad URL or unknown scheme; other errnos from the system.
 */
int store_open(const char *url, const struct store_options *options, struct store **out,
	       char error[NETCONF_ERROR_LEN]);
void store_close(struct store *store);

/*
 * Ask for a subnet, or tell that the address has changed: what is read from then on has one. A
 * file has them already.
 */
void store_join(struct store *store, const struct store_node *node);
/* False: this store has nothing to tell but what store_read() says. */
bool store_status(struct store *store, struct store_status *out);

/* Becomes readable when the source may have changed; call store_ack() then store_read(). */
int store_fd(const struct store *store);
/* Consume the notification. Returns true when a re-read is worth it. */
bool store_ack(struct store *store);
/*
 * Read the current state whole. On failure *out is untouched and error names file, place and
 * reason. The caller frees *out with netconf_free(). -EAGAIN: nothing is known yet. -ESTALE: the
 * own lease has ended and the subnet is another node's.
 */
int store_read(struct store *store, struct netconf *out, char error[NETCONF_ERROR_LEN]);

#endif
