/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store_etcd.h"
#include "store_priv.h"
#include "store_static.h"
#include "util.h"

static const struct store_ops *const kinds[] = {&store_static_ops, &store_etcd_ops};

int store_open(const char *url, const struct store_options *options, struct store **out,
	       char error[NETCONF_ERROR_LEN])
{
	size_t n = strcspn(url, ":");

	for (size_t i = 0; url[n] && i < ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i]->scheme) == n && memcmp(url, kinds[i]->scheme, n) == 0)
			return kinds[i]->open(url + n + 1, options, out, error);
	}
	snprintf(error, NETCONF_ERROR_LEN, "%.100s: not a store: must be static:FILE or etcd:URL",
		 url);
	return -EINVAL;
}

void store_close(struct store *store)
{
	if (store)
		store->ops->close(store);
}

void store_join(struct store *store, const struct store_node *node)
{
	if (store->ops->join)
		store->ops->join(store, node);
}

bool store_status(struct store *store, struct store_status *out)
{
	return store->ops->status && store->ops->status(store, out);
}

int store_fd(const struct store *store)
{
	return store->fd;
}

bool store_ack(struct store *store)
{
	return store->ops->ack(store);
}

int store_read(struct store *store, struct netconf *out, char error[NETCONF_ERROR_LEN])
{
	return store->ops->read(store, out, error);
}
