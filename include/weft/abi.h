/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel boundary: layouts and limits of the maps that bpf/ and user/ share.
 *
 * Everything here is pinned and outlives the agent, so a change of any layout or meaning must
 * raise WEFT_ABI_VERSION. The maps of a version have a directory of their own; a newer agent fills
 * its own maps, has the programs replaced, and then drops the older ones. What the store does not
 * tell is taken over: `counters`, which both versions' programs share if the layout is the same,
 * and `endpoints`, by copy, so these may grow at their end only. Approvals are given anew. Fields
 * named __be* are in network byte order, all others in host order.
 *
 * Atomicity. Programs read these maps without locks while the agent writes them:
 *  (1) A cell of `routes` is one aligned 32-bit word, stored atomically through mmap. Where network
 *      or cell_shift change, all cells are WEFT_ROUTE_LPM until the new configuration is in force.
 *  (2) A peer slot is written only while no cell and no prefix refers to it, and is reused only
 *      after an RCU grace period; a change of a peer is a new slot and a flip of its cells.
 *  (3) An endpoint is invalidated (ifindex = 0), a grace period passes, then it is rewritten and
 *      its ifindex stored last. While it is invalid its packets take the slow path.
 *  (4) The configuration is double-buffered: a new one goes into the unused half of `state`, then
 *      `active` flips in one store; the old half is left alone until a grace period has passed.
 *  (5) A direction of an approval is one aligned 64-bit word; so are generation and lifetimes words
 *      of their own. The secret is written once, before the first configuration.
 */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include <linux/types.h>

#include "weft/format.h"
#include "weft/reason.h"

#ifndef static_assert
#define static_assert _Static_assert
#endif

/* Tests of upgrades build another version, whose values are larger (make ABI=VERSION). */
#ifdef WEFT_ABI_TEST
#define WEFT_ABI_VERSION WEFT_ABI_TEST
#define WEFT_ABI_PAD 2
#else
#define WEFT_ABI_VERSION 4
#define WEFT_ABI_PAD 0
#endif

#define WEFT_OUTER_TTL 64
/* Dynamic ports (RFC 6335 section 6): 49152 to 65535, from the inner flow's hash. */
#define WEFT_SPORT_MIN 49152
#define WEFT_SPORT_RANGE 16384

/* Cells of the route index: a /8 network of /24 subnets fits exactly. */
#define WEFT_MAX_ROUTES 65536
/* Slot 0 means "no route"; the surplus lets a full set of peers be replaced in steps. */
#define WEFT_MAX_PEERS (WEFT_MAX_ROUTES + 1024)
/* Addresses of the node's own subnet, which may be as large as a /16. */
#define WEFT_MAX_ENDPOINTS 65536

/* Values of a cell of `routes`. Any other value is a slot of `peers`. */
#define WEFT_ROUTE_NONE 0
#define WEFT_ROUTE_LOCAL 0xfffffffeU /* inside this node's own subnet */
#define WEFT_ROUTE_LPM 0xffffffffU /* prefixes longer than a cell: ask `prefixes` */

enum weft_peer_flags {
	WEFT_PEER_RESOLVED = 1 << 0, /* MACs are valid; else the kernel is to find them */
	WEFT_PEER_ASYMMETRIC = 1 << 1, /* answers from another MAC than it is reached by */
};

/*
 * Outer headers of one peer, prebuilt: one cache line. What its format has beyond UDP is short and
 * made from the configuration; of a format without UDP those 8 bytes are not sent.
 */
