/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Command lines: the first byte is the verb, each line a word. What is refused leaves the options
 * as they were; what is accepted is within bounds, and said once more in full it is the same.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>

#include "options.h"
#include "util.h"

#define WORDS 24
#define SAID 64

static const char *const verbs[] = {"run",   "check",  "cleanup",   "flows", "status",
				    "peers", "routes", "endpoints", "stats", "trace"};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

/* Help ends the process; and what regcomp() makes of an evil expression is glibc's business. */
static bool is_left_out(const char *word)
{
	if (strncmp(word, "--h", 3) == 0 || strncmp(word, "--u", 3) == 0)
		return true;
	if (word[0] == '-' && word[1] != '-' && strpbrk(word, "h?"))
		return true;
	return strpbrk(word, "{*+") != NULL;
}

static bool is_one_of(int value, int last)
{
	return value >= 0 && value <= last;
}

static bool is_ifname(const char *name)
{
	return *name && strlen(name) < 16 && !strpbrk(name, "/: \t\n\v\f\r") && strcmp(name, ".") &&
	       strcmp(name, "..");
}

static bool is_address(const char *text)
{
	struct in_addr addr;

	return inet_pton(AF_INET, text, &addr) == 1;
}

static void check_texts(const struct options *o)
{
	CHECK(!o->iface || is_ifname(o->iface));
	CHECK(is_ifname(o->bridge) && is_ifname(o->tun));
	CHECK(!o->iface_can_reach || is_address(o->iface_can_reach));
	CHECK(!o->public_ip || is_address(o->public_ip));
	CHECK(!o->trace_host || is_address(o->trace_host));
	CHECK(!o->flow_address || is_address(o->flow_address));
	CHECK(!o->flow_protocol || strstr("tcp udp icmp", o->flow_protocol));
	CHECK(strlen(o->state_dir) <= 98 && *o->state_dir && *o->subnet_file);
	CHECK(*o->etcd.prefix && !strstr(o->etcd.prefix, "//"));
	CHECK(o->etcd.prefix[strlen(o->etcd.prefix) - 1] != '/');
	CHECK(!o->store || strncmp(o->store, "static:", 7) == 0 ||
	      strncmp(o->store, "etcd:", 5) == 0);
}

static void check_numbers(const struct options *o)
{
	CHECK(is_one_of((int)o->datapath, DATAPATH_TUN) && is_one_of((int)o->tun_io, TUN_IO_PLAIN));
	CHECK(is_one_of((int)o->attach, ATTACH_CLSACT) && is_one_of((int)o->approve, APPROVE_NONE));
	CHECK(is_one_of((int)o->format, WEFT_FORMAT_MAX) && o->etcd.format == o->format);
	CHECK(is_one_of((int)o->receive, RECEIVE_XDP) && o->outer_dscp <= DSCP_INHERIT);
	CHECK(o->approve_ttl >= 1 && o->approve_ttl <= 86400);
	CHECK(o->approve_max >= 1024 && o->approve_max <= 1 << 24);
	CHECK(o->trace_sample >= 1 && o->trace_sample <= 1000000);
	CHECK(o->etcd.lease_ttl >= 5 && o->etcd.renew_margin >= 1);
	CHECK(o->flow_port <= 65535 && is_one_of((int)o->log_level, LOG_LEVEL_DEBUG));
}

/* A command line being made. */
struct said {
	char *words[SAID];
	int n;
};

__attribute__((format(printf, 3, 4))) static void say(struct said *s, bool when, const char *format,
						      ...)
{
	va_list args;

	if (!when)
		return;
	CHECK(s->n < SAID - 1);
	va_start(args, format);
	CHECK(vasprintf(&s->words[s->n++], format, args) >= 0);
	va_end(args);
}

static void say_text(struct said *s, const char *name, const char *value)
{
	say(s, value, "--%s=%s", name, value ? value : "");
}

