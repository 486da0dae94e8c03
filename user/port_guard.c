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

#define CHAIN "from-pods"

/* Named counters, and what they count at the port. */
static const struct {
	const char *name;
	enum weft_reason reason;
} counters[] = {
	{"spoofed-local", WEFT_R_SPOOFED_LOCAL},
	{"not-ipv4", WEFT_R_NOT_IPV4},
};

struct port_guard {
	struct port_guard_config config;
	struct nft_ctx *nft;
	struct nft_watch *watch;
	char table[NFT_TABLE_LEN];
	char *applied; /* as nft_list_table() has it */
	bool said; /* that it cannot be put back */
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
 * In front of the bridge's own hooks, which may hold fragments back. "meta protocol", as the type
 * in the frame is that of a VLAN tag if there is one, also of one that the host does not mind: see
 * has_vlan_id(), is_forbidden(), is_encapsulated() of bpf/egress.bpf.c.
 */
static char *guard_text(const struct port_guard *guard)
{
	const struct port_guard_config *config = &guard->config;
	char network[PREFIX4_STRLEN], *text = NULL;
	const char *table = guard->table;

	prefix4_format(config->network, network);
	if (asprintf(&text,
		     "table bridge %s {\n"
		     "	counter spoofed-local { }\n"
		     "	counter not-ipv4 { }\n"
		     "	set addresses { type ipv4_addr; }\n"
		     "	set endpoints { typeof meta iif . ip saddr; }\n"
		     "	set ports { typeof meta iif; }\n"
		     "	chain " CHAIN " {\n"
		     "		type filter hook prerouting priority -300; policy accept;\n"
		     "	}\n"
		     "}\n"
		     "flush chain bridge %s " CHAIN "\n"
		     "table bridge %s {\n"
		     "	chain " CHAIN " {\n"
		     "		meta protocol ip ip saddr @addresses"
		     " meta iif . ip saddr != @endpoints counter name spoofed-local drop\n"
		     "		meta iif @ports meta protocol { 8021q, 8021ad }"
		     " counter name not-ipv4 drop\n"
		     "		meta iif @ports meta protocol ip6 icmpv6 type nd-router-advert"
		     " counter name not-ipv4 drop\n"
		     "		meta iif @ports meta protocol ip ip daddr != %s ip protocol 4"
		     " counter name spoofed-local drop\n"
		     "		meta iif @ports meta protocol ip ip daddr != %s"
		     " udp dport { %u, %u } counter name spoofed-local drop\n"
		     "	}\n"
		     "}\n",
		     table, table, table, network, network, config->port, config->vxlan_port) < 0)
		return NULL;
	return text;
}

/* The rules, and with them what else is to be done, in one transaction; counters go on. */
static int apply(struct port_guard *guard, const char *more)
{
	_free_ char *text = guard_text(guard);
	int err = text ? nft_run(guard->nft, "%s%s", text, more) : -ENOMEM;

	if (err)
		return err;
	free(guard->applied);
	guard->applied = nft_list_table(guard->nft, "bridge", guard->table);
	return guard->applied ? 0 : -EIO;
}

/* Somebody's "flush ruleset", most likely. */
static void on_change(void *arg)
{
	struct port_guard *guard = arg;
	_free_ char *now = nft_list_table(guard->nft, "bridge", guard->table);
	int err;

	if (now && guard->applied && strcmp(now, guard->applied) == 0)
		return;
	err = apply(guard, "");
	if (err && !guard->said)
		log_warn("table bridge %s was changed and cannot be put back", guard->table);
	guard->said = err;
	if (err)
		return;
	log_warn("table bridge %s was changed: put back", guard->table);
	guard->config.lost(guard->config.arg);
}

int port_guard_open(struct loop *loop, const struct port_guard_config *config,
		    struct port_guard **out)
{
	struct port_guard *guard = NULL;
	int err = open_nft(config->tun, &guard);

	if (err)
		return err;
	guard->config = *config;
	err = apply(guard, "");
	if (err == 0)
		err = nft_watch_open(loop, NFT_REPAIR_MS, on_change, guard, &guard->watch);
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
	nft_watch_close(guard->watch);
	if (guard->nft)
		nft_ctx_free(guard->nft);
	free(guard->applied);
	free(guard);
}

struct elements {
	FILE *text;
	const char *table;
};

static void add_endpoint(const struct endpoint *ep, void *arg)
{
	struct elements *out = arg;
	char ip[INET_ADDRSTRLEN];

	ip4_format(ep->addr, ip);
	fprintf(out->text,
		"add element bridge %s addresses { %s }\n"
		"add element bridge %s endpoints { %u . %s }\n",
		out->table, ip, out->table, ep->ifindex, ip);
}

static void add_port(uint32_t ifindex, void *arg)
{
	struct elements *out = arg;

	fprintf(out->text, "add element bridge %s ports { %u }\n", out->table, ifindex);
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
	fprintf(out.text,
		"flush set bridge %s addresses\n"
		"flush set bridge %s endpoints\n"
		"flush set bridge %s ports\n",
		guard->table, guard->table, guard->table);
	endpoints_each(eps, add_endpoint, &out);
	endpoints_each_port(eps, add_port, &out);
	if (fclose(out.text))
		return -ENOMEM;
	/* With the rules: what somebody changed before is not taken for ours. */
	err = apply(guard, text);
	return err ? log_err(err, "nftables refuses the pods' addresses") : 0;
}

static void add_counter(const json_t *counter, struct weft_counter out[WEFT_COUNTER_MAX])
{
	const char *name = json_string_value(json_object_get(counter, "name"));

	for (size_t i = 0; name && i < ARRAY_SIZE(counters); i++) {
		struct weft_counter *to =
			&out[WEFT_COUNTER(WEFT_HOOK_PORT, WEFT_DROP, counters[i].reason)];

		if (strcmp(name, counters[i].name))
			continue;
		to->packets += json_integer_value(json_object_get(counter, "packets"));
		to->bytes += json_integer_value(json_object_get(counter, "bytes"));
	}
}

/* {"nftables": [{"metainfo": …}, {"counter": {"name": …, "packets": N, "bytes": N, …}}, …]} */
void port_guard_count(struct port_guard *guard, struct weft_counter out[WEFT_COUNTER_MAX])
{
	char command[64 + NFT_TABLE_LEN];
	const json_t *list;
	json_t *answer;

	snprintf(command, sizeof(command), "list counters table bridge %s", guard->table);
	answer = nft_list_json(guard->nft, command);
	list = json_object_get(answer, "nftables");
	for (size_t i = 0; i < json_array_size(list); i++)
		add_counter(json_object_get(json_array_get(list, i), "counter"), out);
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
