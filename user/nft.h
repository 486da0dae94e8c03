/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* nftables through libnftables: our tables' names, transactions, and notice of changes. */
#ifndef WEFT_USER_NFT_H
#define WEFT_USER_NFT_H

#include <nftables/libnftables.h>

#include <jansson.h>
#include <net/if.h>

#include "loop.h"

#define NFT_TABLE_LEN (IF_NAMESIZE + 8)

/* "weft-TUN": the table of the agent with this overlay device. Returns out. */
const char *nft_table_name(const char *tun, char out[NFT_TABLE_LEN]);

/*
 * A context whose output and errors stay inside; free with nft_ctx_free(). NULL: this kernel has no
 * nftables, or there is no memory.
 */
struct nft_ctx *nft_open(void);
/* One transaction. 0 or -EIO, with the reason in the debug log; output is the context's. */
int nft_run(struct nft_ctx *nft, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * A table as nft lists it, but without what counters count, and devices by number: they may get
 * other names, or go, while the table stays the same. The caller's, NULL when there is none.
 */
char *nft_list_table(struct nft_ctx *nft, const char *family, const char *table);
/* What a list command answers; the caller's, NULL when it is refused. */
json_t *nft_list_json(struct nft_ctx *nft, const char *command);

struct nft_watch;

/*
 * fn is called from the loop after each transaction of anybody in this network namespace; with
 * settle_ms so much later, once for all that there were until then.
 */
int nft_watch_open(struct loop *loop, unsigned int settle_ms, loop_fn fn, void *arg,
		   struct nft_watch **out);
/* What a table of ours is given before a look at it, which costs a listing. */
#define NFT_REPAIR_MS 250
void nft_watch_close(struct nft_watch *watch);

#endif
