/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "port_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "netconf.h"
#include "nft.h"
#include "util.h"

#define COUNTER "spoofed-local"

struct port_guard {
	struct nft_ctx *nft;
	char table[NFT_TABLE_LEN];
};

static int open_nft(const char *tun, struct port_guard **out)
{
	struct port_guard *guard = calloc(1, sizeof(*guard));

	if (!guard)
		return -ENOMEM;
	guard->nft = nft_open();
	if (!guard->nft) {
		port_guard_close(guard);
		return -EOPNOTSUPP;
	}
	nft_table_name(tun, guard->table);
	*out = guard;
	return 0;
}

/*
 * In front of the bridge's own hooks, which may hold fragments back. No pod is a router: see
 * is_router_advert() of bpf/icmp6.h.
 */
int port_guard_open(const char *tun, struct port_guard **out)
{
	struct port_guard *guard = NULL;
	int err = open_nft(tun, &guard);

	if (err)
		return err;
	err = nft_run(guard->nft,
		      "table bridge %s {\n"
		      "	counter " COUNTER " { }\n"
		      "	set addresses { type ipv4_addr; }\n"
		      "	set endpoints { typeof meta iif . ip saddr; }\n"
		      "	set ports { typeof meta iif; }\n"
		      "	chain from-pods {\n"
		      "		type filter hook prerouting priority -300; policy accept;\n"
		      "	}\n"
		      "}\n"
		      "flush chain bridge %s from-pods\n"
		      "add rule bridge %s from-pods ip saddr @addresses"
		      " meta iif . ip saddr != @endpoints counter name " COUNTER " drop\n"
		      "add rule bridge %s from-pods ether type ip6 meta iif @ports"
		      " icmpv6 type nd-router-advert drop\n",
		      guard->table, guard->table, guard->table, guard->table);
	if (err) {
		port_guard_close(guard);
		return -EOPNOTSUPP;
	}
	*out = guard;
	return 0;
}

void port_guard_close(struct port_guard *guard)
{
	if (!guard)
		return;
	if (guard->nft)
		nft_ctx_free(guard->nft);
	free(guard);
}

struct elements {
	FILE *text;
	const char *table;
};

static void add_elements(const struct endpoint *ep, void *arg)
{
	struct elements *out = arg;
	char ip[INET_ADDRSTRLEN];

	ip4_format(ep->addr, ip);
	fprintf(out->text,
		"add element bridge %s addresses { %s }\n"
		"add element bridge %s endpoints { %u . %s }\n"
		"add element bridge %s ports { %u }\n",
		out->table, ip, out->table, ep->ifindex, ip, out->table, ep->ifindex);
}

int port_guard_set(struct port_guard *guard, const struct endpoints *eps)
{
	struct elements out = {.table = guard->table};
	_free_ char *text = NULL;
	size_t len;
	int err;

	out.text = open_memstream(&text, &len);
	if (!out.text)
		return -ENOMEM;
	endpoints_each(eps, add_elements, &out);
	if (fclose(out.text))
		return -ENOMEM;
	err = nft_run(guard->nft,
		      "flush set bridge %s addresses\nflush set bridge %s endpoints\n"
		      "flush set bridge %s ports\n%s",
		      guard->table, guard->table, guard->table, text);
	return err ? log_err(err, "nftables refuses the pods' addresses") : 0;
}

/* {"nftables": [{"metainfo": …}, {"counter": {"packets": N, "bytes": N, …}}]} */
static void add_counters(const json_t *answer, struct weft_counter *refused)
{
	const json_t *list = json_object_get(answer, "nftables");

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *counter = json_object_get(json_array_get(list, i), "counter");

		refused->packets += json_integer_value(json_object_get(counter, "packets"));
		refused->bytes += json_integer_value(json_object_get(counter, "bytes"));
	}
}

void port_guard_count(struct port_guard *guard, struct weft_counter *refused)
{
	char command[64 + NFT_TABLE_LEN];
	json_t *answer;

	snprintf(command, sizeof(command), "list counter bridge %s " COUNTER, guard->table);
	answer = nft_list_json(guard->nft, command);
	add_counters(answer, refused);
	json_decref(answer);
}

int port_guard_delete(const char *tun)
{
	struct port_guard *guard = NULL;
	int err = open_nft(tun, &guard);

	if (err)
		return err;
	/* Added first, so that there is one to delete. */
	err = nft_run(guard->nft, "add table bridge %s\ndelete table bridge %s\n", guard->table,
		      guard->table);
	port_guard_close(guard);
	return err;
}
