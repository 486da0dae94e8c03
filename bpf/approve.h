/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Approval: the slow path teaches the fast path.
 *
 * A direction of a flow is approved when one of its packets has crossed the host stack unchanged:
 * it was tagged where it entered (port, uplink), and where it leaves (overlay device, a pod's port)
 * the tag still fits its five-tuple. A translated packet never fits, a dropped one never leaves.
 */
#ifndef WEFT_BPF_APPROVE_H
#define WEFT_BPF_APPROVE_H

#include "parse.h"

#define ICMP_ECHOREPLY 0
#define ICMP_ECHO 8
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_FLAGS_AT 13 /* offset of the flags, RFC 9293 section 3.1 */

/* A packet's flow and what its header says about it. */
struct flow_packet {
	struct weft_flow flow;
	enum weft_direction dir;
	u8 tcp_flags; /* 0 for other protocols */
};

static __always_inline void flow_set_ports(struct flow_packet *fp, u32 ports)
{
	const __be16 *port = (const void *)&ports;

	fp->flow.local_port = port[fp->dir == WEFT_EGRESS ? 0 : 1];
	fp->flow.remote_port = port[fp->dir == WEFT_EGRESS ? 1 : 0];
}

static __always_inline enum weft_reason flow_read_echo(struct flow_packet *fp, const u8 *icmp)
{
	bool request = icmp[0] == ICMP_ECHO;

	if ((!request && icmp[0] != ICMP_ECHOREPLY) || icmp[1])
		return WEFT_R_PROTOCOL;
	fp->flow.local_port = *(const __be16 *)(icmp + 4);
	if (request == (fp->dir == WEFT_EGRESS))
		fp->flow.remote_port = bpf_htons(WEFT_ECHO_LOCAL);
	return WEFT_R_OK;
}

/* ip is readable for 20 bytes, has no options and is no fragment. */
static __always_inline enum weft_reason flow_read(struct flow_packet *fp, const struct iphdr *ip,
						  const void *data_end, enum weft_direction dir)
{
	const u8 *l4 = (const void *)(ip + 1);

	*fp = (struct flow_packet){.dir = dir};
	fp->flow.local = dir == WEFT_EGRESS ? ip->saddr : ip->daddr;
	fp->flow.remote = dir == WEFT_EGRESS ? ip->daddr : ip->saddr;
	fp->flow.protocol = ip->protocol;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP &&
	    ip->protocol != IPPROTO_ICMP)
		return WEFT_R_PROTOCOL;
	if ((const void *)(l4 + 8) > data_end)
		return WEFT_R_SHORT;
	if (ip->protocol == IPPROTO_ICMP)
		return flow_read_echo(fp, l4);
	flow_set_ports(fp, *(const u32 *)l4);
	if (ip->protocol == IPPROTO_UDP)
		return WEFT_R_OK;
	if ((const void *)(l4 + TCP_FLAGS_AT + 1) > data_end)
		return WEFT_R_SHORT;
	fp->tcp_flags = l4[TCP_FLAGS_AT];
	return WEFT_R_OK;
}

static __always_inline void forget(const struct weft_flow *flow)
{
	if (bpf_map_lookup_elem(&approvals, flow))
		bpf_map_delete_elem(&approvals, flow);
}

/*
 * The time of a new approval. Of UDP, conntrack takes for a stream what it sees again more than two
 * seconds later, and keeps that four times as long (nf_conntrack_udp_packet()): a first approval is
 * short, or one after a rest in which conntrack may have forgotten the flow. One that other rules
 * give anew while it lasts is as old as before.
 */
static __always_inline u32 approved_since(const struct weft_state *st, const struct flow_packet *fp,
					  const struct weft_approval *known)
{
	const struct weft_approved *was = known ? &known->by[fp->dir & 1] : NULL;
	u32 now = bpf_jiffies64(), age = was ? now - was->since : 0;

	if (fp->flow.protocol == IPPROTO_TCP)
		return now & ~WEFT_APPROVED_SHORT;
	if (!was || !was->generation || age > st->ttl_other + st->ttl_other / 2)
		return (now - 1) | WEFT_APPROVED_SHORT;
	return age > weft_approved_ttl(st, IPPROTO_UDP, was->since) ? now & ~WEFT_APPROVED_SHORT
								    : was->since;
}

/* One 64-bit store per direction: a reader on another CPU sees the old approval or the new one. */
static __always_inline void approve(const struct weft_state *st, const struct flow_packet *fp,
				    bool both)
{
	struct weft_approval *known = bpf_map_lookup_elem(&approvals, &fp->flow), fresh = {};
	struct weft_approved now = {.generation = *(volatile const u32 *)&st->generation,
				    .since = approved_since(st, fp, known)};
	u64 word;

	__builtin_memcpy(&word, &now, sizeof(word));
	if (!known) {
		fresh.by[fp->dir & 1] = now;
		if (both)
			fresh.by[!fp->dir] = now;
		bpf_map_update_elem(&approvals, &fp->flow, &fresh, BPF_NOEXIST);
		return;
	}
	*(volatile u64 *)&known->by[fp->dir & 1] = word;
	if (both)
		*(volatile u64 *)&known->by[!fp->dir] = word;
}

static __always_inline enum weft_reason approval_check(const struct weft_state *st,
						       const struct flow_packet *fp)
{
	const struct weft_approval *known = bpf_map_lookup_elem(&approvals, &fp->flow);
	struct weft_approved approved;
	u64 word;

	if (!known)
		return WEFT_R_UNAPPROVED;
	word = *(volatile const u64 *)&known->by[fp->dir & 1];
	__builtin_memcpy(&approved, &word, sizeof(approved));
	if (approved.generation == 0)
		return WEFT_R_UNAPPROVED;
	if (approved.generation != *(volatile const u32 *)&st->generation)
		return WEFT_R_GENERATION;
	return (u32)bpf_jiffies64() - approved.since >
			       weft_approved_ttl(st, fp->flow.protocol, approved.since)
		       ? WEFT_R_STALE
		       : WEFT_R_OK;
}