struct weft_peer {
	__u8 eth_dst[6];
	__u8 eth_src[6];
	__be16 eth_proto;
	/* IPv4, RFC 791: tot_len, id and check are zero; DF set; TTL WEFT_OUTER_TTL. */
	__u8 ver_ihl;
	__u8 tos; /* DSCP only */
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__be16 check;
	__be32 saddr;
	__be32 daddr; /* the lease's PublicIP: also the accepted outer source */
	/* UDP, RFC 768: length and check are zero. */
	__be16 sport;
	__be16 dport;
	__be16 len;
	__be16 udp_check;
	/* From here on not on the wire. */
	__u16 flags; /* WEFT_PEER_* */
	__u32 ifindex; /* where to send: the route's device, 0 = no way */
	__u32 ip_csum; /* unfolded sum of the IPv4 header above with TOS 0, as 16-bit wire words */
	__u32 mtu; /* largest outer packet (IPv4 total length), bytes */
	__u8 format; /* enum weft_format */
	__u8 overhead; /* bytes of all outer headers from IPv4 on */
	__u8 vtep_mac[6]; /* vxlan: whom the inner frame is addressed to */
} __attribute__((packed, aligned(64)));
static_assert(sizeof(struct weft_peer) == 64, "a peer is one cache line");
static_assert(__builtin_offsetof(struct weft_peer, ver_ihl) == WEFT_ETH_HLEN, "IPv4 offset");
static_assert(__builtin_offsetof(struct weft_peer, sport) == 34, "UDP offset");
static_assert(__builtin_offsetof(struct weft_peer, flags) == 42, "header length");

/* Key of the `prefixes` LPM trie; the value is a slot of `peers` or WEFT_ROUTE_LOCAL. */
struct weft_prefix {
	__u32 prefixlen;
	__be32 addr;
};
static_assert(sizeof(struct weft_prefix) == 8, "LPM key");

enum weft_endpoint_flags {
	/* ifindex is a veth whose peer is in another namespace: redirect-peer may deliver. */
	WEFT_ENDPOINT_DIRECT = 1 << 0,
};

/* One local pod; the index is its address minus the subnet's base. */
struct weft_endpoint {
	__u32 ifindex; /* bridge port, 0 = unknown */
	__u16 flags; /* WEFT_ENDPOINT_* */
	__u8 mac[6]; /* the pod's MAC */
	__u32 pad[1 + WEFT_ABI_PAD];
};
static_assert(sizeof(struct weft_endpoint) == 16 + 4 * WEFT_ABI_PAD, "map value is ABI");

enum weft_config_flags {
	WEFT_CONFIG_READY = 1 << 0, /* unset: every program passes every packet */
	WEFT_CONFIG_PEER_CHECK = 1 << 1,
	WEFT_CONFIG_ENTROPY = 1 << 2, /* source port from the flow hash */
	WEFT_CONFIG_APPROVE_HOST = 1 << 3, /* else a SYN approves its own connection */
	WEFT_CONFIG_INHERIT_DSCP = 1 << 4, /* outer DSCP from the inner packet, not the peer's */
	WEFT_CONFIG_VTEP_BARE = 1 << 5, /* vtep: packets come without an Ethernet header (FOU) */
};

struct weft_config {
	__u32 flags; /* WEFT_CONFIG_* */
	__u32 network; /* base address of the overlay, host order */
	__u32 network_mask; /* host order */
	__u32 subnet; /* own subnet, host order */
	__u32 subnet_mask; /* host order */
	__u32 cell_shift; /* cell = (addr - network) >> cell_shift */
	__be32 local_ip; /* the uplink's address, also where peers are told another (NAT) */
	__be16 port; /* UDP port of format udp */
	__u16 pad0;
	__u32 tun_ifindex;
	__u32 uplink_ifindex; /* for doctor, who may have to do without the agent */
	__u8 bridge_mac[6]; /* destination MAC of routed pod traffic; zero = no bridge yet */
	__u16 pad1;
	__u32 aggregate_ifindex; /* device that merges TCP segments, 0 = none */
	__u8 aggregate_mac[6]; /* of that device's far end */
	__be16 vxlan_port;
	__be32 vxlan_vni; /* as on the wire: the identifier, then a reserved zero byte */
	__u8 vtep_mac[6]; /* this node's, by which peers address inner frames to it */
	__u16 formats; /* accepted ones, bit by enum weft_format */
	__u32 pad2[2];
};
static_assert(sizeof(struct weft_config) == 80, "map value is ABI");

