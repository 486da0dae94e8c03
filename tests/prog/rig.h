/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The shipped programs under BPF_PROG_TEST_RUN, with the cluster of cluster.h in their maps. */
#ifndef WEFT_TESTS_RIG_H
#define WEFT_TESTS_RIG_H

#include "cluster.h"
#include "packet.h"
#include "weft/trace.h"

/* In front of the inner packet in format udp. */
#define UDP_HEADERS (WEFT_ETH_HLEN + WEFT_OVERHEAD_UDP)

enum rig_program {
	RIG_PORT,
	RIG_BRIDGE,
	RIG_UPLINK,
	RIG_AGGREGATE,
	RIG_DELIVER,
	RIG_STRIP,
	RIG_TUN,
	RIG_ENTER,
	RIG_VTEP,
};

/* What a program did with a frame. */
struct result {
	int act; /* -1 next, 2 shot, 7 redirect; XDP: 2 pass */
	struct frame out;
	int counters; /* how many counters moved */
	uint32_t counter; /* the one that moved, WEFT_COUNTER() */
	struct weft_counter by; /* by how much */
};

#define ACT_NEXT (-1)
#define ACT_SHOT 2
#define ACT_REDIRECT 7
#define ACT_XDP_PASS 2

int rig_open(void);
void rig_close(void);
/* The cluster above, flags as given (WEFT_CONFIG_*). */
void rig_configure(uint32_t flags);
/* Accept these formats, by bit, and have routes to their nodes; after rig_configure() udp alone. */
void rig_accept(uint16_t formats);
/* Cells of another size, of which the one with addr (no other one) leads to PEER. */
void rig_resize_cells(uint32_t shift, uint32_t addr);
/* The overlay's is another /16, this node's subnet is not in it. */
void rig_set_network(uint32_t network);
/* Whether rig_run() first approves the flow of its frame, both ways; it does until told not to. */
void rig_approves(bool yes);
/* What the programs know of a flow. */
void rig_set_approval(const struct weft_flow *flow, const struct weft_approval *approval);
bool rig_get_approval(const struct weft_flow *flow, struct weft_approval *out);
void rig_forget_approvals(void);
/*
 * The flow of a frame at program, behind overhead bytes at the uplink, as the programs read it;
 * false: none that could be approved.
 */
bool rig_flow_of(enum rig_program program, size_t overhead, const struct frame *frame,
		 struct weft_flow *out);
/* Let approvals last so many jiffies, and the host's rules have this generation. */
void rig_set_age(uint32_t ttl_tcp, uint32_t ttl_other, uint32_t generation);
/* Let the maps' other half of the state be the valid one. */
void rig_flip_state(void);
/* The shortest IPv4 frame that BPF_PROG_TEST_RUN takes (net/bpf/test_run.c). */
#define RIG_MIN_LEN 34

/* gso_size 0: a plain packet. False when the frame is too short for the kernel's test run. */
bool rig_run(enum rig_program program, const struct frame *in, uint32_t gso_size,
	     struct result *out);
/* The same with another format's overhead in front of the inner packet. */
bool rig_run_as(enum rig_program program, size_t overhead, const struct frame *in,
		uint32_t gso_size, struct result *out);
/* The next hint in the ring. False when there is none. */
bool rig_hint(struct weft_hint *out);

/* What is to be recorded from now on; all zero: nothing. */
void rig_trace(const struct weft_trace_wish *wish);
/* The next record. False when there is none. */
bool rig_traced(struct weft_trace *out);
/* Records that found no room so far. */
uint64_t rig_trace_lost(void);

/* One TAP line; false is a failure with both frames shown when given. */
void report(bool ok, const char *name, const struct frame *want, const struct frame *got);
extern int n_passed, n_failed;

#endif