/* SipHash-2-4 (Aumasson, Bernstein: SipHash, a fast short-input PRF), as lib/siphash.c. */

static __always_inline u64 rotate64(u64 word, u32 by)
{
	return word << by | word >> (64 - by);
}

static __always_inline void sip_round(u64 v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate64(v[1], 13) ^ v[0];
	v[3] = rotate64(v[3], 16) ^ v[2];
	v[0] = rotate64(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = rotate64(v[3], 21) ^ v[0];
	v[1] = rotate64(v[1], 17) ^ v[2];
	v[2] = rotate64(v[2], 32);
}

static __always_inline void sip_block(u64 v[4], u64 block)
{
	v[3] ^= block;
	sip_round(v);
	sip_round(v);
	v[0] ^= block;
}

/*
 * Of the flow's 16 bytes with the direction in the last one, and the rules' generation: what was
 * judged by rules that have changed since approves nothing.
 */
static __always_inline u64 flow_mac(const struct weft_state *st, const struct flow_packet *fp)
{
	const u32 generation = *(volatile const u32 *)&st->generation;
	const u64 *words = (const void *)&fp->flow;
	u64 v[4] = {
		st->secret[0] ^ 0x736f6d6570736575ULL,
		st->secret[1] ^ 0x646f72616e646f6dULL,
		st->secret[0] ^ 0x6c7967656e657261ULL,
		st->secret[1] ^ 0x7465646279746573ULL,
	};

	sip_block(v, words[0]);
	sip_block(v, words[1] ^ (u64)fp->dir << 56);
	sip_block(v, (u64)(sizeof(fp->flow) + sizeof(generation)) << 56 | generation);
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline void tag_set(struct __sk_buff *skb, const struct weft_state *st,
				    const struct flow_packet *fp)
{
	u64 mac = flow_mac(st, fp);

	bpf_set_hash(skb, mac);
	skb->tc_index = (u16)(mac >> 32) | WEFT_TAGGED;
}

static __always_inline bool tag_fits(const struct __sk_buff *skb, const struct weft_state *st,
				     const struct flow_packet *fp)
{
	u64 mac;

	if (!(skb->tc_index & WEFT_TAGGED))
		return false;
	mac = flow_mac(st, fp);
	return skb->hash == (u32)mac && skb->tc_index == ((u16)(mac >> 32) | WEFT_TAGGED);
}

/* Births and deaths of connections are the host's to see, where it judges. */
static __always_inline bool is_control(const struct weft_config *cfg, const struct flow_packet *fp)
{
	return cfg->flags & WEFT_CONFIG_APPROVE_HOST &&
	       fp->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST);
}

/*
 * Where a packet enters: may it take the fast path? If not, and if it may approve its flow, it is
 * tagged for its way through the stack. A connection that begins or ends must earn its approval
 * anew; where the host is not to judge, its SYN is enough.
 */
static __always_inline enum weft_reason
approve_entry(struct __sk_buff *skb, const struct weft_state *st, const struct weft_config *cfg,
	      const struct iphdr *ip, const void *data_end, enum weft_direction dir)
{
	struct flow_packet fp;
	enum weft_reason reason = flow_read(&fp, ip, data_end, dir);

	if (reason != WEFT_R_OK)
		return reason;
	if (is_control(cfg, &fp)) {
		forget(&fp.flow);
		return WEFT_R_CONTROL;
	}
	if ((fp.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		approve(st, &fp, true);
		return WEFT_R_OK;
	}
	reason = approval_check(st, &fp);
	if (reason != WEFT_R_OK)
		tag_set(skb, st, &fp);
	return reason;
}

/* At the bridge, where rules may have been at work already: fast for what is approved, no more. */
static __always_inline enum weft_reason approve_known(const struct weft_state *st,
						      const struct weft_config *cfg,
						      const struct iphdr *ip, const void *data_end)
{
	struct flow_packet fp;
	enum weft_reason reason = flow_read(&fp, ip, data_end, WEFT_EGRESS);

	if (reason != WEFT_R_OK)
		return reason;
	if (is_control(cfg, &fp))
		return WEFT_R_CONTROL;
	return approval_check(st, &fp);
}

/* For a packet that enters the stack anyway; whether it may approve is seen where it leaves. */
static __always_inline void tag_entry(struct __sk_buff *skb, const struct weft_state *st,
				      const struct iphdr *ip, const void *data_end,
				      enum weft_direction dir)
{
	struct flow_packet fp;

	if (ver_ihl(ip) == IP4_PLAIN && !ip4_is_fragment(ip) &&
	    flow_read(&fp, ip, data_end, dir) == WEFT_R_OK)
		tag_set(skb, st, &fp);
}

/*
 * Where a packet leaves the stack towards a peer or a pod: approve what crossed unchanged. What the
 * host made of another flow takes this one's place, so an approval of old must not cover it.
 */
static __always_inline void approve_exit(const struct __sk_buff *skb, const struct weft_state *st,
					 const struct iphdr *ip, const void *data_end,
					 enum weft_direction dir)
{
	struct flow_packet fp;

	if (ver_ihl(ip) != IP4_PLAIN || ip4_is_fragment(ip) ||
	    flow_read(&fp, ip, data_end, dir) != WEFT_R_OK)
		return;
	if (!tag_fits(skb, st, &fp))
		forget(&fp.flow);
	else if (!(fp.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		approve(st, &fp, false);
}

#endif
