/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Native XDP on the uplink: takes the outer headers off before the kernel merges packets (GRO),
 * which then sees plain TCP. Only what is for a pod and passes every check of the uplink hook is
 * touched; all else goes there as it came, to be judged and counted.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "decap.h"
#include "strip.h"
#include "verdict.h"

/* linux/bpf.h, enum xdp_action */
#define XDP_DROP 1
#define XDP_PASS 2

static __always_inline bool find_outer(const struct xdp_md *xdp, struct outer *outer)
{
	outer->eth = (void *)(long)xdp->data;
	outer->ip = (void *)(outer->eth + 1);
	outer->udp = (void *)(outer->ip + 1);
	outer->data_end = (void *)(long)xdp->data_end;
	return (void *)(outer->udp + 1) <= outer->data_end &&
	       outer->eth->h_proto == bpf_htons(ETH_P_IP);
}

/* Is it addressed to the MAC that we send from? Peers not resolved yet are no help with that. */
static __always_inline bool is_for_us(const struct weft_peer *peer, const struct outer *outer)
{
	return peer && peer->flags & WEFT_PEER_RESOLVED &&
	       mac_equal(peer->eth_src, outer->eth->h_dest);
}

/* A frame in several buffers is longer than what can be seen of it, and left alone. */
static __always_inline bool accepts_as(struct ingress *in, const struct outer *outer, u32 ifindex,
				       enum weft_format format)
{
	const struct iphdr *inner = (void *)outer->ip + format_overhead(format);
	u32 len = outer->data_end - (void *)outer->ip;

	if (bpf_ntohs(outer->ip->tot_len) != len ||
	    format_check(format, in->cfg, outer) != WEFT_R_OK ||
	    outer_has_checksum(format, outer) || (void *)(inner + 1) > outer->data_end ||
	    accept_inner(in, outer, inner, len - format_overhead(format), false) != WEFT_R_OK ||
	    !is_for_us(in->peer, outer))
		return false;
	notice_mac(in->peer, outer, ifindex);
	return find_endpoint(in, inner) == WEFT_R_OK;
}

/* Drivers without room for metadata refuse it. */
static __always_inline bool mark_stripped(struct xdp_md *xdp)
{
	u32 *mark;

	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(*mark)))
		return false;
	mark = (void *)(long)xdp->data_meta;
	if ((void *)(mark + 1) > (void *)(long)xdp->data)
		return false;
	*mark = STRIP_MARK;
	return true;
}

static __always_inline void count_strip(struct xdp_md *xdp, enum weft_verdict verdict,
					enum weft_reason reason, u32 len)
{
	u32 key = WEFT_COUNTER(WEFT_HOOK_STRIP, verdict, reason);

	counter_add(key, len);
	if (trace_is_on())
		trace_xdp(xdp, key, len);
}

/* Nothing is written before the last step that may leave the packet as it came. */
static __always_inline int strip_as(struct xdp_md *xdp, struct ingress *in,
				    const struct outer *outer, enum weft_format format)
{
	u32 len = outer->data_end - (void *)outer->eth;
	struct ethhdr eth = *outer->eth;
	struct iphdr *ip;

	if (!accepts_as(in, outer, xdp->ingress_ifindex, format) || !mark_stripped(xdp))
		return XDP_PASS;
	if (bpf_xdp_adjust_head(xdp, format_overhead(format))) {
		count_strip(xdp, WEFT_DROP, WEFT_R_HELPER, len);
		return XDP_DROP;
	}
	ip = (void *)(long)xdp->data + WEFT_ETH_HLEN;
	if ((void *)(ip + 1) > (void *)(long)xdp->data_end) {
		count_strip(xdp, WEFT_DROP, WEFT_R_HELPER, len);
		return XDP_DROP;
	}
	*(struct ethhdr *)(long)xdp->data = eth;
	if (in->marked)
		ip4_set_ecn(ip, in->ecn);
	count_strip(xdp, WEFT_FAST, WEFT_R_OK, len);
	return XDP_PASS;
}

SEC("xdp")
int weft_strip(struct xdp_md *xdp)
{
	const struct weft_state *st = state_get();
	struct ingress in = {.st = st, .cfg = config_get(st)};
	struct outer outer;

	if (!in.cfg || !find_outer(xdp, &outer) || outer_check_address(in.cfg, &outer) != WEFT_R_OK)
		return XDP_PASS;
	switch (format_of(in.cfg, &outer)) {
#define X(id, name, overhead) \
	case WEFT_FORMAT_##id: \
		return strip_as(xdp, &in, &outer, WEFT_FORMAT_##id);
		WEFT_FORMATS(X)
#undef X
	default:
		return XDP_PASS;
	}
}
