/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Remote node → pod or host: the uplink hook, and what a pod is given after it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "aggregate.h"
#include "approve.h"
#include "decap.h"
#include "strip.h"
#include "verdict.h"

/* What must be readable to tell the format apart, and to judge the inner packet behind it. */
#define OUTER_LEN (WEFT_ETH_HLEN + WEFT_IP4_HLEN + WEFT_UDP_HLEN)
#define HEADERS_LEN(format) (WEFT_ETH_HLEN + format_overhead(format) + WEFT_IP4_HLEN + L4_HLEN)

#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4

/* RFC 1191 section 4, and RFC 792: the IPv4 header in question and 8 bytes of what follows it. */
struct frag_needed {
	u8 type, code;
	__be16 check, unused, mtu;
	struct iphdr ip;
	struct udphdr udp;
};

/* Pointers, valid until the next pull. False when the frame is too short for them. */
static __always_inline bool find_outer(struct __sk_buff *skb, struct outer *outer)
{
	outer->eth = skb_data(skb);
	outer->ip = (void *)(outer->eth + 1);
	outer->udp = (void *)(outer->ip + 1);
	outer->data_end = skb_data_end(skb);
	return (void *)(outer->udp + 1) <= outer->data_end;
}

/*
 * IP in IP has no port by which to tell ours from others' (load balancers use it, too). Without an
 * inner source of the overlay there is nothing that would be believed.
 */
static __always_inline bool is_others_ipip(const struct weft_config *cfg, const struct iphdr *inner)
{
	return cfg->flags & WEFT_CONFIG_PEER_CHECK && !in_network(cfg, bpf_ntohl(inner->saddr));
}

/*
 * UDP that is still to be cut, on a wire that carries tunnels' packets whole. Nothing a program can
 * do makes the kernel forget the tunnel, and it would later cut this at headers that are gone
 * (skb_udp_tunnel_segment(), net/ipv4/udp_offload.c): its sockets and devices do that well.
 */
static __always_inline bool is_cut_as_tunnel(const struct __sk_buff *skb, const struct iphdr *inner,
					     enum weft_format format)
{
	return format != WEFT_FORMAT_IPIP && inner->protocol == IPPROTO_UDP && skb->gso_size;
}

static __always_inline enum weft_reason classify_as(struct __sk_buff *skb, struct ingress *in,
						    enum weft_format format)
{
	enum weft_reason reason;
	struct outer outer;
	struct iphdr *inner;

	pull_headers(skb, HEADERS_LEN(format));
	if (!find_outer(skb, &outer))
		return WEFT_R_SHORT;
	inner = (void *)outer.ip + format_overhead(format);
	if (bpf_ntohs(outer.ip->tot_len) != skb->len - WEFT_ETH_HLEN)
		return WEFT_R_BAD_IP4;
	reason = format_check(format, in->cfg, &outer);
	if (reason != WEFT_R_OK)
		return reason;
	if (outer_has_checksum(format, &outer) && bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0)
		return WEFT_R_CHECKSUM;
	if ((void *)(inner + 1) > outer.data_end)
		return WEFT_R_SHORT;
	if (format == WEFT_FORMAT_IPIP && is_others_ipip(in->cfg, inner))
		return WEFT_R_NOT_OVERLAY;
	reason = accept_inner(in, &outer, inner, skb->len - WEFT_ETH_HLEN - format_overhead(format),
			      skb->gso_size);
	if (reason == WEFT_R_OK && is_cut_as_tunnel(skb, inner, format))
		reason = WEFT_R_GSO;
	if (reason != WEFT_R_OK)
		return reason;
	notice_mac(in->peer, &outer, skb->ifindex);
	in->detour = find_endpoint(in, inner);
	/* ipip is merged by the kernel. */
	if (format != WEFT_FORMAT_IPIP && inner->protocol == IPPROTO_TCP)
		in->aggregate =
			wants_aggregation(in->cfg, skb, bpf_ntohs(outer.udp->source), skb->len);
	/* What will be merged is judged behind the aggregator, once for many segments. */
	if (in->detour == WEFT_R_OK && !in->aggregate)
		in->detour =
			approve_entry(skb, in->st, in->cfg, inner, outer.data_end, WEFT_INGRESS);
	return WEFT_R_OK;
}

