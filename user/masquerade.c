/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "masquerade.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "nft.h"
#include "util.h"

#define SAY_S 10 /* repairs are logged no more often */

struct masquerade {
	struct loop *loop;
	struct nft_ctx *nft;
	struct nft_watch *watch;
	struct masquerade_config config;
	char table[NFT_TABLE_LEN];
	bool fully; /* the kernel takes fully-random */
	char *applied; /* as nft_list_table() has it */
	char *shadow; /* a chain that drops what ours accept, as last said */
	time_t said;
};

/*
 * In this order a packet leaves with its own address if kube-proxy will see to it, or if both ends
 * are pods, or for a pod of this node.
 */
static void write_postrouting(FILE *out, const char *pods, const char *own, bool fully)
{
	const char *random = fully ? " fully-random" : "";
	const char *said = "comment \"weft masq\"";

	fprintf(out,
		"\tchain postrtg {\n"
		"\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
		"\t\tmeta mark & 0x4000 == 0x4000 return %s\n"
		"\t\tip saddr %s ip daddr %s return %s\n"
		"\t\tip saddr %s ip daddr %s return %s\n"
		"\t\tip saddr != %s ip daddr %s return %s\n"
		"\t\tip saddr %s ip daddr != 224.0.0.0/4 masquerade%s %s\n"
		"\t\tip saddr != %s ip daddr %s masquerade%s %s\n"
		"\t}\n",
		said, own, pods, said, pods, own, said, pods, own, said, pods, random, said, pods,
		pods, random, said);
}

static void write_forward(FILE *out, const char *pods)
{
	fprintf(out,
		"\tchain forward {\n"
		"\t\ttype filter hook forward priority filter; policy accept;\n"
		"\t\tip saddr %s accept comment \"weft forward\"\n"
		"\t\tip daddr %s accept comment \"weft forward\"\n"
		"\t}\n",
		pods, pods);
}

/* The kernel takes the smaller MTU of both ways (net/netfilter/nft_rt.c), and never raises. */
static void write_clamp(FILE *out, const char *pods)
{
	static const char *const ends[] = {"saddr", "daddr"};

	fprintf(out, "\tchain clamp {\n"
		     "\t\ttype filter hook forward priority mangle; policy accept;\n");
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		fprintf(out,
			"\t\tip %s %s tcp flags syn / syn,rst tcp option maxseg size set "
			"rt mtu comment \"weft clamp\"\n",
			ends[i], pods);
	fprintf(out, "\t}\n");
}

char *masquerade_text(const char *table, const struct masquerade_config *config, bool fully)
{
	char pods[PREFIX4_STRLEN], own[PREFIX4_STRLEN], *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	prefix4_format(config->network, pods);
	prefix4_format(config->subnet, own);
	/* Added first, so that there is one to delete. */
	fprintf(out, "add table ip %s\ndelete table ip %s\ntable ip %s {\n", table, table, table);
	if (config->masquerade)
		write_postrouting(out, pods, own, fully);
	if (config->forward)
		write_forward(out, pods);
	if (config->clamp)
		write_clamp(out, pods);
	fprintf(out, "}\n");
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

static int apply(struct masquerade *m)
{
	_free_ char *text = masquerade_text(m->table, &m->config, m->fully);
	int err = text ? nft_run(m->nft, "%s", text) : -ENOMEM;

	if (err)
		return err;
	free(m->applied);
	m->applied = nft_list_table(m->nft, "ip", m->table);
	return m->applied ? 0 : -EIO;
}

/* Accepting is not the last word: whoever drops by policy in a chain of his own still does. */
static bool is_shadow(const char *own, const json_t *chain)
{
	const char *family = json_string_value(json_object_get(chain, "family"));
	const char *hook = json_string_value(json_object_get(chain, "hook"));
	const char *policy = json_string_value(json_object_get(chain, "policy"));
	const char *table = json_string_value(json_object_get(chain, "table"));

	return family && hook && policy && table &&
	       (!strcmp(family, "ip") || !strcmp(family, "inet")) && !strcmp(hook, "forward") &&
	       !strcmp(policy, "drop") && strcmp(table, own);
}

char *masquerade_shadow(struct nft_ctx *nft, const char *own)
{
	json_t *answer = nft_list_json(nft, "list chains");
	const json_t *list = json_object_get(answer, "nftables");
	char *name = NULL;

	for (size_t i = 0; !name && i < json_array_size(list); i++) {
		const json_t *chain = json_object_get(json_array_get(list, i), "chain");

		if (chain && is_shadow(own, chain) &&
		    asprintf(&name, "%s %s %s", json_string_value(json_object_get(chain, "family")),
			     json_string_value(json_object_get(chain, "table")),
			     json_string_value(json_object_get(chain, "name"))) < 0)
			name = NULL;
	}
	json_decref(answer);
	return name;
}

static void say_shadow(struct masquerade *m)
{
	char *name = m->config.forward ? masquerade_shadow(m->nft, m->table) : NULL;

	if (name && (!m->shadow || strcmp(name, m->shadow)))
		log_warn(
			"chain %s drops by policy: what it does not accept itself is not forwarded",
			name);
	free(m->shadow);
	m->shadow = name;
}

static void repair(struct masquerade *m)
{
	time_t now = time(NULL);
	int err = apply(m);

	if (m->said && now - m->said < SAY_S && now >= m->said)
		return;
	m->said = now;
	if (err)
		log_warn("table ip %s was changed and cannot be put back", m->table);
	else
		log_warn("table ip %s was changed: put back", m->table);
}

static void on_change(void *arg)
{
	struct masquerade *m = arg;
	_free_ char *now = nft_list_table(m->nft, "ip", m->table);

	if (!now || !m->applied || strcmp(now, m->applied))
		repair(m);
	say_shadow(m);
}

static int start(struct masquerade *m)
{
	int err = apply(m);

	if (err) {
		m->fully = false;
		err = apply(m);
	}
	if (err)
		return -EOPNOTSUPP;
	say_shadow(m);
	return nft_watch_open(m->loop, NFT_REPAIR_MS, on_change, m, &m->watch);
}

int masquerade_open(struct loop *loop, const char *tun, const struct masquerade_config *config,
		    struct masquerade **out)
{
	struct masquerade *m;
	int err;

	*out = NULL;
	if (!config->masquerade && !config->forward && !config->clamp) {
		masquerade_delete(tun);
		return 0;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct masquerade){.loop = loop, .config = *config, .fully = true};
	nft_table_name(tun, m->table);
	m->nft = nft_open();
	err = m->nft ? start(m) : -EOPNOTSUPP;
	if (err) {
		masquerade_close(m);
		return err;
	}
	*out = m;
	return 0;
}

void masquerade_close(struct masquerade *m)
{
	if (!m)
		return;
	nft_watch_close(m->watch);
	if (m->nft)
		nft_ctx_free(m->nft);
	free(m->applied);
	free(m->shadow);
	free(m);
}

int masquerade_delete(const char *tun)
{
	struct nft_ctx *nft = nft_open();
	char table[NFT_TABLE_LEN];
	int err = -EOPNOTSUPP;

	nft_table_name(tun, table);
	if (nft)
		err = nft_run(nft, "add table ip %s\ndelete table ip %s\n", table, table);
	if (nft)
		nft_ctx_free(nft);
	return err;
}
