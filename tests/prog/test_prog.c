/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whole frames, verdicts and counters of the BPF programs. Needs root, touches no device. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

#define MANY 900

/* Each reason must be the expectation of some row. */
static bool reached[WEFT_REASON_MAX];

void frame_from_pod(struct frame *out, const struct ip_fields *ip)
{
	struct ip_fields f = *ip;

	f.saddr = f.saddr ? f.saddr : POD;
	f.daddr = f.daddr ? f.daddr : REMOTE;
	out->len = 0;
	packet_put_eth(out, bridge_mac, pod_mac, 0);
	packet_put_ip(out, &f);
}

void frame_from_peer(struct frame *out, const struct outer_fields *outer,
		     const struct ip_fields *ip)
{
	struct outer_fields o = *outer;
	struct ip_fields f = *ip;
	struct frame inner = {.len = 0};

	f.saddr = f.saddr ? f.saddr : REMOTE;
	f.daddr = f.daddr ? f.daddr : POD;
	o.saddr = o.saddr ? o.saddr : PEER;
	o.daddr = o.daddr ? o.daddr : NODE;
	packet_put_ip(&inner, &f);
	out->len = 0;
	packet_put_eth(out, uplink_mac, peer_mac, 0);
	packet_put_outer(out, &o, inner.len);
	memcpy(out->data + out->len, inner.data, inner.len);
	out->len += inner.len;
}

static void add(char **at, char *end, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(*at, end - *at, fmt, args);
	va_end(args);
	if (n > 0 && n < end - *at)
		*at += n;
}

const char *ip_fields_text(const struct ip_fields *ip, char *buf, size_t len)
{
	char *at = buf, *end = buf + len;

	*at = '\0';
	if (ip->saddr)
		add(&at, end, " src=%08" PRIx32, ip->saddr);
	if (ip->daddr)
		add(&at, end, " dst=%08" PRIx32, ip->daddr);
	if (ip->ver)
		add(&at, end, " version=%u", ip->ver);
	if (ip->ihl)
		add(&at, end, " ihl=%u", ip->ihl);
	if (ip->tos)
		add(&at, end, " tos=%u", ip->tos);
	if (ip->ttl)
		add(&at, end, " ttl=%u", ip->ttl == ZERO ? 0 : ip->ttl);
	if (ip->id)
		add(&at, end, " id=%u", ip->id);
	if (ip->frag)
		add(&at, end, " frag=%04x", ip->frag);
	if (ip->proto)
		add(&at, end, " proto=%u", ip->proto);
	if (ip->payload)
		add(&at, end, " payload=%u", ip->payload == ZERO ? 0 : ip->payload);
	if (ip->tcp_flags)
		add(&at, end, " flags=%02x", ip->tcp_flags == ZERO ? 0 : ip->tcp_flags);
	if (ip->icmp)
		add(&at, end, " type=%u", ip->icmp == ZERO ? 0 : ip->icmp);
	if (ip->len_delta)
		add(&at, end, " total length%+d", ip->len_delta);
	if (ip->check)
		add(&at, end, " check=%04x", ip->check);
	return buf;
}

bool result_is(const struct result *got, int act, enum weft_hook hook, enum weft_verdict verdict,
	       enum weft_reason reason, size_t bytes, const struct frame *want)
{
	reached[reason] = true;
	if (got->act != act || got->counters != 1 ||
	    got->counter != (uint32_t)WEFT_COUNTER(hook, verdict, reason) || got->by.packets != 1 ||
	    got->by.bytes != bytes) {
		printf("# action %d (want %d), %d counters, last %u (want %u) by %" PRIu64
		       " packets, %" PRIu64 " bytes (want %zu)\n",
		       got->act, act, got->counters, got->counter,
		       (uint32_t)WEFT_COUNTER(hook, verdict, reason), (uint64_t)got->by.packets,
		       (uint64_t)got->by.bytes, bytes);
		return false;
	}
	return got->out.len == want->len && memcmp(got->out.data, want->data, want->len) == 0;
}

static void test_reasons_reached(void)
{
	bool all = true;

	for (int i = 0; i < WEFT_REASON_MAX; i++) {
		/* The loop's own; and what asks for a tag, which a test run cannot give. */
		if (reached[i] || i == WEFT_R_SEND || i == WEFT_R_DECLINED)
			continue;
		printf("# reason %d was never expected\n", i);
		all = false;
	}
	report(all, "every reason is reached by some row", NULL, NULL);
}

/* A suite that is left out is not to go unnoticed. */
static void test_enough(void)
{
	report(n_passed + n_failed > MANY, "over 900 cases", NULL, NULL);
}

static void test_all(void)
{
	test_egress();
	test_uplink();
	test_sweeps();
	test_approve();
	test_formats();
	test_strip();
	test_host_hooks();
	test_trace();
	test_reasons_reached();
	test_enough();
	test_verifier();
}

/* All of it, or as many mutants as asked for: mutants N [SEED]. */
int main(int argc, char **argv)
{
	if (rig_open()) {
		fprintf(stderr, "cannot load the programs (root?)\n");
		return 1;
	}
	if (argc > 2 && !strcmp(argv[1], "mutants"))
		run_mutants(atol(argv[2]), argc > 3 ? (unsigned int)atol(argv[3]) : 1);
	else
		test_all();
	rig_close();
	printf("%d passed, %d failed\n", n_passed, n_failed);
	return n_failed ? 1 : 0;
}
