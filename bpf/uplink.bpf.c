/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Remote node → pod or host: the uplink hook, and what a pod is given after it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "aggregate.h"
#include "approve.h"
#include "decap.h"
#include "verdict.h"

#define HEADERS_LEN (WEFT_HEADER_LEN + WEFT_IP4_HLEN + L4_HLEN)

/* What is left to know once the packet is accepted: where it goes and why not straight there. */
struct ingress {
	const struct weft_state *st;
	const struct weft_config *cfg;
	const struct weft_endpoint *ep;
	enum weft_reason detour; /* WEFT_R_OK: straight to the endpoint */
	bool aggregate; /* by way of the aggregator */
};

/* The stack must answer, reassemble or route what a plain delivery would get wrong. */
static __always_inline enum weft_reason find_endpoint(struct ingress *in, const struct iphdr *inner,
						      u32 daddr)
{
	if (ver_ihl(inner) != IP4_PLAIN)
		return WEFT_R_IP_OPTIONS;
	if (ip4_is_fragment(inner))
		return WEFT_R_FRAGMENT;
	/* The subnet's base is the overlay device's address, the next one the bridge's. */
	if (daddr - in->cfg->subnet <= 1)
		return WEFT_R_HOST;
	if (inner->ttl <= 1)
		return WEFT_R_TTL;
	in->ep = endpoint_lookup(in->cfg, daddr);
	return in->ep && in->ep->flags & WEFT_ENDPOINT_DIRECT ? WEFT_R_OK : WEFT_R_NO_ENDPOINT;
}

/* Traffic shows a MAC that is not the one we send to: the agent asks the network again. */
static __always_inline void notice_mac(const struct __sk_buff *skb, const struct outer *outer,
				       const struct weft_peer *peer)
{
	if (peer && peer->flags & WEFT_PEER_RESOLVED && !(peer->flags & WEFT_PEER_ASYMMETRIC) &&
	    !mac_equal(peer->eth_dst, outer->eth->h_source))
		hint_send(WEFT_HINT_PEER_MAC, skb->ifindex, outer->ip->saddr, outer->eth->h_source);
}

static __always_inline enum weft_reason classify(struct __sk_buff *skb, struct ingress *in)
{
	const struct weft_peer *peer;
	enum weft_reason reason;
	struct outer outer;
	struct iphdr *inner;
	void *data_end;
	u32 daddr;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return WEFT_R_NOT_IPV4;
	if (skb->pkt_type != PACKET_HOST)
		return WEFT_R_NOT_OVERLAY;
	pull_headers(skb, HEADERS_LEN);
	outer.eth = skb_data(skb);
	outer.ip = (void *)(outer.eth + 1);
	outer.udp = (void *)(outer.ip + 1);
	inner = (void *)(outer.udp + 1);
	data_end = skb_data_end(skb);
	if ((void *)inner > data_end)
		return WEFT_R_SHORT;
	reason = outer_check_address(in->cfg, &outer);
	if (reason == WEFT_R_OK)
		reason = outer_check_payload(skb, &outer);
	if (reason != WEFT_R_OK)
		return reason;
	if ((void *)(inner + 1) > data_end)
		return WEFT_R_SHORT;
	reason = inner_check(skb, inner, skb->len - WEFT_HEADER_LEN);
	if (reason == WEFT_R_OK)
		reason = check_sender(in->cfg, outer.ip->saddr, bpf_ntohl(inner->saddr), &peer);
	if (reason != WEFT_R_OK)
		return reason;
	daddr = bpf_ntohl(inner->daddr);
	if (!in_subnet(in->cfg, daddr))
		return WEFT_R_FOREIGN_DST;
	notice_mac(skb, &outer, peer);
	in->detour = find_endpoint(in, inner, daddr);
	if (inner->protocol == IPPROTO_TCP)
		in->aggregate =
			wants_aggregation(in->cfg, skb, bpf_ntohs(outer.udp->source), skb->len);
	/* What will be merged is judged behind the aggregator, once for many segments. */
	if (in->detour == WEFT_R_OK && !in->aggregate)
		in->detour = approve_entry(skb, in->st, in->cfg, inner, data_end, WEFT_INGRESS);
	return WEFT_R_OK;
}

