/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stripping in front of GRO: what the XDP program says to the uplink program about a packet, in the
 * metadata that travels with it. GRO merges only packets whose metadata are the same
 * (net/core/gro.c, skb_metadata_differs()), and nothing from outside can bring any along.
 */
#ifndef WEFT_BPF_STRIP_H
#define WEFT_BPF_STRIP_H

#include "parse.h"

#define STRIP_MARK 0x74666577 /* "weft" */

static __always_inline bool is_stripped(const struct __sk_buff *skb)
{
	const u32 *mark = (void *)(long)skb->data_meta;

	return (void *)(mark + 1) <= skb_data(skb) && *mark == STRIP_MARK;
}

#endif
