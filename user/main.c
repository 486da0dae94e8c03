/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weft VERB: the dispatch table. */
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "doctor.h"
#include "flows.h"
#include "options.h"
#include "show.h"
#include "util.h"
#include "verb_check.h"
#include "verb_trace.h"

static const struct verb {
	const char *name;
	enum weft_exit (*fn)(const struct options *options);
	const char *help;
} verbs[] = {
	{"run", agent_run, "run the agent"},
	{"status", show_status, "show the agent's state and hooks (the default)"},
	{"peers", show_peers, "list the other nodes"},
	{"routes", show_routes, "list the leases"},
	{"endpoints", show_endpoints, "list the local pods"},
	{"flows", verb_flows, "list the approved flows; `weft flows flush` has all approved anew"},
	{"stats", show_stats, "show what happened to packets: hook, verdict, reason"},
	{"trace", verb_trace, "show packets as they pass: hook, verdict, reason, addresses"},
	{"doctor", verb_doctor, "find and explain the usual trouble"},
	{"check", verb_check, "validate a store without touching the kernel"},
	{"cleanup", agent_cleanup, "remove everything that weft ever made"},
};

static enum weft_exit print_help(void)
{
	printf("Usage: weft [VERB [OPTION...]]\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
	printf("\n  -h, --help, --version\n\n"
	       "`weft VERB --help` lists the options of a verb. The manual is weft(8).\n");
	return EXIT_STOPPED;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!strcmp(name, verbs[i].name))
			return &verbs[i];
	}
	return NULL;
}

static enum weft_exit run_verb(const struct verb *verb, int argc, char **argv)
{
	struct options options;

	if (options_parse(verb->name, argc, argv, &options))
		return EXIT_USAGE;
	log_setup(options.log_level, options.log_json);
	return verb->fn(&options);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "status";
	const struct verb *verb = find_verb(name);

	if (verb)
		return run_verb(verb, argc > 1 ? argc - 1 : 1, argc > 1 ? argv + 1 : argv);
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		return print_help();
	if (!strcmp(name, "--version")) {
		puts("weft " WEFT_VERSION);
		return EXIT_STOPPED;
	}
	fprintf(stderr, "weft: unknown verb: %s\nTry `weft --help'.\n", name);
	return EXIT_USAGE;
}
