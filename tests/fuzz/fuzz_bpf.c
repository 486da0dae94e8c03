/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The BPF programs, compiled for this machine. A few bytes say which program meets the frame that
 * follows, under which configuration, and which helpers refuse; verdict, frame and destination must
 * be those that decode.h expects, exactly one counter moves, and a tag approves its flow alone.
 */
#include "fuzz.h"

#include <sys/mman.h>

#include "../prog/decode.h"
#include "native/native.h"
#include "util.h"

#define TUN_IFINDEX 5
#define AGGREGATE_IFINDEX 9
#define ETH 14
#define PASS 2 /* XDP_PASS */
#define DROP 1 /* XDP_DROP */
#define SHOT 2
#define REDIRECT 7

/* What may be put right in a frame, by bit, as no input would have it by chance. */
enum { MACS = 1, OUTER = 2, INNER = 4, ADDRESSES = 8 };
/* Odds and ends of a run. */
enum {
	VLAN = 1,
	MARKED = 2,
	VERIFIED = 4,
	AGGREGATES = 8,
	FORMAT_SHIFT = 4,
	OTHER_VNI = 64,
	TRACING = 128
};

static struct weft_state state;
static struct frame frame;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint8_t *rooms = mmap(NULL, 3 * NATIVE_ROOM, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	(void)argc;
	(void)argv;
	CHECK(rooms != MAP_FAILED);
	native_open(rooms, rooms + 2 * NATIVE_ROOM);
	cluster_put((cluster_put_fn)native_put, WEFT_CONFIG_READY);
	cluster_put_formats((cluster_put_fn)native_put);
	return 0;
}

static void configure(struct decode_world *w, uint8_t flags, uint8_t formats)
{
	static const uint8_t mac[6] = DECODE_AGGREGATOR;
	uint32_t zero = 0;

	w->flags = flags % 16 ? WEFT_CONFIG_READY | flags << 1 : 0;
	w->flags &= WEFT_CONFIG_READY | WEFT_CONFIG_PEER_CHECK | WEFT_CONFIG_ENTROPY |
		    WEFT_CONFIG_APPROVE_HOST | WEFT_CONFIG_INHERIT_DSCP;
	w->formats = formats & 7;
	state = cluster_state(w->flags);
	state.half[0].formats = w->formats;
	state.half[0].tun_ifindex = TUN_IFINDEX;
	state.half[0].aggregate_ifindex = w->aggregates ? AGGREGATE_IFINDEX : 0;
	memcpy(state.half[0].aggregate_mac, mac, 6);
	native_put(CLUSTER_STATE, &zero, &state);
}

/* Frames */

static bool is_l3(enum native_program program)
{
	return program == NATIVE_TUN || program == NATIVE_ENTER;
}

static bool is_wrapped(enum native_program program, bool marked)
{
	return program == NATIVE_STRIP || (program == NATIVE_UPLINK && !marked);
}

static void put_inner(uint8_t *ip, size_t room, uint8_t how, bool sent)
{
	if (room < 20)
		return;
	if (how & INNER) {
		ip[0] = (uint8_t)(0x40 | (ip[0] & 15));
		put16(ip + 2, (uint16_t)room);
	}
	if (!(how & ADDRESSES))
		return;
	put16(ip + 12, 10 << 8 | 244);
	put16(ip + 16, 10 << 8 | 244);
	ip[sent ? 14 : 18] = 1;
}

static size_t put_outer(uint8_t *ip, size_t room, enum weft_format format)
{
	static const size_t overheads[] = {28, 50, 20};
	static const uint8_t vxlan[8] = {8, 0, 0, 0, 0, 0, 1, 0};
	size_t overhead = overheads[format];

	if (room < overhead + 20)
		return overhead;
	ip[0] = 0x45;
	put16(ip + 2, (uint16_t)room);
	put16(ip + 6, 0x4000);
	ip[9] = format == WEFT_FORMAT_IPIP ? 4 : 17;
	put32(ip + 12, OUT(ip[overhead + 14]));
	put32(ip + 16, NODE);
	if (format == WEFT_FORMAT_IPIP)
		return overhead;
	put16(ip + 22, format == WEFT_FORMAT_UDP ? 8285 : 8472);
	put16(ip + 24, (uint16_t)(room - 20));
	put16(ip + 26, 0);
	if (format == WEFT_FORMAT_VXLAN) {
		memcpy(ip + 28, vxlan, 8);
		memcpy(ip + 36, node_vtep, 6);
		put16(ip + 48, 0x0800);
	}
	return overhead;
}