/*
 * ICMP "fragmentation needed" (RFC 1191) about a packet of ours: the kernel knows no socket with
 * the flow's source port and would not learn from it. What can be seen here of a forgery is
 * refused; the agent judges the rest.
 */
static __always_inline void notice_mtu(struct __sk_buff *skb, const struct weft_config *cfg)
{
	struct frag_needed *icmp;
	struct outer about = {};
	void *data_end;

	pull_headers(skb, WEFT_ETH_HLEN + WEFT_IP4_HLEN + sizeof(*icmp));
	icmp = skb_data(skb) + WEFT_ETH_HLEN + WEFT_IP4_HLEN;
	data_end = skb_data_end(skb);
	if ((void *)(icmp + 1) > data_end || icmp->type != ICMP_DEST_UNREACH ||
	    icmp->code != ICMP_FRAG_NEEDED || icmp->ip.saddr != cfg->local_ip ||
	    ver_ihl(&icmp->ip) != IP4_PLAIN || ip4_is_fragment(&icmp->ip) ||
	    bpf_ntohs(icmp->ip.tot_len) <= bpf_ntohs(icmp->mtu))
		return;
	about.ip = &icmp->ip;
	about.udp = &icmp->udp;
	if (format_of(cfg, &about) != WEFT_FORMAT_MAX &&
	    bpf_map_lookup_elem(&members, &icmp->ip.daddr))
		hint_send(WEFT_HINT_PATH_MTU, skb->ifindex, icmp->ip.daddr, cfg->bridge_mac,
			  bpf_ntohs(icmp->mtu));
}

static __always_inline enum weft_reason
identify(struct __sk_buff *skb, const struct weft_config *cfg, enum weft_format *format)
{
	enum weft_reason reason;
	struct outer outer;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return WEFT_R_NOT_IPV4;
	if (skb->pkt_type != PACKET_HOST)
		return WEFT_R_NOT_OVERLAY;
	pull_headers(skb, OUTER_LEN);
	if (!find_outer(skb, &outer))
		return WEFT_R_SHORT;
	if (outer.ip->protocol == IPPROTO_ICMP && outer.ip->daddr == cfg->local_ip &&
	    ver_ihl(outer.ip) == IP4_PLAIN && !ip4_is_fragment(outer.ip)) {
		notice_mtu(skb, cfg);
		return WEFT_R_NOT_OVERLAY;
	}
	reason = outer_check_address(cfg, &outer);
	*format = format_of(cfg, &outer);
	return reason == WEFT_R_OK && *format == WEFT_FORMAT_MAX ? WEFT_R_NOT_OVERLAY : reason;
}

/* Stripped, unchanged inside: the host stack routes it as if it had come out of the TUN device. */
static __always_inline int to_host(struct __sk_buff *skb, const struct ingress *in,
				   enum weft_hook hook, u32 len)
{
	if (!reason_is_tagged(in->detour))
		skb->tc_index = 0;
	count(skb, hook, in->detour == WEFT_R_HOST ? WEFT_FAST : WEFT_SLOW, in->detour, len);
	return bpf_redirect(in->cfg->tun_ifindex, BPF_F_INGRESS);
}

/* Straight into the pod's namespace: this node's router in one step. */
static __always_inline int to_pod(struct __sk_buff *skb, const struct ingress *in,
				  enum weft_hook hook, u32 len)
{
	struct ethhdr *eth = skb_data(skb);
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > skb_data_end(skb))
		return drop(skb, hook, WEFT_R_HELPER, len);
	mac_copy(eth->h_dest, in->ep->mac);
	mac_copy(eth->h_source, in->cfg->bridge_mac);
	ip4_decrease_ttl(ip);
	count(skb, hook, WEFT_FAST, WEFT_R_OK, len);
	return bpf_redirect_peer(in->ep_ifindex, 0);
}