/* Stripped, unchanged inside: the host stack routes it as if it had come out of the TUN device. */
static __always_inline int to_host(struct __sk_buff *skb, const struct ingress *in,
				   enum weft_hook hook, u32 len)
{
	if (!reason_is_tagged(in->detour))
		skb->tc_index = 0;
	count(hook, in->detour == WEFT_R_HOST ? WEFT_FAST : WEFT_SLOW, in->detour, len);
	return bpf_redirect(in->cfg->tun_ifindex, BPF_F_INGRESS);
}

/* Straight into the pod's namespace: this node's router in one step. */
static __always_inline int to_pod(struct __sk_buff *skb, const struct ingress *in,
				  enum weft_hook hook, u32 len)
{
	struct ethhdr *eth = skb_data(skb);
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > skb_data_end(skb))
		return drop(hook, WEFT_R_HELPER, len);
	mac_copy(eth->h_dest, in->ep->mac);
	mac_copy(eth->h_source, in->cfg->bridge_mac);
	ip4_decrease_ttl(ip);
	count(hook, WEFT_FAST, WEFT_R_OK, len);
	return bpf_redirect_peer(in->ep->ifindex, 0);
}

/* The address makes it the far end's own, so that the frames of a flow are alike and accepted. */
static __always_inline int to_aggregator(struct __sk_buff *skb, const struct ingress *in, u32 len)
{
	struct ethhdr *eth = skb_data(skb);

	if ((void *)(eth + 1) > skb_data_end(skb))
		return drop(WEFT_HOOK_UPLINK, WEFT_R_HELPER, len);
	mac_copy(eth->h_dest, in->cfg->aggregate_mac);
	mac_copy(eth->h_source, in->cfg->aggregate_mac);
	/* "Received on this CPU's queue": it picks the pair's queue, no second hash does. */
	skb->queue_mapping = bpf_get_smp_processor_id() + 1;
	count(WEFT_HOOK_UPLINK, WEFT_FAST, WEFT_R_OK, len);
	return bpf_redirect(in->cfg->aggregate_ifindex, 0);
}

SEC("tc")
int weft_uplink(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	struct ingress in = {.st = st, .cfg = config_get(st)};
	enum weft_reason reason;
	u32 len = skb->len;

	if (!in.cfg)
		return decline(WEFT_HOOK_UPLINK, WEFT_R_DISABLED, len);
	reason = classify(skb, &in);
	if (reason != WEFT_R_OK)
		return decline(WEFT_HOOK_UPLINK, reason, len);
	if (bpf_skb_adjust_room(skb, -WEFT_OVERHEAD, BPF_ADJ_ROOM_MAC, DECAP_FLAGS))
		return decline(WEFT_HOOK_UPLINK, WEFT_R_HELPER, len);
	if (in.detour != WEFT_R_OK || !in.ep)
		return to_host(skb, &in, WEFT_HOOK_UPLINK, len);
	if (in.aggregate)
		return to_aggregator(skb, &in, len);
	return to_pod(skb, &in, WEFT_HOOK_UPLINK, len);
}

/*
 * The aggregator's far end: what arrives here passed all checks at the uplink and has been merged
 * since. Its endpoint may have moved in between.
 */
