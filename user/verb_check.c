/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "verb_check.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "netconf.h"
#include "store.h"
#include "util.h"

#define WAIT_MS 10000

static bool has_news(struct store *store, uint64_t until_ms)
{
	struct pollfd fd = {.fd = store_fd(store), .events = POLLIN};
	int left = clock_left_ms(until_ms);

	return left > 0 && poll(&fd, 1, left) > 0;
}

/* What is not there at once comes in its own time, after endpoints that fail, or never. */
static int read_store(struct store *store, struct netconf *conf, char error[NETCONF_ERROR_LEN])
{
	uint64_t until_ms = clock_ms() + WAIT_MS;
	int err = store_read(store, conf, error);

	while (err == -EAGAIN && has_news(store, until_ms)) {
		store_ack(store);
		err = store_read(store, conf, error);
	}
	if (err == -EAGAIN && !error[0])
		snprintf(error, NETCONF_ERROR_LEN, "no answer in %d s", WAIT_MS / 1000);
	return err;
}

static int count_leases(const struct options *options, size_t *count, char error[NETCONF_ERROR_LEN])
{
	struct netconf conf = {0};
	struct store *store;
	int err;

	err = store_open(options->store, &options->etcd, &store, error);
	if (err)
		return err;
	err = read_store(store, &conf, error);
	store_close(store);
	if (err)
		return err;
	*count = conf.n_leases;
	netconf_free(&conf);
	if (*count == 0 && strncmp(options->store, "static:", 7) == 0) {
		snprintf(error, NETCONF_ERROR_LEN, "%s: $.Leases: none: no node could use it",
			 strchr(options->store, ':') + 1);
		return -EINVAL;
	}
	return 0;
}

static enum weft_exit print_json(json_t *result)
{
	int err = result ? json_dumpf(result, stdout, JSON_INDENT(2)) : -1;

	json_decref(result);
	putchar('\n');
	return err || fflush(stdout) ? EXIT_RUNTIME : EXIT_STOPPED;
}

enum weft_exit verb_check(const struct options *options)
{
	const char *colon = strchr(options->store, ':');
	const char *source = colon ? colon + 1 : options->store;
	char error[NETCONF_ERROR_LEN] = "";
	size_t count = 0;

	if (count_leases(options, &count, error)) {
		fprintf(stderr, "weft: %s\n", error);
		if (options->json)
			print_json(json_pack("{s:s, s:b, s:s}", "source", source, "ok", 0, "error",
					     error));
		return EXIT_USAGE;
	}
	if (options->json)
		return print_json(json_pack("{s:s, s:b, s:I}", "source", source, "ok", 1, "leases",
					    (json_int_t)count));
	printf("%s: ok, %zu leases\n", source, count);
	return fflush(stdout) ? EXIT_RUNTIME : EXIT_STOPPED;
}
