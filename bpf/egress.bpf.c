/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pod → remote node: the port and bridge hooks, and the overlay device's egress. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "approve.h"
#include "encap.h"
#include "icmp6.h"
#include "verdict.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* A packet on its way to a peer; pointers are valid until the packet is changed. */
struct egress {
	const struct weft_state *st;
	const struct weft_config *cfg;
	const struct weft_peer *peer;
	struct iphdr *ip;
	void *data_end;
	u32 saddr; /* host order */
};

/* Destination first: most of what is not ours is told apart by it. */
static __always_inline enum weft_reason find_peer(struct egress *e)
{
	u32 daddr = bpf_ntohl(e->ip->daddr);
	u32 slot;

	if (!in_network(e->cfg, daddr))
		return WEFT_R_NOT_OVERLAY;
	if (in_subnet(e->cfg, daddr))
		return WEFT_R_LOCAL;
	slot = route_lookup(e->cfg, daddr);
	e->peer = peer_lookup(slot);
	return e->peer ? WEFT_R_OK : WEFT_R_NO_ROUTE;
}

/*
 * A pod may send from its own address only, and only through its own port. The subnet's first two
 * addresses are the node's: its overlay device and its bridge.
 */
static __always_inline enum weft_reason check_source(struct __sk_buff *skb, struct egress *e,
						     const struct ethhdr *eth, enum weft_hook hook)
{
	u32 ifindex;

	e->saddr = bpf_ntohl(e->ip->saddr);
	if (!in_subnet(e->cfg, e->saddr) || e->saddr - e->cfg->subnet <= 1)
		return WEFT_R_SPOOFED_LOCAL;
	if (hook != WEFT_HOOK_PORT)
		return WEFT_R_OK;
	if (!endpoint_lookup(e->cfg, e->saddr, &ifindex)) {
		hint_send(WEFT_HINT_ENDPOINT, skb->ifindex, e->ip->saddr, eth->h_source, 0);
		return WEFT_R_NO_ENDPOINT;
	}
	return ifindex == skb->ifindex ? WEFT_R_OK : WEFT_R_SPOOFED_LOCAL;
}

/*
 * What a peer would decapsulate is for nodes to send. The host may give it the node's own address
 * on its way out (masquerade), and the peer would believe its inner source.
 */
static __always_inline bool is_encapsulated(const struct __sk_buff *skb, const struct egress *e)
{
	struct udphdr udp = {};
	const struct outer outer = {.ip = e->ip, .udp = &udp};

	if (in_network(e->cfg, bpf_ntohl(e->ip->daddr)))
		return false;
	if (e->ip->protocol != IPPROTO_IPIP &&
	    (e->ip->protocol != IPPROTO_UDP || e->ip->frag_off & bpf_htons(IP_OFFSET) ||
	     bpf_skb_load_bytes(skb, WEFT_ETH_HLEN + (ver_ihl(e->ip) & 0xf) * 4, &udp,
				sizeof(udp))))
		return false;
	return format_of(e->cfg, &outer) != WEFT_FORMAT_MAX;
}

/*
 * Another pod's address is refused wherever the frame goes, and however it is padded: the host may
 * translate its destination into one on the overlay, and listens to more MACs than the gateway's.
 */
static __always_inline enum weft_reason
check_neighbour(const struct __sk_buff *skb, const struct egress *e, enum weft_reason reason)
{
	u32 saddr = bpf_ntohl(e->ip->saddr), ifindex;

	if (is_encapsulated(skb, e))
		return WEFT_R_SPOOFED_LOCAL;
	if (!in_subnet(e->cfg, saddr))
		return reason;
	return endpoint_lookup(e->cfg, saddr, &ifindex) && ifindex != skb->ifindex
		       ? WEFT_R_SPOOFED_LOCAL
		       : reason;
}

/* What a router must leave to the full stack. */
static __always_inline enum weft_reason check_plain(const struct __sk_buff *skb,
						    const struct iphdr *ip)
{
	if (skb->vlan_present)
		return WEFT_R_NOT_IPV4;
	if (ver_ihl(ip) != IP4_PLAIN)
		return WEFT_R_IP_OPTIONS;
	if (ip4_is_fragment(ip))
		return WEFT_R_FRAGMENT;
	return ip->ttl <= 1 ? WEFT_R_TTL : WEFT_R_OK;
}

static __always_inline enum weft_reason check_peer(const struct __sk_buff *skb,
						   const struct egress *e)
{
	if (!e->peer->ifindex)
		return WEFT_R_NO_NEIGHBOR;
	return check_size(skb, e->peer, e->ip, e->data_end);
}