SEC("tc")
int weft_aggregate(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	struct ingress in = {.st = st, .cfg = config_get(st), .detour = WEFT_R_NO_ENDPOINT};
	struct ethhdr *eth = skb_data(skb);
	struct iphdr *ip = (void *)(eth + 1);
	u32 len = skb->len;

	if (!in.cfg)
		return decline(WEFT_HOOK_AGGREGATE, WEFT_R_DISABLED, len);
	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > skb_data_end(skb) ||
	    !in_subnet(in.cfg, bpf_ntohl(ip->daddr)))
		return drop(WEFT_HOOK_AGGREGATE, WEFT_R_BAD_IP4, len);
	in.ep = endpoint_lookup(in.cfg, bpf_ntohl(ip->daddr));
	if (in.ep && in.ep->flags & WEFT_ENDPOINT_DIRECT)
		in.detour = approve_entry(skb, st, in.cfg, ip, skb_data_end(skb), WEFT_INGRESS);
	return in.detour == WEFT_R_OK ? to_pod(skb, &in, WEFT_HOOK_AGGREGATE, len)
				      : to_host(skb, &in, WEFT_HOOK_AGGREGATE, len);
}

/* From the overlay to a pod of this node? */
static __always_inline enum weft_reason check_way(const struct weft_config *cfg,
						  const struct iphdr *ip)
{
	u32 saddr = bpf_ntohl(ip->saddr);

	if (!in_network(cfg, saddr) || in_subnet(cfg, saddr) ||
	    !in_subnet(cfg, bpf_ntohl(ip->daddr)))
		return WEFT_R_NOT_OVERLAY;
	return WEFT_R_OK;
}

/*
 * What the uplink hook and the agent's socket hand to the host stack. The latter's cannot bear a
 * tag before they are here.
 */
SEC("tc")
int weft_enter(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	const struct weft_config *cfg = config_get(st);
	enum weft_reason reason = WEFT_R_OK;
	struct iphdr *ip;

	if (!cfg)
		return decline(WEFT_HOOK_ENTER, WEFT_R_DISABLED, skb->len);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return decline(WEFT_HOOK_ENTER, WEFT_R_NOT_IPV4, skb->len);
	pull_headers(skb, WEFT_IP4_HLEN + L4_HLEN);
	ip = skb_data(skb);
	if ((void *)(ip + 1) > skb_data_end(skb))
		return decline(WEFT_HOOK_ENTER, WEFT_R_SHORT, skb->len);
	reason = check_way(cfg, ip);
	if (reason == WEFT_R_OK && !(skb->tc_index & WEFT_TAGGED) &&
	    bpf_ntohl(ip->daddr) - cfg->subnet > 1)
		tag_entry(skb, st, ip, skb_data_end(skb), WEFT_INGRESS);
	return decline(WEFT_HOOK_ENTER, reason, skb->len);
}

/* Is it the overlay's, and does it leave through its pod's own port? */
static __always_inline enum weft_reason
classify_delivery(struct __sk_buff *skb, const struct weft_config *cfg, struct iphdr **ip)
{
	const struct weft_endpoint *ep;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return WEFT_R_NOT_IPV4;
	pull_headers(skb, WEFT_ETH_HLEN + WEFT_IP4_HLEN + L4_HLEN);
	*ip = skb_data(skb) + WEFT_ETH_HLEN;
	if ((void *)(*ip + 1) > skb_data_end(skb))
		return WEFT_R_SHORT;
	if (check_way(cfg, *ip) != WEFT_R_OK)
		return WEFT_R_NOT_OVERLAY;
	ep = endpoint_lookup(cfg, bpf_ntohl((*ip)->daddr));
	return ep && ep->ifindex == skb->ifindex ? WEFT_R_OK : WEFT_R_NO_ENDPOINT;
}

SEC("tc")
int weft_deliver(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	const struct weft_config *cfg = config_get(st);
	enum weft_reason reason;
	struct iphdr *ip;

	if (!cfg)
		return decline(WEFT_HOOK_DELIVER, WEFT_R_DISABLED, skb->len);
	reason = classify_delivery(skb, cfg, &ip);
	if (reason == WEFT_R_OK)
		approve_exit(skb, st, ip, skb_data_end(skb), WEFT_INGRESS);
	return decline(WEFT_HOOK_DELIVER, reason, skb->len);
}
