/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a kind of store implements. Contracts as in store.h. */
#ifndef WEFT_USER_STORE_PRIV_H
#define WEFT_USER_STORE_PRIV_H

#include "store.h"

struct store_ops {
	const char *scheme; /* of the URL, without the colon */
	int (*open)(const char *rest, const struct store_options *options, struct store **out,
		    char error[NETCONF_ERROR_LEN]);
	void (*close)(struct store *store);
	void (*join)(struct store *store, const struct store_node *node); /* may be NULL */
	bool (*status)(struct store *store, struct store_status *out); /* may be NULL */
	bool (*ack)(struct store *store);
	int (*read)(struct store *store, struct netconf *out, char error[NETCONF_ERROR_LEN]);
};

/* The first member of each kind's own structure. */
struct store {
	const struct store_ops *ops;
	int fd; /* what store_fd() returns */
};

#endif
