/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The groups of program tests; each reports through report(). */
#ifndef WEFT_TESTS_CASES_H
#define WEFT_TESTS_CASES_H

#include "rig.h"

void test_egress(void);
void test_uplink(void);
void test_sweeps(void);
/* Random damage to n frames of all kinds, against decode.h; test_sweeps() runs some. */
void run_mutants(long n, unsigned int seed);
void test_approve(void);
void test_formats(void);
void test_strip(void);
void test_host_hooks(void);
void test_trace(void);
void test_verifier(void);

/* A valid frame as the pod at the port under test sends it. */
void frame_from_pod(struct frame *out, const struct ip_fields *ip);
/* A valid frame as a peer sends it. */
void frame_from_peer(struct frame *out, const struct outer_fields *outer,
		     const struct ip_fields *ip);
/*
 * The same in any format, from the format's node of the rig. The headers of vxlan are the usual
 * ones and changed by the caller where they stand.
 */
void frame_from_format(struct frame *out, enum weft_format format, uint8_t outer_tos,
		       const struct ip_fields *ip);
/* Bytes in front of the inner packet, and the format's node's subnet 10.244.X.0/24. */
size_t format_headers(enum weft_format format);
uint8_t format_subnet(enum weft_format format);
const char *format_text(enum weft_format format);
/* "src=10.244.1.2 ttl=1 ..." of the fields that are not the usual; returns buf. */
const char *ip_fields_text(const struct ip_fields *ip, char *buf, size_t len);

/* Verdict, counter and frame of a result against what was expected; want is the whole frame. */
bool result_is(const struct result *got, int act, enum weft_hook hook, enum weft_verdict verdict,
	       enum weft_reason reason, size_t bytes, const struct frame *want);

#endif