static void repair(enum native_program program, bool marked, uint8_t how, enum weft_format format)
{
	size_t at = is_l3(program) ? 0 : ETH;
	bool sent = program <= NATIVE_TUN;

	if (how & MACS && at) {
		memcpy(frame.data, program <= NATIVE_BRIDGE ? bridge_mac : uplink_mac, 6);
		put16(frame.data + 12, 0x0800);
	}
	if (is_wrapped(program, marked)) {
		if (how & OUTER)
			at += put_outer(frame.data + at, frame.len - at, format);
		else
			at += 28;
	}
	if (frame.len > at)
		put_inner(frame.data + at, frame.len - at, how, sent);
}

/* What has been stripped has passed the checks of a TTL and of lengths. */
static void repair_stripped(void)
{
	if (frame.len >= ETH + 20 && frame.data[ETH + 8] < 2)
		frame.data[ETH + 8] = 2;
}

/* As eth_type_trans() sees it */
static void describe(enum native_program program, struct native_run *run)
{
	run->data = frame.data;
	run->len = (unsigned int)frame.len;
	run->protocol = is_l3(program) ? (frame.data[0] >> 4 == 6 ? 0x86dd : 0x0800)
				       : (unsigned int)(frame.data[12] << 8 | frame.data[13]);
	run->pkt_type = !is_l3(program) && memcmp(frame.data, uplink_mac, 6) ? 3 : 0;
}

/* Verdicts */

static enum decode_hook hook_of(enum native_program program, bool marked)
{
	static const enum decode_hook hooks[] = {
		[NATIVE_PORT] = DECODE_PORT,   [NATIVE_BRIDGE] = DECODE_BRIDGE,
		[NATIVE_TUN] = DECODE_TUN,     [NATIVE_UPLINK] = DECODE_UPLINK,
		[NATIVE_STRIP] = DECODE_STRIP, [NATIVE_AGGREGATE] = DECODE_STRIPPED,
		[NATIVE_VTEP] = DECODE_VTEP,
	};

	return program == NATIVE_UPLINK && marked ? DECODE_STRIPPED : hooks[program];
}

/* What only the context of a packet tells. */
static void judge_context(enum native_program program, const struct native_run *run,
			  struct decoded *want)
{
	bool taught = program == NATIVE_BRIDGE && run->tc_index;

	/* A VLAN tag with an identifier leads elsewhere; without one it hides nothing. */
	if (program <= NATIVE_BRIDGE && want->verdict == DECODE_REFUSED &&
	    (run->protocol != 0x0800 || (!taught && !(run->vlan_tci & 0x0fff))))
		return;
	if (program >= NATIVE_ENTER)
		want->verdict = DECODE_LEFT;
	else if (program == NATIVE_UPLINK && run->marked && (run->vlan_present || run->pkt_type))
		want->verdict = DECODE_REFUSED;
	else if (taught ||
		 (run->vlan_present && program != NATIVE_STRIP && !run->marked &&
		  program != NATIVE_TUN && program != NATIVE_AGGREGATE && program != NATIVE_VTEP))
		want->verdict = DECODE_LEFT;
	else
		return;
	want->updated = want->any_port = 0;
	want->out = frame;
}

/* A helper that refuses has the packet left as it was, or dropped where it was not any more. */
static void judge_refusals(enum native_program program, const struct native_run *run,
			   struct decoded *want)
{
	bool moves = want->verdict >= DECODE_SENT && program != NATIVE_VTEP &&
		     hook_of(program, run->marked) != DECODE_STRIPPED;

	if (!moves)
		return;
	if (program == NATIVE_STRIP && run->refusals & NATIVE_NO_META)
		want->verdict = DECODE_LEFT;
	else if (program == NATIVE_STRIP && run->refusals & NATIVE_NO_HEAD)
		want->verdict = DECODE_REFUSED;
	else if (program != NATIVE_STRIP && run->refusals & NATIVE_NO_ROOM)
		want->verdict = DECODE_LEFT;
	else if (program == NATIVE_TUN && run->refusals & NATIVE_NO_HEAD)
		want->verdict = DECODE_REFUSED;
	else
		return;
	want->updated = want->any_port = 0;
	want->out = frame;
}

