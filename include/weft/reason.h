/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hooks, verdicts and reasons: the one list of what can happen to a packet.
 *
 * Every packet that meets a hook is counted there exactly once, as one (hook, verdict, reason).
 * BPF programs and the agent's own packet loop share this list; user/reason.c turns it into names
 * and asserts at compile time that each table is complete.
 */
#ifndef WEFT_REASON_H
#define WEFT_REASON_H

/*
 * Where a packet is counted. strip: XDP in front of the uplink, which counts no packet that it
 * leaves to the latter as it came; aggregate: the device behind which the uplink's single TCP
 * segments are merged again; vtep: the kernel's receiver of a format, what the uplink left to it;
 * enter: ingress of the overlay device, what the host stack is given; deliver: egress of a bridge
 * port, what it gives to a pod; tunfd and socket belong to the agent's TUN/UDP loop.
 */
#define WEFT_HOOKS(X) \
	X(PORT, "port") \
	X(BRIDGE, "bridge") \
	X(TUN, "tun") \
	X(STRIP, "strip") \
	X(UPLINK, "uplink") \
	X(AGGREGATE, "aggregate") \
	X(VTEP, "vtep") \
	X(ENTER, "enter") \
	X(DELIVER, "deliver") \
	X(TUNFD, "tunfd") \
	X(SOCKET, "socket")

/*
 * FAST: weft moved the packet to its next hop itself.
 * SLOW: handed on to the host stack (a BPF hook), or moved by the agent's loop (tunfd, socket).
 * DROP: refused here.
 */
#define WEFT_VERDICTS(X) \
	X(FAST, "fast") \
	X(SLOW, "slow") \
	X(DROP, "drop")

#define WEFT_REASONS(X) \
	X(OK, "ok") /* forwarded, nothing to remark */ \
	X(HOST, "host") /* uplink: decapsulated for this node's own stack */ \
	X(NOT_IPV4, "not_ipv4") /* ARP, IPv6, VLAN, ... */ \
	X(NOT_OVERLAY, "not_overlay") /* destination outside the overlay, or not our port */ \
	X(LOCAL, "local") /* destination inside this node's own subnet */ \
	X(NOT_GATEWAY, "not_gateway") /* frame not addressed to the bridge itself */ \
	X(SHORT, "short") /* frame too short for the headers it announces */ \
	X(BAD_IP4, "bad_ip4") /* version, IHL or lengths wrong */ \
	X(BAD_UDP, "bad_udp") /* outer UDP length disagrees with IP */ \
	X(FRAGMENT, "fragment") /* inner fragment */ \
	X(OUTER_FRAGMENT, "outer_fragment") /* outer fragment: the stack reassembles */ \
	X(IP_OPTIONS, "ip_options") /* inner header longer than 20 bytes */ \
	X(OUTER_OPTIONS, "outer_options") /* outer header longer than 20 bytes */ \
	X(TTL, "ttl") /* TTL used up: the stack answers time exceeded */ \
	X(NO_ROUTE, "no_route") /* inside the network, no lease */ \
	X(NO_ENDPOINT, "no_endpoint") /* local address not (yet) known as an endpoint */ \
	X(NO_NEIGHBOR, "no_neighbor") /* MAC of the peer's next hop not known */ \
	X(TOO_BIG, "too_big") /* does not fit the peer's MTU */ \
	X(GSO, "gso") /* segmentation type the fast path cannot carry */ \
	X(GLUED, "glued") /* several datagrams behind one outer header */ \
	X(BAD_VXLAN, "bad_vxlan") /* a reserved bit set, or none that says there is a VNI */ \
	X(VNI, "vni") /* another VXLAN network's */ \
	X(NOT_VTEP, "not_vtep") /* inner frame addressed to another MAC than this node's */ \
	X(ECN, "ecn") /* congestion seen by a flow that cannot be told (RFC 6040) */ \
	X(CHECKSUM, "checksum") /* outer UDP checksum present: verified by the socket */ \
	X(UNKNOWN_PEER, "unknown_peer") /* outer source holds no lease */ \
	X(SPOOFED_INNER, "spoofed_inner") /* inner source is not the sending member's */ \
	X(SPOOFED_LOCAL, "spoofed_local") /* a pod's, and not in its own name */ \
	X(FOREIGN_DST, "foreign_dst") /* inner destination outside this node's subnet */ \
	X(CONTROL, "control") /* TCP SYN, FIN or RST: conntrack must see it */ \
	X(PROTOCOL, "protocol") /* neither TCP, UDP nor ICMP echo: never approved */ \
	X(UNAPPROVED, "unapproved") /* the host has not let this direction of the flow through */ \
	X(STALE, "stale") /* approved too long ago */ \
	X(GENERATION, "generation") /* approved under rules that have changed since */ \
	X(DECLINED, "declined") /* bridge: the port hook has left it to the stack already */ \
	X(HELPER, "helper") /* a kernel helper refused (memory, headroom) */ \
	X(SEND, "send") /* the loop's sendto() or write() failed */ \
	X(DISABLED, "disabled") /* no valid configuration loaded */

enum weft_hook {
#define X(id, name) WEFT_HOOK_##id,
	WEFT_HOOKS(X)
#undef X
		WEFT_HOOK_MAX
};
#define WEFT_HOOK_LAST_BPF WEFT_HOOK_DELIVER /* those up to here are programs' */

enum weft_verdict {
#define X(id, name) WEFT_##id,
	WEFT_VERDICTS(X)
#undef X
		WEFT_VERDICT_MAX
};

enum weft_reason {
#define X(id, name) WEFT_R_##id,
	WEFT_REASONS(X)
#undef X
		WEFT_REASON_MAX
};

/* Index of a counter in the counters map (and in the loop's own table). */
#define WEFT_COUNTER(hook, verdict, reason) \
	(((hook)*WEFT_VERDICT_MAX + (verdict)) * WEFT_REASON_MAX + (reason))
#define WEFT_COUNTER_MAX (WEFT_HOOK_MAX * WEFT_VERDICT_MAX * WEFT_REASON_MAX)

#endif
