/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A bad wire, at the ingress of a port of the lab's switch: what `impair` (impair.c, which sets the
 * constants) is told to do to one frame in so many happens here. Which ones is decided by a hash of
 * the seed and the frame's number, so that a run can be repeated as far as its frames can.
 *
 * A program cannot keep a frame, so one that is to be overtaken takes a detour: out through a TAP
 * device, whose reader writes it back after a while, and on from its ingress.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "impair.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define TC_ACT_UNSPEC (-1) /* linux/pkt_cls.h */
#define TC_ACT_SHOT 2

const volatile struct impair_spec spec = {};
struct impair_figures figures = {};

/* splitmix64 */
static __always_inline u64 hash(u64 x)
{
	x = (x + 1) * 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* A bit of anything behind the Ethernet header; no checksum follows it. */
static __always_inline void flip(struct __sk_buff *skb, u64 random)
{
	u32 at = ETH_HLEN + (u32)random % (skb->len - ETH_HLEN);
	u8 byte;

	if (bpf_skb_load_bytes(skb, at, &byte, 1))
		return;
	byte ^= 1 << (random >> 32 & 7);
	bpf_skb_store_bytes(skb, at, &byte, 1, 0);
}

SEC("tc")
int impair(struct __sk_buff *skb)
{
	u64 random = hash(spec.seed ^ hash(__sync_fetch_and_add(&figures.frames, 1)));

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->len <= ETH_HLEN || !spec.every ||
	    (random >> 16 & 0xffff) >= 0x10000 / spec.every)
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&figures.hit, 1);
	switch (spec.kind) {
	case IMPAIR_DROP:
		return TC_ACT_SHOT;
	case IMPAIR_DOUBLE:
		bpf_clone_redirect(skb, spec.out_ifindex, 0);
		return TC_ACT_UNSPEC;
	case IMPAIR_FLIP:
		flip(skb, hash(random));
		return TC_ACT_UNSPEC;
	case IMPAIR_HOLD:
		return bpf_redirect(spec.tap_ifindex, 0);
	}
	return TC_ACT_UNSPEC;
}

/* Back from the detour. */
SEC("tc")
int impair_back(struct __sk_buff *skb)
{
	return bpf_redirect(spec.out_ifindex, 0);
}