/* The address makes it the far end's own, so that the frames of a flow are alike and accepted. */
static __always_inline int to_aggregator(struct __sk_buff *skb, const struct ingress *in, u32 len)
{
	struct ethhdr *eth = skb_data(skb);

	if ((void *)(eth + 1) > skb_data_end(skb))
		return drop(skb, WEFT_HOOK_UPLINK, WEFT_R_HELPER, len);
	mac_copy(eth->h_dest, in->cfg->aggregate_mac);
	mac_copy(eth->h_source, in->cfg->aggregate_mac);
	/* "Received on this CPU's queue": it picks the pair's queue, no second hash does. */
	skb->queue_mapping = bpf_get_smp_processor_id() + 1;
	count(skb, WEFT_HOOK_UPLINK, WEFT_FAST, WEFT_R_OK, len);
	return bpf_redirect(in->cfg->aggregate_ifindex, 0);
}

/* The router that knows of congestion tells the flow. */
static __always_inline void mark_ecn(struct __sk_buff *skb, u32 at, u8 ecn)
{
	struct iphdr *ip = skb_data(skb) + at;

	if ((void *)(ip + 1) <= skb_data_end(skb))
		ip4_set_ecn(ip, ecn);
}

static __always_inline int receive_as(struct __sk_buff *skb, struct ingress *in, u32 len,
				      enum weft_format format)
{
	enum weft_reason reason = classify_as(skb, in, format);

	if (reason != WEFT_R_OK)
		return decline(skb, WEFT_HOOK_UPLINK, reason, len);
	if (bpf_skb_adjust_room(skb, -(int)format_overhead(format), BPF_ADJ_ROOM_MAC, DECAP_FLAGS))
		return decline(skb, WEFT_HOOK_UPLINK, WEFT_R_HELPER, len);
	if (in->marked)
		mark_ecn(skb, WEFT_ETH_HLEN, in->ecn);
	if (in->detour != WEFT_R_OK || !in->ep)
		return to_host(skb, in, WEFT_HOOK_UPLINK, len);
	if (in->aggregate)
		return to_aggregator(skb, in, len);
	return to_pod(skb, in, WEFT_HOOK_UPLINK, len);
}

/*
 * What lost its outer headers before this hook has passed all checks, and may have been merged
 * since; its endpoint may have moved in between. Approval is left to do, once for many segments.
 */
static __always_inline int deliver_stripped(struct __sk_buff *skb, enum weft_hook hook)
{
	const struct weft_state *st = state_get();
	struct ingress in = {.st = st, .cfg = config_get(st), .detour = WEFT_R_NO_ENDPOINT};
	u32 len = skb->len;
	struct iphdr *ip;

	if (!in.cfg)
		return decline(skb, hook, WEFT_R_DISABLED, len);
	pull_headers(skb, WEFT_ETH_HLEN + WEFT_IP4_HLEN + L4_HLEN);
	ip = skb_data(skb) + WEFT_ETH_HLEN;
	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > skb_data_end(skb) ||
	    !in_subnet(in.cfg, bpf_ntohl(ip->daddr)))
		return drop(skb, hook, WEFT_R_BAD_IP4, len);
	in.ep = endpoint_lookup(in.cfg, bpf_ntohl(ip->daddr), &in.ep_ifindex);
	if (in.ep && in.ep->flags & WEFT_ENDPOINT_DIRECT)
		in.detour = approve_entry(skb, st, in.cfg, ip, skb_data_end(skb), WEFT_INGRESS);
	return in.detour == WEFT_R_OK ? to_pod(skb, &in, hook, len) : to_host(skb, &in, hook, len);
}

