/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Format ipip (RFC 2003): the inner packet follows the outer IPv4 header. */
#ifndef WEFT_BPF_IPIP_H
#define WEFT_BPF_IPIP_H

#include "outer.h"

#define IPIP_ENCAP_FLAGS ENCAP_FLAGS

static __always_inline void ipip_write(void *to, const struct wrap *w)
{
	struct weft_peer *outer = to;

	copy_words(to, w->peer, 4);
	outer->daddr = w->peer->daddr;
	finish_ip(outer, w, WEFT_OVERHEAD_IPIP);
}

static __always_inline enum weft_reason ipip_check(const struct weft_config *cfg,
						   const struct outer *outer)
{
	return WEFT_R_OK;
}

#endif