static void say_run(struct said *s, const struct options *o)
{
	static const char *const datapaths[] = {"auto", "bpf", "tun"}, *const ios[] = {"batch",
										       "plain"};
	static const char *const attaches[] = {"auto", "tcx", "clsact"}, *const approves[] = {
										 "host", "none"};
	static const char *const receives[] = {"auto", "kernel", "aggregate", "strip", "xdp"};

	say_text(s, "iface", o->iface);
	say_text(s, "iface-regex", o->iface_regex);
	say_text(s, "iface-can-reach", o->iface_can_reach);
	say_text(s, "public-ip", o->public_ip);
	say_text(s, "bridge", o->bridge);
	say_text(s, "datapath", datapaths[o->datapath]);
	say_text(s, "tun-io", ios[o->tun_io]);
	say_text(s, "attach", attaches[o->attach]);
	say_text(s, "approve", approves[o->approve]);
	say_text(s, "receive", receives[o->receive]);
	say_text(s, "metrics", o->metrics);
	say_text(s, "format", o->format < WEFT_FORMAT_MAX ? format_name(o->format) : NULL);
	say(s, true, "--approve-ttl=%u", o->approve_ttl);
	say(s, true, "--approve-max=%u", o->approve_max);
	say(s, true, "--lease-ttl=%u", o->etcd.lease_ttl);
	say(s, true, "--lease-renew-margin=%u", o->etcd.renew_margin);
	say(s, o->outer_dscp == DSCP_INHERIT, "--outer-dscp=inherit");
	say(s, o->outer_dscp != DSCP_INHERIT, "--outer-dscp=%u", o->outer_dscp);
	say(s, true, "--peer-check=%s", o->peer_check ? "on" : "off");
	say(s, true, "--source-port-entropy=%s", o->entropy ? "on" : "off");
	say(s, true, "--forward-rules=%s", o->forward_rules ? "on" : "off");
	say(s, o->teardown_on_exit, "--teardown-on-exit");
	say(s, o->ip_masq, "--ip-masq");
	say(s, o->mss_clamp, "--mss-clamp");
}

static void say_all(struct said *s, const struct options *o, const char *verb)
{
	bool run = !strcmp(verb, "run"), check = !strcmp(verb, "check"),
	     cleanup = !strcmp(verb, "cleanup");

	say(s, true, "%s", verb);
	if (run)
		say_run(s, o);
	if (run || check) {
		say_text(s, "store", o->store);
		say_text(s, "etcd-prefix", o->etcd.prefix);
		say_text(s, "etcd-cafile", o->etcd.ca_file);
		say_text(s, "etcd-certfile", o->etcd.cert_file);
		say_text(s, "etcd-keyfile", o->etcd.key_file);
		say_text(s, "etcd-username", o->etcd.user);
		say_text(s, "etcd-password-file", o->etcd.password_file);
	}
	if (run || cleanup) {
		static const char *const levels[] = {"error", "warn", "info", "debug"};

		say_text(s, "tun", o->tun);
		say_text(s, "subnet-file", o->subnet_file);
		say_text(s, "log-level", levels[o->log_level]);
		say(s, o->log_json, "--log-json");
	}
	say_text(s, "hook", o->trace_hook);
	say_text(s, "verdict", o->trace_verdict);
	say_text(s, "reason", o->trace_reason);
	say_text(s, "host", o->trace_host);
	say(s, o->trace_count, "--count=%u", o->trace_count);
	say(s, !strcmp(verb, "trace"), "--sample=%u", o->trace_sample);
	say_text(s, "address", o->flow_address);
	say_text(s, "protocol", o->flow_protocol);
	say(s, o->flow_port, "--port=%u", o->flow_port);
	say(s, o->flush, "flush");
	say_text(s, "state-dir", o->state_dir);
	say(s, o->json, "-j");
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Everything but the texts is in one piece and has no padding that matters: compare by saying. */
static void check_again(const struct options *o, const char *verb)
{
	struct said first = {.n = 0}, second = {.n = 0};
	struct options again;

	say_all(&first, o, verb);
	CHECK(options_parse(verb, first.n, first.words, &again) == 0);
	say_all(&second, &again, verb);
	CHECK(first.n == second.n);
	for (int i = 0; i < first.n; i++) {
		CHECK(same_text(first.words[i], second.words[i]));
		free(first.words[i]);
		free(second.words[i]);
	}
}

static void run(const char *verb, char **words, int n)
{
	struct options out, untouched;
	int err;

	memset(&out, 0xa5, sizeof(out));
	memset(&untouched, 0xa5, sizeof(untouched));
	err = options_parse(verb, n, words, &out);
	if (err) {
		CHECK(err == -EINVAL && memcmp(&out, &untouched, sizeof(out)) == 0);
		return;
	}
	CHECK(out.store || (strcmp(verb, "run") && strcmp(verb, "check")));
	check_texts(&out);
	check_numbers(&out);
	check_again(&out, verb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const char *verb = verbs[take8(&in) % ARRAY_SIZE(verbs)];
	char *words[WORDS + 1] = {strdup(verb)};
	bool left_out = false;
	size_t len;
	int n = 1;

	while (n < WORDS && (words[n] = take_line(&in, &len))) {
		left_out |= is_left_out(words[n]);
		n++;
	}
	words[n] = NULL;
	if (!left_out)
		run(verb, words, n);
	for (int i = 0; i < n; i++)
		free(words[i]);
	return 0;
}
