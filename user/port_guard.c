/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "port_guard.h"

#include <errno.h>
#include <jansson.h>
#include <nftables/libnftables.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "netconf.h"
#include "util.h"

#define COUNTER "spoofed-local"

struct port_guard {
	struct nft_ctx *nft;
	char table[IF_NAMESIZE + 8];
};

/* An interface may be called what a table may not. */
static void name_table(const char *tun, char *out, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";

	snprintf(out, len, "weft-%s", tun);
	for (char *c = out + strspn(out, allowed); *c; c += strspn(c, allowed))
		*c = '_';
}

static int open_nft(const char *tun, struct port_guard **out)
{
	struct port_guard *guard = calloc(1, sizeof(*guard));

	if (!guard)
		return -ENOMEM;
	guard->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!guard->nft || nft_ctx_buffer_output(guard->nft) || nft_ctx_buffer_error(guard->nft)) {
		port_guard_close(guard);
		return -ENOMEM;
	}
	name_table(tun, guard->table, sizeof(guard->table));
	*out = guard;
	return 0;
}

/* One transaction */
__attribute__((format(printf, 2, 3))) static int run(struct port_guard *guard, const char *format,
						     ...)
{
	_free_ char *text = NULL;
	const char *error;
	va_list args;
	int n, err;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	err = nft_run_cmd_from_buffer(guard->nft, text);
	error = nft_ctx_get_error_buffer(guard->nft);
	if (err)
		log_debug("nftables: %.*s", (int)strcspn(error, "\n"), error);
	return err ? -EIO : 0;
}

/* In front of the bridge's own hooks, which may hold fragments back. */
int port_guard_open(const char *tun, struct port_guard **out)
{
	struct port_guard *guard = NULL;
	int err = open_nft(tun, &guard);

	if (err)
		return err;
	err = run(guard,
		  "table bridge %s {\n"
		  "	counter " COUNTER " { }\n"
		  "	set addresses { type ipv4_addr; }\n"
		  "	set endpoints { typeof meta iif . ip saddr; }\n"
		  "	chain from-pods {\n"
		  "		type filter hook prerouting priority -300; policy accept;\n"
		  "	}\n"
		  "}\n"
		  "flush chain bridge %s from-pods\n"
		  "add rule bridge %s from-pods ip saddr @addresses"
		  " meta iif . ip saddr != @endpoints counter name " COUNTER " drop\n",
		  guard->table, guard->table, guard->table);
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
		"add element bridge %s endpoints { %u . %s }\n",
		out->table, ip, out->table, ep->ifindex, ip);
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
	err = run(guard, "flush set bridge %s addresses\nflush set bridge %s endpoints\n%s",
		  guard->table, guard->table, text);
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
	json_t *answer = NULL;

	nft_ctx_output_set_flags(guard->nft, NFT_CTX_OUTPUT_JSON);
	if (run(guard, "list counter bridge %s " COUNTER, guard->table) == 0)
		answer = json_loads(nft_ctx_get_output_buffer(guard->nft), 0, NULL);
	nft_ctx_output_set_flags(guard->nft, 0);
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
	err = run(guard, "add table bridge %s\ndelete table bridge %s\n", guard->table,
		  guard->table);
	port_guard_close(guard);
	return err;
}
