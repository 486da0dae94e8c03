/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flannel's masquerade and forward rules (flannel.md 4.3), in a table of our own: "ip weft-TUN".
 * It is put back when somebody removes or changes it, and outlives the agent like everything else
 * that pods depend on.
 */
#ifndef WEFT_USER_MASQUERADE_H
#define WEFT_USER_MASQUERADE_H

#include <stdbool.h>

#include "loop.h"
#include "netconf.h"

struct masquerade;

struct masquerade_config {
	bool masquerade; /* pods' traffic that leaves the overlay has the node's address */
	bool forward; /* the host may forward from and to pods */
	bool clamp; /* TCP agrees on segments that fit the overlay */
	struct prefix4 network;
	struct prefix4 subnet; /* this node's */
};

/*
 * In one transaction, in place of the table there was; with nothing to do, that table is removed
 * and *out is NULL. -EOPNOTSUPP when the kernel refuses it.
 */
int masquerade_open(struct loop *loop, const char *tun, const struct masquerade_config *config,
		    struct masquerade **out);
void masquerade_close(struct masquerade *m);
/* Remove the table; 0 when there is none. */
int masquerade_delete(const char *tun);

/* The table's text for nft; fully: ports at random where the kernel can. The caller's to free. */
char *masquerade_text(const char *table, const struct masquerade_config *config, bool fully);

/*
 * "FAMILY TABLE CHAIN" of the first chain but those of table own that drops by policy what the host
 * forwards; the caller's to free. NULL: there is none, or it cannot be known.
 */
struct nft_ctx;
char *masquerade_shadow(struct nft_ctx *nft, const char *own);

#endif
