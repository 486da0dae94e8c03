/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Traced packets: which ones a client wants, what a record says, how it is shown. Pure functions,
 * and the tap by which the agent's own loop hands over its records.
 */
#ifndef WEFT_USER_TRACE_H
#define WEFT_USER_TRACE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/format.h"
#include "weft/trace.h"

#define TRACE_SAMPLE_MAX 1000000
/* "hook=aggregate verdict=fast reason=spoofed_inner host=255.255.255.255 sample=1000000" */
#define TRACE_FILTER_LEN 96
#define TRACE_TEXT_LEN 256

struct trace_filter {
	uint32_t hooks, verdicts; /* by bit */
	uint64_t reasons;
	uint32_t host; /* host byte order; 0: any */
	uint32_t sample; /* one of so many; at least 1 */
};

/* Words KEY=VALUE as above, separated by spaces, none twice; "" is everything. 0 or -EINVAL. */
int trace_filter_parse(const char *text, struct trace_filter *out);

/* How packets of ours look here; host byte order. */
struct trace_wire {
	uint32_t local_ip; /* of the uplink */
	uint16_t port, vxlan_port;
	bool vtep_bare; /* the kernel's receiver is one of IP (FOU), not of Ethernet */
};

/* A packet as a person would describe it: the inner one where there are two. Host byte order. */
struct trace_packet {
	const struct weft_trace *record;
	bool ip4; /* else only record->protocol is known */
	uint32_t src, dst;
	uint8_t protocol;
	bool ports; /* first is the source's, second the destination's */
	bool icmp; /* first is the type, second the code */
	uint16_t first, second;
	uint32_t outer_src, outer_dst; /* 0: not there, or not known */
	enum weft_format format; /* WEFT_FORMAT_MAX: no outer headers in sight */
};

void trace_decode(const struct weft_trace *record, const struct trace_wire *wire,
		  struct trace_packet *out);
/* All but the sample. */
bool trace_matches(const struct trace_filter *filter, const struct trace_packet *packet);
/* time: of the record, seconds since the epoch. NULL when there is no memory. */
json_t *trace_json(const struct trace_packet *packet, const char *ifname, double time);
/* Such an object as one line for people, without a newline. */
void trace_text(const json_t *object, char out[TRACE_TEXT_LEN]);

/* Written by the agent's control thread, read by those that move packets. */
struct trace_tap {
	struct weft_trace_wish wish; /* no time limit here: the agent is alive */
	int fd; /* a pipe that never blocks */
	_Atomic uint64_t lost;
};

static inline bool trace_tap_is_on(const struct trace_tap *tap)
{
	return tap && __builtin_expect(__atomic_load_n(&tap->wish.sample, __ATOMIC_RELAXED), 0);
}

/* The packet that begins with len bytes at head; record is filled in but for these. Any thread. */
void trace_tap_write(struct trace_tap *tap, struct weft_trace *record, const void *head,
		     size_t len);

#endif