static __always_inline enum weft_reason check_approved(struct __sk_buff *skb,
						       const struct egress *e, enum weft_hook hook)
{
	if (hook == WEFT_HOOK_BRIDGE)
		return approve_known(e->st, e->cfg, e->ip, e->data_end);
	return approve_entry(skb, e->st, e->cfg, e->ip, e->data_end, WEFT_EGRESS);
}

/* The host takes a tag without an identifier (IEEE 802.1Q: of priority) for none at all. */
static __always_inline bool has_vlan_id(const struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_VID_MASK;
}

/*
 * What a pod has no business with. The first of two VLAN tags was taken off before this hook; the
 * host may take off the second one as well, and what is inside would have met no check.
 */
static __always_inline bool is_forbidden(struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_8021Q) ||
	       skb->protocol == bpf_htons(ETH_P_8021AD) || is_router_advert(skb);
}

static __always_inline enum weft_reason classify_pod(struct __sk_buff *skb, struct egress *e,
						     enum weft_hook hook)
{
	struct ethhdr *eth;
	enum weft_reason reason;

	if (skb->protocol != bpf_htons(ETH_P_IP) || has_vlan_id(skb))
		return WEFT_R_NOT_IPV4;
	if (hook == WEFT_HOOK_BRIDGE && skb->tc_index)
		return WEFT_R_DECLINED;
	pull_headers(skb, WEFT_ETH_HLEN + WEFT_IP4_HLEN + L4_HLEN);
	eth = skb_data(skb);
	e->data_end = skb_data_end(skb);
	e->ip = (void *)(eth + 1);
	if ((void *)(e->ip + 1) > e->data_end)
		return WEFT_R_SHORT;
	reason = mac_equal(eth->h_dest, e->cfg->bridge_mac)
			 ? ip4_check_lengths(e->ip, skb->len - WEFT_ETH_HLEN)
			 : WEFT_R_NOT_GATEWAY;
	if (reason == WEFT_R_OK)
		reason = find_peer(e);
	if (reason == WEFT_R_OK)
		reason = check_source(skb, e, eth, hook);
	else if (hook == WEFT_HOOK_PORT)
		return check_neighbour(skb, e, reason);
	if (reason == WEFT_R_OK)
		reason = check_plain(skb, e->ip);
	if (reason == WEFT_R_OK)
		reason = check_peer(skb, e);
	if (reason == WEFT_R_OK)
		reason = check_approved(skb, e, hook);
	return reason;
}

/* The host stack has routed it already: options and fragments only need carrying. */
static __always_inline enum weft_reason classify_routed(struct __sk_buff *skb, struct egress *e)
{
	enum weft_reason reason;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return WEFT_R_NOT_IPV4;
	pull_headers(skb, WEFT_IP4_HLEN + L4_HLEN);
	e->ip = skb_data(skb);
	e->data_end = skb_data_end(skb);
	if ((void *)(e->ip + 1) > e->data_end)
		return WEFT_R_SHORT;
	reason = ip4_check_lengths(e->ip, skb->len);
	if (reason == WEFT_R_OK)
		reason = find_peer(e);
	if (reason != WEFT_R_OK)
		return reason;
	e->saddr = bpf_ntohl(e->ip->saddr);
	if ((e->cfg->flags & WEFT_CONFIG_PEER_CHECK) && !in_subnet(e->cfg, e->saddr))
		return WEFT_R_SPOOFED_LOCAL;
	return check_peer(skb, e);
}

/* Where the next hop's MAC is not known yet, the kernel asks for it, also when no agent lives. */
static __always_inline int send_to(struct __sk_buff *skb, const struct weft_peer *peer,
				   enum weft_hook hook, u32 len)
{
	if (!(peer->flags & WEFT_PEER_RESOLVED)) {
		count(skb, hook, WEFT_FAST, WEFT_R_NO_NEIGHBOR, len);
		return bpf_redirect_neigh(peer->ifindex, NULL, 0, 0);
	}
	count(skb, hook, WEFT_FAST, WEFT_R_OK, len);
	return bpf_redirect(peer->ifindex, 0);
}

/* A tag is for approve_entry() to give, never for a pod to bring along. */
static __always_inline int decline_pod(struct __sk_buff *skb, enum weft_hook hook,
				       enum weft_reason reason, u32 len)
{
	if (hook == WEFT_HOOK_PORT && !reason_is_tagged(reason))
		skb->tc_index = WEFT_SEEN;
	return decline(skb, hook, reason, len);
}