static void check_counter(enum native_program program, const struct native_run *run,
			  enum decode_verdict verdict)
{
	static const enum weft_hook hooks[] = {
		[NATIVE_PORT] = WEFT_HOOK_PORT,	      [NATIVE_BRIDGE] = WEFT_HOOK_BRIDGE,
		[NATIVE_TUN] = WEFT_HOOK_TUN,	      [NATIVE_UPLINK] = WEFT_HOOK_UPLINK,
		[NATIVE_STRIP] = WEFT_HOOK_STRIP,     [NATIVE_AGGREGATE] = WEFT_HOOK_AGGREGATE,
		[NATIVE_VTEP] = WEFT_HOOK_VTEP,	      [NATIVE_ENTER] = WEFT_HOOK_ENTER,
		[NATIVE_DELIVER] = WEFT_HOOK_DELIVER,
	};
	unsigned int counted = run->counter / WEFT_REASON_MAX % WEFT_VERDICT_MAX;

	if (program == NATIVE_STRIP && verdict == DECODE_LEFT) {
		CHECK(run->counters == 0);
		return;
	}
	CHECK(run->counters == 1 && run->counted_bytes == run->len);
	CHECK(run->counter / WEFT_REASON_MAX / WEFT_VERDICT_MAX == hooks[program]);
	if (verdict == DECODE_LEFT)
		CHECK(counted == WEFT_SLOW);
	else if (verdict == DECODE_REFUSED)
		CHECK(counted == WEFT_DROP);
	else
		CHECK(counted == WEFT_FAST || (verdict == DECODE_HANDED && counted == WEFT_SLOW));
}

/* What is counted is shown, as it was when its verdict stood. */
static void check_trace(const struct native_run *run)
{
	CHECK(run->traces == (run->tracing ? run->counters : 0));
	if (!run->traces)
		return;
	CHECK(run->traced_len <= sizeof(run->traced) && run->traced_len <= run->out_len);
	CHECK(memcmp(run->traced, run->out, run->traced_len) == 0);
}

static void check_way(const struct native_run *run, const struct decoded *want)
{
	bool other = want->out.len >= ETH + 20 && want->out.data[ETH + 19] == 3;

	CHECK(run->act == REDIRECT);
	switch (want->verdict) {
	case DECODE_SENT:
		CHECK(run->redirect == (want->resolved ? NATIVE_DEVICE : NATIVE_NEIGHBOUR));
		CHECK(run->redirect_ifindex == CLUSTER_IFINDEX && !run->redirect_ingress);
		break;
	case DECODE_DELIVERED:
		CHECK(run->redirect == NATIVE_PEER_NS && !run->redirect_ingress);
		CHECK(run->redirect_ifindex == (other ? CLUSTER_OTHER_PORT : CLUSTER_IFINDEX));
		break;
	case DECODE_AGGREGATED:
		CHECK(run->redirect == NATIVE_DEVICE && !run->redirect_ingress);
		CHECK(run->redirect_ifindex == AGGREGATE_IFINDEX);
		break;
	default:
		CHECK(run->redirect == NATIVE_DEVICE && run->redirect_ingress);
		CHECK(run->redirect_ifindex == TUN_IFINDEX);
	}
}

static void check_verdict(enum native_program program, const struct native_run *run,
			  const struct decoded *want)
{
	check_counter(program, run, want->verdict);
	if (program == NATIVE_STRIP) {
		CHECK(run->act == (want->verdict == DECODE_REFUSED ? DROP : PASS));
		CHECK(run->out_marked == (want->verdict == DECODE_HANDED) ||
		      want->verdict == DECODE_REFUSED);
	} else if (want->verdict == DECODE_LEFT) {
		CHECK(run->act == -1);
	} else if (want->verdict == DECODE_REFUSED) {
		CHECK(run->act == SHOT);
	} else {
		check_way(run, want);
	}
	/* What a helper has refused in the middle is lost in any state. */
	if (want->verdict != DECODE_REFUSED || !run->refusals)
		CHECK(decode_fits(want, run->out, run->out_len));
}

/* Nothing approves but what crossed the host's stack, or a SYN where the host is not to judge. */
static void check_approvals(enum native_program program, const struct decode_world *w,
			    const struct native_run *run)
{
	if (run->approval != NATIVE_UNAPPROVED || !run->approvals_made)
		return;
	CHECK(!(w->flags & WEFT_CONFIG_APPROVE_HOST));
	CHECK(program == NATIVE_PORT || program == NATIVE_UPLINK || program == NATIVE_AGGREGATE);
}

static void set_generation(uint32_t generation)
{
	uint32_t zero = 0;

	state.generation = generation;
	native_put(CLUSTER_STATE, &zero, &state);
}

