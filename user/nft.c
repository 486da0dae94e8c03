/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "nft.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "netlink.h"
#include "util.h"

/* An interface may be called what a table may not. */
const char *nft_table_name(const char *tun, char out[NFT_TABLE_LEN])
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";

	snprintf(out, NFT_TABLE_LEN, "weft-%s", tun);
	for (char *c = out + strspn(out, allowed); *c; c += strspn(c, allowed))
		*c = '_';
	return out;
}

/* libnftables ends the process (mnl.c, netlink_init_error()) where there is no such socket. */
static bool has_netlink(void)
{
	_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	return fd >= 0;
}

struct nft_ctx *nft_open(void)
{
	struct nft_ctx *nft = has_netlink() ? nft_ctx_new(NFT_CTX_DEFAULT) : NULL;

	if (nft && !nft_ctx_buffer_output(nft) && !nft_ctx_buffer_error(nft))
		return nft;
	if (nft)
		nft_ctx_free(nft);
	return NULL;
}

int nft_run(struct nft_ctx *nft, const char *format, ...)
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
	err = nft_run_cmd_from_buffer(nft, text);
	error = nft_ctx_get_error_buffer(nft);
	if (err)
		log_debug("nftables: %.*s", (int)strcspn(error, "\n"), error);
	return err ? -EIO : 0;
}

/* How much of the text is the name of a device in quotation marks; 0: none is. */
static int device_at(const char *text, unsigned int *ifindex)
{
	char name[IF_NAMESIZE];
	int n = 0;

	if (*text != '"' || sscanf(text, "\"%15[^\"]\"%n", name, &n) != 1 || !n)
		return 0;
	*ifindex = if_nametoindex(name);
	return *ifindex ? n : 0;
}

static char *number_devices(const char *text)
{
	char *numbered = NULL;
	size_t len;
	FILE *out = open_memstream(&numbered, &len);

	if (!out)
		return NULL;
	while (*text) {
		unsigned int ifindex;
		int n = device_at(text, &ifindex);

		if (n)
			fprintf(out, "%u", ifindex);
		else
			fputc(*text, out);
		text += n ? n : 1;
	}
	if (fclose(out))
		free(take_ptr(numbered));
	return numbered;
}

char *nft_list_table(struct nft_ctx *nft, const char *family, const char *table)
{
	char *text = NULL;

	nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_STATELESS);
	if (nft_run(nft, "list table %s %s", family, table) == 0)
		text = number_devices(nft_ctx_get_output_buffer(nft));
	nft_ctx_output_set_flags(nft, 0);
	return text;
}

json_t *nft_list_json(struct nft_ctx *nft, const char *command)
{
	json_t *answer = NULL;

	nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_JSON);
	if (nft_run(nft, "%s", command) == 0)
		answer = json_loads(nft_ctx_get_output_buffer(nft), 0, NULL);
	nft_ctx_output_set_flags(nft, 0);
	return answer;
}

/* Watching */

struct nft_watch {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	struct mnl_socket *socket;
	struct loop_timer *timer; /* NULL: fn is called at once */
	unsigned int settle_ms;
	bool pending; /* the timer is armed */
};

/* Every transaction ends with the number of the new rule set (nf_tables_gen_notify()). */
static bool is_new_generation(const struct nlmsghdr *nlh)
{
	return NFNL_SUBSYS_ID(nlh->nlmsg_type) == NFNL_SUBSYS_NFTABLES &&
	       NFNL_MSG_TYPE(nlh->nlmsg_type) == NFT_MSG_NEWGEN;
}

static void on_settled(void *arg)
{
	struct nft_watch *w = arg;

	w->pending = false;
	w->fn(w->arg);
}

/* Not put off by the next change: some nodes' rules change all the time. */
static void report_change(struct nft_watch *w)
{
	if (!w->timer)
		w->fn(w->arg);
	else if (!w->pending)
		loop_timer_arm(w->timer, w->settle_ms, 0);
	w->pending = w->timer;
}

static void on_notice(void *arg)
{
	struct nft_watch *w = arg;
	bool changed = false;
	char buf[64 * 1024];

	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(w->socket), buf, sizeof(buf), MSG_DONTWAIT);
		int left = (int)n;

		changed |= n < 0 && errno == ENOBUFS;
		if (n == 0 || (n < 0 && errno != ENOBUFS))
			break;
		for (struct nlmsghdr *nlh = (void *)buf; n > 0 && nl_is_message(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left))
			changed |= is_new_generation(nlh);
	}
	if (changed)
		report_change(w);
}

static int join(struct nft_watch *w)
{
	int group = NFNLGRP_NFTABLES, bytes = 4 << 20;

	w->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!w->socket)
		return -errno;
	/* A rule set of 10,000 rules tells of each. */
	setsockopt(mnl_socket_get_fd(w->socket), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	if (mnl_socket_bind(w->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(w->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	return loop_add(w->loop, mnl_socket_get_fd(w->socket), on_notice, w);
}

int nft_watch_open(struct loop *loop, unsigned int settle_ms, loop_fn fn, void *arg,
		   struct nft_watch **out)
{
	struct nft_watch *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	*w = (struct nft_watch){.loop = loop, .fn = fn, .arg = arg, .settle_ms = settle_ms};
	err = settle_ms ? loop_timer_new(loop, on_settled, w, &w->timer) : 0;
	if (err == 0)
		err = join(w);
	if (err) {
		if (w->socket)
			mnl_socket_close(w->socket);
		free(w);
		return err;
	}
	*out = w;
	return 0;
}

void nft_watch_close(struct nft_watch *w)
{
	if (!w)
		return;
	loop_timer_disarm(w->timer);
	loop_remove(w->loop, mnl_socket_get_fd(w->socket));
	mnl_socket_close(w->socket);
	free(w);
}
