/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs record for `weft trace`: the packet as its verdict left it, or nothing. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cases.h"
#include "util.h"

#define ON (WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK | WEFT_CONFIG_APPROVE_HOST)
#define RECORDS_MAX (WEFT_TRACE_RING / sizeof(struct weft_trace))

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct weft_trace_wish everything(void)
{
	return (struct weft_trace_wish){
		.sample = 1,
		.hooks = UINT32_MAX,
		.verdicts = UINT32_MAX,
		.reasons = UINT64_MAX,
		.until = now_ns() + 60000000000,
	};
}

/* The frame that the program left, as far as a record has room; all of it but for strip. */
static bool is_record_of(const struct weft_trace *record, const struct result *got, size_t counted,
			 size_t room)
{
	size_t len = got->out.len < room ? got->out.len : room;
	uint32_t key = WEFT_COUNTER(record->hook, record->verdict, record->reason);

	return key == got->counter && record->len == counted && record->ifindex == 1 &&
	       record->protocol == htons(0x0800) && record->head_len == len && !record->outer &&
	       record->time + 60000000000 > now_ns() && record->time <= now_ns() &&
	       memcmp(record->head, got->out.data, len) == 0;
}

static void test_recorded(enum rig_program program, const struct frame *in, const char *name)
{
	struct weft_trace_wish wish = everything();
	struct weft_trace record, more;
	struct result got;
	bool ok;

	rig_trace(&wish);
	rig_run(program, in, 0, &got);
	ok = rig_traced(&record) && !rig_traced(&more);
	if (program == RIG_STRIP && got.out.len > 4 && !memcmp(got.out.data, "weft", 4)) {
		got.out.len -= 4;
		memmove(got.out.data, got.out.data + 4, got.out.len);
	}
	report(ok && is_record_of(&record, &got, in->len,
				  program == RIG_STRIP ? 14 + 20 + 4 : WEFT_TRACE_HEAD),
	       name, &got.out, NULL);
	rig_trace(&(struct weft_trace_wish){});
	rig_run(program, in, 0, &got);
	report(!rig_traced(&more), "nothing is recorded when it is off", NULL, NULL);
}

static void test_each_program(void)
{
	struct ip_fields usual = {.payload = 200}, spoofed = {.saddr = IN(9, 9)};
	struct outer_fields outer = {0};
	struct frame in;

	frame_from_pod(&in, &usual);
	test_recorded(RIG_PORT, &in, "port fast is recorded with its outer headers");
	usual.ttl = 1;
	frame_from_pod(&in, &usual);
	test_recorded(RIG_BRIDGE, &in, "bridge slow is recorded");
	usual.ttl = 0;
	frame_from_peer(&in, &outer, &usual);
	test_recorded(RIG_UPLINK, &in, "uplink fast is recorded without its outer headers");
	frame_from_peer(&in, &outer, &spoofed);
	test_recorded(RIG_UPLINK, &in, "uplink drop is recorded");
	frame_from_peer(&in, &outer, &usual);
	test_recorded(RIG_STRIP, &in, "strip is recorded");
}

/* Does the usual packet from a pod make a record with this wish? */
static bool records(const struct weft_trace_wish *wish)
{
	struct ip_fields usual = {0};
	struct weft_trace record;
	struct result got;
	struct frame in;

	frame_from_pod(&in, &usual);
	rig_trace(wish);
	rig_run(RIG_PORT, &in, 0, &got);
	return rig_traced(&record);
}

static void expect(bool recorded, const struct weft_trace_wish *wish, const char *name)
{
	report(records(wish) == recorded, name, NULL, NULL);
}

static void test_wishes(void)
{
	struct weft_trace_wish wish = everything();

	wish.hooks = 1 << WEFT_HOOK_PORT;
	wish.verdicts = 1 << WEFT_FAST;
	wish.reasons = 1 << WEFT_R_OK;
	expect(true, &wish, "hook, verdict and reason asked for");
	wish.hooks = ~wish.hooks;
	expect(false, &wish, "another hook asked for");
	wish.hooks = UINT32_MAX;
	wish.verdicts = ~wish.verdicts;
	expect(false, &wish, "another verdict asked for");
	wish.verdicts = UINT32_MAX;
	wish.reasons = ~wish.reasons;
	expect(false, &wish, "another reason asked for");
	wish.reasons = UINT64_MAX;
	wish.host = htonl(POD);
	expect(true, &wish, "inner source asked for");
	wish.host = htonl(REMOTE);
	expect(true, &wish, "inner destination asked for");
	wish.host = htonl(PEER);
	expect(true, &wish, "outer destination asked for");
	wish.host = htonl(POD + 1);
	expect(false, &wish, "another host asked for");
	wish.host = 0;
	wish.until = now_ns();
	expect(false, &wish, "the wish has run out");
}

static void test_sample(void)
{
	struct weft_trace_wish wish = everything();
	char name[64];
	int n = 0;

	wish.sample = 4;
	for (int i = 0; i < 1000; i++)
		n += records(&wish);
	/* Six standard deviations of a fair sample */
	snprintf(name, sizeof(name), "one of 4: %d of 1000", n);
	report(n > 250 - 82 && n < 250 + 82, name, NULL, NULL);
}

/* A full ring loses records, says how many, and changes nothing else. */
static void test_full(void)
{
	struct weft_trace_wish wish = everything();
	uint64_t lost = rig_trace_lost();
	struct ip_fields usual = {0};
	struct weft_trace record;
	struct result got;
	struct frame in;
	size_t n = 0;
	bool ok = true;

	frame_from_pod(&in, &usual);
	rig_trace(&wish);
	for (size_t i = 0; i < RECORDS_MAX + 100; i++)
		ok &= rig_run(RIG_PORT, &in, 0, &got) && got.act == ACT_REDIRECT;
	rig_trace(&(struct weft_trace_wish){});
	while (rig_traced(&record))
		n++;
	report(ok && n > 1000 && n + rig_trace_lost() - lost == RECORDS_MAX + 100,
	       "what does not fit the ring is counted", NULL, NULL);
}

void test_trace(void)
{
	rig_configure(ON);
	rig_approves(true);
	test_each_program();
	test_wishes();
	test_sample();
	test_full();
}