/*
 * A packet that the port hook has tagged approves its flow where it leaves, and none when the host
 * has changed it in between, or its rules.
 */
static void check_tag(const struct native_run *tagged)
{
	struct native_run run = {.hash = tagged->out_hash, .tc_index = tagged->out_tc_index};
	bool control = frame.data[ETH + 9] == 6 && frame.data[ETH + 33] & 7;

	run.data = frame.data + ETH;
	run.len = run.linear = (unsigned int)frame.len - ETH;
	run.protocol = 0x0800;
	native_run(NATIVE_TUN, &run);
	if (run.act != REDIRECT)
		return;
	CHECK(run.approvals_made == !control);
	run.approvals_made = run.counters = 0;
	frame.data[ETH + 19] ^= 1;
	native_run(NATIVE_TUN, &run);
	CHECK(run.approvals_made == 0);
	frame.data[ETH + 19] ^= 1;
	run.approvals_made = run.counters = 0;
	set_generation(state.generation + 1);
	native_run(NATIVE_TUN, &run);
	CHECK(run.approvals_made == 0);
	set_generation(state.generation - 1);
}

/* The world of a run, and its frame, from the first bytes of the input. */
static enum native_program take_run(struct input *in, struct decode_world *w,
				    struct native_run *run)
{
	static const uint32_t locals[] = {0, NODE, NODE, OUT(99)};
	enum native_program program = take8(in) % NATIVE_PROGRAMS;
	uint8_t flags = take8(in), formats = take8(in), how = take8(in), odds;

	run->refusals = take8(in);
	run->approval = take8(in) % (NATIVE_OTHER_WAY + 1);
	run->linear = ETH + take16(in) % 512;
	run->gso_size = take16(in) & 0x07ff;
	run->hash = take8(in);
	run->tc_index = take8(in) & 3;
	odds = take8(in);
	run->ifindex = CLUSTER_IFINDEX;
	run->vlan_present = odds & VLAN;
	run->vlan_tci = run->vlan_present ? 0x2000 | (run->hash & 1) : 0;
	run->marked = odds & MARKED && program == NATIVE_UPLINK;
	run->verified = odds & VERIFIED;
	run->tracing = odds & TRACING ? 1 : 0;
	run->vni = odds & OTHER_VNI ? 2 : 1;
	run->remote = PEER;
	run->local = locals[run->hash % 4];
	w->aggregates = odds & AGGREGATES;
	configure(w, flags, formats);
	frame.len = in->left < FRAME_MAX - 128 ? in->left : FRAME_MAX - 128;
	memset(frame.data, 0, ETH + 20);
	memcpy(frame.data, in->at, frame.len);
	if (frame.len < ETH)
		frame.len = ETH;
	repair(program, run->marked, how, (odds >> FORMAT_SHIFT & 3) % WEFT_FORMAT_MAX);
	if (program == NATIVE_AGGREGATE || run->marked)
		repair_stripped();
	describe(program, run);
	return program;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct native_run run;
	static struct decoded want;
	struct decode_world w = {.hook = DECODE_PORT};
	struct input in = {data, size};
	enum native_program program;

	memset(&run, 0, offsetof(struct native_run, out));
	run.redirect = NATIVE_NOWHERE;
	run.counters = run.hints = run.traces = run.approvals_made = run.approvals_lost = 0;
	program = take_run(&in, &w, &run);
	if (program < NATIVE_ENTER)
		w.hook = hook_of(program, run.marked);
	w.gso_size = run.gso_size;
	w.approved = run.approval == NATIVE_APPROVED;
	w.verified = run.verified;
	w.vni = run.refusals & NATIVE_NO_KEY ? 0 : run.vni;
	w.remote = run.remote;
	w.local = run.local;
	decode(&w, &frame, &want);
	judge_context(program, &run, &want);
	judge_refusals(program, &run, &want);
	native_run(program, &run);
	check_approvals(program, &w, &run);
	check_trace(&run);
	if (run.refusals & NATIVE_NO_PULL && run.linear < run.len && program != NATIVE_STRIP) {
		/* What cannot be read is left to those who can. */
		CHECK(run.counters == 1 && (run.act == -1 || want.verdict != DECODE_LEFT));
		return 0;
	}
	check_verdict(program, &run, &want);
	if (program == NATIVE_PORT && run.act == -1 && run.out_tc_index & WEFT_TAGGED &&
	    run.approval == NATIVE_UNAPPROVED)
		check_tag(&run);
	return 0;
}
