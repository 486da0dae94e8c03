/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's part of `weft trace`: clients of the control socket that are sent one line of JSON
 * for each traced packet. While there is none nothing is asked for. Records are fetched at
 * intervals, a limited number each time, so that no flood of packets holds up the loop; what finds
 * a ring, a pipe or a client's socket full is lost, and its number is sent as {"lost": N}.
 */
#ifndef WEFT_USER_TRACER_H
#define WEFT_USER_TRACER_H

#include "loop.h"
#include "trace.h"

struct datapath;
struct tracer;

int tracer_open(struct loop *loop, struct tracer **out);
/* Ends every trace. NULL is allowed. */
void tracer_close(struct tracer *tracer);
/* For the threads that move packets; valid until tracer_close(). */
struct trace_tap *tracer_tap(struct tracer *tracer);

/*
 * Send packets that the words ask for to fd, which is the tracer's if 0 is returned. datapath: NULL
 * in tier tun; must outlive the tracer. -EINVAL: not such words; -EBUSY: no more clients.
 */
int tracer_add(struct tracer *tracer, const struct datapath *datapath,
	       const struct trace_wire *wire, const char *words, int fd);

#endif