/* The one value of the `state` map. */
struct weft_state {
	__u32 active; /* which half is valid: 0 or 1 */
	__u32 generation; /* of the host's rules, never 0 */
	__u32 ttl_tcp; /* jiffies that an approval lasts */
	__u32 ttl_other;
	__u64 secret[2]; /* SipHash key of the tags */
	__u32 pad[8 + WEFT_ABI_PAD];
	struct weft_config half[2];
};
static_assert(sizeof(struct weft_state) == 224 + 4 * WEFT_ABI_PAD, "map value is ABI");

/*
 * A connection as this node sees it: the key of `approvals`. For ICMP echo local_port is the
 * identifier, and remote_port tells who asks: the local end (WEFT_ECHO_LOCAL) or the remote one.
 */
struct weft_flow {
	__be32 local; /* a pod of this node */
	__be32 remote;
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};
static_assert(sizeof(struct weft_flow) == 16, "map key is ABI");

#define WEFT_ECHO_LOCAL 1 /* host order */
#define WEFT_APPROVE_MAX 262144 /* entries, unless the agent is told otherwise */

enum weft_direction { WEFT_EGRESS, WEFT_INGRESS };

/* The host let this flow through, by direction of its packets. */
struct weft_approval {
	struct weft_approved {
		__u32 generation; /* of the rules; 0 = not approved */
		__u32 since; /* jiffies, the low 32 bits but for WEFT_APPROVED_SHORT */
	} __attribute__((aligned(8))) by[2];
};
static_assert(sizeof(struct weft_approval) == 16, "map value is ABI");

/* In since: it lasts for a sixth of the time (approved_since() of bpf/approve.h). */
#define WEFT_APPROVED_SHORT 1U

/* How long an approval of this time lasts, in jiffies. */
static inline __attribute__((always_inline)) __u32 weft_approved_ttl(const struct weft_state *st,
								     __u8 protocol, __u32 since)
{
	if (protocol == 6) /* TCP */
		return st->ttl_tcp;
	return since & WEFT_APPROVED_SHORT ? st->ttl_other / 6 : st->ttl_other;
}

/*
 * How a packet is recognised when it has crossed the host stack: its tc_index and its hash, which
 * no rule of the host reads. Bit 0 of tc_index: both together are a SipHash of the packet's
 * five-tuple and direction. WEFT_SEEN: the port hook has judged it, no more.
 */
#define WEFT_TAGGED 1
#define WEFT_SEEN 2

/*
 * Does a flow arrive in single segments of full size? Per CPU, indexed by the outer source port:
 * flows that share an entry share its choice of path, which costs speed only. Times in jiffies.
 */
#define WEFT_BULK_FLOWS 1024
#define WEFT_BULK_LEN 1000 /* bytes: an outer frame that is worth merging */
#define WEFT_BULK_HOLD 2 /* a flow stays with the aggregator so long after such a frame */
#define WEFT_BULK_GSO_HOLD 256 /* and away from it so long after an aggregate */

struct weft_bulk {
	__u32 last_full; /* when a single full frame was seen */
	__u32 last_gso; /* when an aggregate was seen */
};
static_assert(sizeof(struct weft_bulk) == 8, "map value is ABI");

struct weft_counter {
	__u64 packets; /* one per skb: a GSO packet counts once */
	__u64 bytes; /* skb length at the hook, link header included where there is one */
};

/* What a program asks the agent to look at; sent through the `hints` ring buffer. */
enum weft_hint_type {
	WEFT_HINT_ENDPOINT = 1, /* addr was seen as source on port ifindex with mac */
	WEFT_HINT_PEER_MAC = 2, /* peer addr sends from mac, which is not its resolved one */
	WEFT_HINT_PATH_MTU = 3, /* a router says that it takes mtu bytes at most towards addr */
};

struct weft_hint {
	__u32 type;
	__u32 ifindex;
	__be32 addr;
	__u8 mac[6];
	__u16 mtu;
};
static_assert(sizeof(struct weft_hint) == 20, "ring buffer record is ABI");

#endif