/* A device that takes the VLAN tag off does not show it to the strip program. */
static __always_inline int receive_stripped(struct __sk_buff *skb)
{
	if (skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return drop(skb, WEFT_HOOK_UPLINK, WEFT_R_NOT_OVERLAY, skb->len);
	/* What a device may have verified was the outer checksum: see DECAP_FLAGS. */
	bpf_csum_level(skb, BPF_CSUM_LEVEL_RESET);
	return deliver_stripped(skb, WEFT_HOOK_UPLINK);
}

SEC("tc")
int weft_uplink(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	struct ingress in = {.st = st, .cfg = config_get(st)};
	enum weft_format format;
	enum weft_reason reason;
	u32 len = skb->len;

	if (is_stripped(skb))
		return receive_stripped(skb);
	if (!in.cfg)
		return decline(skb, WEFT_HOOK_UPLINK, WEFT_R_DISABLED, len);
	reason = identify(skb, in.cfg, &format);
	if (reason != WEFT_R_OK)
		return decline(skb, WEFT_HOOK_UPLINK, reason, len);
	switch (format) {
#define X(id, name, overhead) \
	case WEFT_FORMAT_##id: \
		return receive_as(skb, &in, len, WEFT_FORMAT_##id);
		WEFT_FORMATS(X)
#undef X
	default:
		return decline(skb, WEFT_HOOK_UPLINK, WEFT_R_NOT_OVERLAY, len);
	}
}

/* An Ethernet frame of VXLAN, still to be told apart from another network's. */
static __always_inline enum weft_reason
check_frame(struct __sk_buff *skb, const struct weft_config *cfg, const struct bpf_tunnel_key *key)
{
	if (skb->pkt_type != PACKET_HOST)
		return WEFT_R_NOT_VTEP;
	return bpf_htonl(key->tunnel_id << 8) == cfg->vxlan_vni ? WEFT_R_OK : WEFT_R_VNI;
}

/* The packet behind hlen bytes of the link's header. */
static __always_inline enum weft_reason
check_decapsulated(struct __sk_buff *skb, const struct weft_config *cfg, __be32 outer_src, u32 hlen)
{
	const struct weft_peer *peer;
	enum weft_reason reason;
	struct iphdr *ip;

	pull_headers(skb, hlen + WEFT_IP4_HLEN);
	ip = skb_data(skb) + hlen;
	if ((void *)(ip + 1) > skb_data_end(skb))
		return WEFT_R_SHORT;
	/* Frames may be padded: the stack trims them. */
	if (bpf_ntohs(ip->tot_len) > skb->len - hlen)
		return WEFT_R_BAD_IP4;
	reason = ip4_check_lengths(ip, bpf_ntohs(ip->tot_len));
	if (reason == WEFT_R_OK)
		reason = check_sender(cfg, outer_src, bpf_ntohl(ip->saddr), &peer);
	if (reason == WEFT_R_OK && !in_subnet(cfg, bpf_ntohl(ip->daddr)))
		reason = WEFT_R_FOREIGN_DST;
	return reason;
}

/* Linux before 5.18 does not tell where a packet was sent to, and refuses more than it knows. */
#define OLD_TUNNEL_KEY_LEN __builtin_offsetof(struct bpf_tunnel_key, local_ipv4)

/* The kernel's socket hears all addresses of the host. */
static __always_inline enum weft_reason
read_tunnel_key(struct __sk_buff *skb, const struct weft_config *cfg, struct bpf_tunnel_key *key)
{
	if (bpf_skb_get_tunnel_key(skb, key, sizeof(*key), 0) == 0)
		return key->local_ipv4 == bpf_ntohl(cfg->local_ip) ? WEFT_R_OK : WEFT_R_NOT_OVERLAY;
	return bpf_skb_get_tunnel_key(skb, key, OLD_TUNNEL_KEY_LEN, 0) ? WEFT_R_HELPER : WEFT_R_OK;
}

static __always_inline enum weft_reason check_kernels(struct __sk_buff *skb,
						      const struct weft_config *cfg)
{
	struct bpf_tunnel_key key = {};
	enum weft_reason reason;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return WEFT_R_NOT_IPV4;
	reason = read_tunnel_key(skb, cfg, &key);
	if (reason != WEFT_R_OK)
		return reason;
	if (cfg->flags & WEFT_CONFIG_VTEP_BARE)
		return check_decapsulated(skb, cfg, bpf_htonl(key.remote_ipv4), 0);
	reason = check_frame(skb, cfg, &key);
	if (reason != WEFT_R_OK)
		return reason;
	return check_decapsulated(skb, cfg, bpf_htonl(key.remote_ipv4), WEFT_ETH_HLEN);
}

/*
 * The device of the kernel's VXLAN or FOU socket: what the uplink hook left to the kernel,
 * reassembled or verified since. Nobody but us may bring packets into the host by it, so what is
 * not accepted is dropped.
 */
SEC("tc")
int weft_vtep(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	struct ingress in = {.st = st, .cfg = config_get(st), .detour = WEFT_R_OK};
	enum weft_reason reason;
	u32 len = skb->len;

	if (!in.cfg)
		return drop(skb, WEFT_HOOK_VTEP, WEFT_R_DISABLED, len);
	reason = check_kernels(skb, in.cfg);
	if (reason != WEFT_R_OK)
		return drop(skb, WEFT_HOOK_VTEP, reason, len);
	return to_host(skb, &in, WEFT_HOOK_VTEP, len);
}

/* The aggregator's far end. */
SEC("tc")
int weft_aggregate(struct __sk_buff *skb)
{
	return deliver_stripped(skb, WEFT_HOOK_AGGREGATE);
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
		return decline(skb, WEFT_HOOK_ENTER, WEFT_R_DISABLED, skb->len);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return decline(skb, WEFT_HOOK_ENTER, WEFT_R_NOT_IPV4, skb->len);
	pull_headers(skb, WEFT_IP4_HLEN + L4_HLEN);
	ip = skb_data(skb);
	if ((void *)(ip + 1) > skb_data_end(skb))
		return decline(skb, WEFT_HOOK_ENTER, WEFT_R_SHORT, skb->len);
	reason = check_way(cfg, ip);
	if (reason == WEFT_R_OK && !(skb->tc_index & WEFT_TAGGED) &&
	    bpf_ntohl(ip->daddr) - cfg->subnet > 1)
		tag_entry(skb, st, ip, skb_data_end(skb), WEFT_INGRESS);
	return decline(skb, WEFT_HOOK_ENTER, reason, skb->len);
}

/* Is it the overlay's, and does it leave through its pod's own port? */
static __always_inline enum weft_reason
classify_delivery(struct __sk_buff *skb, const struct weft_config *cfg, struct iphdr **ip)
{
	u32 ifindex;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return WEFT_R_NOT_IPV4;
	pull_headers(skb, WEFT_ETH_HLEN + WEFT_IP4_HLEN + L4_HLEN);
	*ip = skb_data(skb) + WEFT_ETH_HLEN;
	if ((void *)(*ip + 1) > skb_data_end(skb))
		return WEFT_R_SHORT;
	if (check_way(cfg, *ip) != WEFT_R_OK)
		return WEFT_R_NOT_OVERLAY;
	endpoint_lookup(cfg, bpf_ntohl((*ip)->daddr), &ifindex);
	return ifindex == skb->ifindex ? WEFT_R_OK : WEFT_R_NO_ENDPOINT;
}

SEC("tc")
int weft_deliver(struct __sk_buff *skb)
{
	const struct weft_state *st = state_get();
	const struct weft_config *cfg = config_get(st);
	enum weft_reason reason;
	struct iphdr *ip;

	if (!cfg)
		return decline(skb, WEFT_HOOK_DELIVER, WEFT_R_DISABLED, skb->len);
	reason = classify_delivery(skb, cfg, &ip);
	if (reason == WEFT_R_OK)
		approve_exit(skb, st, ip, skb_data_end(skb), WEFT_INGRESS);
	return decline(skb, WEFT_HOOK_DELIVER, reason, skb->len);
}