/* Before the packet is changed: pointers into it are valid no longer then. */
static __always_inline struct wrap wrap_for(const struct __sk_buff *skb, const struct egress *e,
					    u32 inner_len, enum weft_format format)
{
	return (struct wrap){
		.cfg = e->cfg,
		.peer = e->peer,
		.inner_len = inner_len,
		.sport = source_port(e->cfg, e->peer, flow_hash(skb, e->ip, e->data_end)),
		.tos = outer_tos(e->cfg, e->peer, e->ip->tos, format),
	};
}

static __always_inline int send_pod_as(struct __sk_buff *skb, const struct egress *e,
				       enum weft_hook hook, u32 len, enum weft_format format)
{
	struct wrap w = wrap_for(skb, e, len - WEFT_ETH_HLEN, format);
	struct iphdr *ip;

	if (format_make_room(skb, format))
		return decline_pod(skb, hook, WEFT_R_HELPER, len);
	ip = skb_data(skb) + WEFT_ETH_HLEN + format_overhead(format);
	if ((void *)(ip + 1) > skb_data_end(skb))
		return drop(skb, hook, WEFT_R_HELPER, len);
	ip4_decrease_ttl(ip);
	format_write(format, skb_data(skb), &w);
	return send_to(skb, e->peer, hook, len);
}

static __always_inline int from_pod(struct __sk_buff *skb, enum weft_hook hook)
{
	const struct weft_state *st = state_get();
	struct egress e = {.st = st, .cfg = config_get(st)};
	enum weft_reason reason;
	u32 len = skb->len;

	if (!e.cfg)
		return decline_pod(skb, hook, WEFT_R_DISABLED, len);
	reason = classify_pod(skb, &e, hook);
	if (reason == WEFT_R_NOT_IPV4 && is_forbidden(skb))
		return drop(skb, hook, reason, len);
	if (reason != WEFT_R_OK)
		return decline_pod(skb, hook, reason, len);
	switch (e.peer->format) {
#define X(id, name, overhead) \
	case WEFT_FORMAT_##id: \
		return send_pod_as(skb, &e, hook, len, WEFT_FORMAT_##id);
		WEFT_FORMATS(X)
#undef X
	}
	return decline_pod(skb, hook, WEFT_R_DISABLED, len);
}

SEC("tc")
int weft_port(struct __sk_buff *skb)
{
	return from_pod(skb, WEFT_HOOK_PORT);
}

SEC("tc")
int weft_bridge(struct __sk_buff *skb)
{
	return from_pod(skb, WEFT_HOOK_BRIDGE);
}

/* Room first: it is the step that may refuse, and the packet must then be unchanged. */
static __always_inline int send_routed_as(struct __sk_buff *skb, const struct egress *e, u32 len,
					  enum weft_format format)
{
	struct wrap w = wrap_for(skb, e, len, format);
	const enum weft_hook hook = WEFT_HOOK_TUN;

	if (format_make_room(skb, format))
		return decline(skb, hook, WEFT_R_HELPER, len);
	if (bpf_skb_change_head(skb, WEFT_ETH_HLEN, 0) ||
	    skb_data(skb) + WEFT_ETH_HLEN + format_overhead(format) > skb_data_end(skb))
		return drop(skb, hook, WEFT_R_HELPER, len);
	format_write(format, skb_data(skb), &w);
	return send_to(skb, e->peer, hook, len);
}

SEC("tc")
int weft_tun(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	struct egress e = {.st = st, .cfg = config_get(st)};
	const enum weft_hook hook = WEFT_HOOK_TUN;
	enum weft_reason reason;
	u32 len = skb->len;

	if (!e.cfg)
		return decline(skb, hook, WEFT_R_DISABLED, len);
	reason = classify_routed(skb, &e);
	if (reason != WEFT_R_OK)
		return decline(skb, hook, reason, len);
	if (in_subnet(e.cfg, e.saddr) && e.saddr - e.cfg->subnet > 1)
		approve_exit(skb, st, e.ip, e.data_end, WEFT_EGRESS);
	switch (e.peer->format) {
#define X(id, name, overhead) \
	case WEFT_FORMAT_##id: \
		return send_routed_as(skb, &e, len, WEFT_FORMAT_##id);
		WEFT_FORMATS(X)
#undef X
	}
	return decline(skb, hook, WEFT_R_DISABLED, len);
}
