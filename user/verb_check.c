/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "verb_check.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "netconf.h"
#include "store.h"
#include "util.h"

static int count_leases(const char *url, size_t *count, char error[NETCONF_ERROR_LEN])
{
	struct netconf conf = {0};
	struct store *store;
	int err;

	err = store_open(url, &store, error);
	if (err)
		return err;
	err = store_read(store, &conf, error);
	store_close(store);
	if (err)
		return err;
	if (conf.n_leases == 0) {
		snprintf(error, NETCONF_ERROR_LEN, "%s: $.Leases: none: no node could use it",
			 strchr(url, ':') + 1);
		netconf_free(&conf);
		return -EINVAL;
	}
	*count = conf.n_leases;
	netconf_free(&conf);
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

	if (count_leases(options->store, &count, error)) {
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
