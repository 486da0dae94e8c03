/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the two halves of the document's reader share. */
#ifndef WEFT_USER_NETCONF_PRIV_H
#define WEFT_USER_NETCONF_PRIV_H

#include "json_path.h"
#include "netconf.h"

/*
 * Read "Leases" below root into conf, whose network is set. -EINVAL with the error filled, or
 * -ENOMEM; conf->leases may be set on failure too and is the caller's either way.
 */
int netconf_parse_leases(const struct json_place *root, struct netconf *conf);
/*
 * Read BackendType and BackendData of a lease whose public_ip is set. usual: the format of one that
 * names none; vni: of one that tells none. -EINVAL with the error filled.
 */
int lease_parse_backend(const struct json_place *at, enum weft_format usual, uint32_t vni,
			struct lease *lease);

#endif
