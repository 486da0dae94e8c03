/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What impair.c tells impair.bpf.c. */
#ifndef WEFT_TESTS_NET_IMPAIR_H
#define WEFT_TESTS_NET_IMPAIR_H

#include <linux/types.h>

enum impair_kind {
	IMPAIR_DROP,
	IMPAIR_DOUBLE,
	IMPAIR_HOLD, /* lets those behind it overtake */
	IMPAIR_FLIP, /* one bit */
};

struct impair_spec {
	__u64 seed;
	__u32 kind;
	__u32 every; /* one frame in so many, at random; 0: none */
	__u32 out_ifindex; /* where frames leave the switch */
	__u32 tap_ifindex; /* the detour */
};

struct impair_figures {
	__u64 frames; /* that came by */
	__u64 hit; /* to which it was done */
};

#endif
