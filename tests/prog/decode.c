/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "decode.h"

#include <string.h>

#define ETH 14
#define ICMP 1
#define IPIP 4
#define TCP 6
#define UDP 17

static uint32_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

/* The cluster, by the table in cluster.h. */

static bool is_ours(uint32_t addr)
{
	return addr >> 8 == IN(1, 0) >> 8;
}

/* Last byte of the node's address that the address belongs to, 0 for none. */
static uint32_t owner(uint32_t addr)
{
	uint32_t subnet = addr >> 8 & 0xff;

	if (addr >> 16 != IN(0, 0) >> 16)
		return 0;
	switch (subnet) {
	case 2:
	case 3:
	case 4:
	case 6:
	case 10:
	case 11:
		return subnet;
	case 5:
		return addr & 0x80 ? 0 : 5;
	case 7:
		return 6;
	case 9:
		return 8;
	case 255:
		return 7;
	}
	return 0;
}

enum pod { UNKNOWN, HERE, ELSEWHERE, UNREACHABLE };

static enum pod pod_of(uint32_t addr)
{
	if (!is_ours(addr))
		return UNKNOWN;
	switch (addr & 0xff) {
	case 2:
		return HERE;
	case 3:
		return ELSEWHERE;
	case 5:
		return UNREACHABLE;
	}
	return UNKNOWN;
}

static bool is_node_itself(uint32_t addr)
{
	return is_ours(addr) && (addr & 0xff) <= 1;
}

static size_t overhead_to(uint32_t node)
{
	return node == 10 ? 50 : node == 11 ? 20 : 28;
}

/* Packets */

static bool is_whole(const uint8_t *ip, size_t room)
{
	return room >= 20 && ip[0] >> 4 == 4 && (ip[0] & 15) >= 5 &&
	       get16(ip + 2) >= (ip[0] & 15u) * 4 && get16(ip + 2) == room;
}

static bool is_fragment(const uint8_t *ip)
{
	return get16(ip + 6) & 0x3fff;
}

/* Can this packet go by an approval, and is there one? */
static bool is_approved(const struct decode_world *w, const uint8_t *ip, size_t room)
{
	const uint8_t *l4 = ip + 20;
	bool host = w->flags & WEFT_CONFIG_APPROVE_HOST;

	if (room < 28)
		return false;
	if (ip[9] == ICMP)
		return (l4[0] == 8 || l4[0] == 0) && l4[1] == 0 && w->approved;
	if (ip[9] == UDP)
		return w->approved;
	if (ip[9] != TCP || room < 34)
		return false;
	if (host && l4[13] & 7)
		return false;
	/* A SYN does so itself, but for the bridge, where rules may have been at work. */
	return w->approved || (w->hook != DECODE_BRIDGE && (l4[13] & 0x12) == 2);
}

/* Does the packet, or each segment that it will be cut into, fit? */
static bool fits(const struct decode_world *w, const uint8_t *ip, size_t room, uint32_t node)
{
	size_t overhead = overhead_to(node), mtu = node == 4 ? 1400 : 1500, len = room;

	if (room + overhead > 65535)
		return false;
	if (w->gso_size) {
		if (ip[0] != 0x45 || (ip[9] != UDP && (ip[9] != TCP || room < 40)) ||
		    (ip[9] == UDP && overhead == 20))
			return false;
		len = 20 + w->gso_size + (ip[9] == UDP ? 8 : (ip[32] >> 4) * 4u);
	}
	return len + overhead <= mtu;
}

/* Making the expected frame */

static void put_bytes(struct frame *f, const void *data, size_t len)
{
	if (len)
		memcpy(f->data + f->len, data, len);
	f->len += len;
}

static void put_outer(struct frame *f, const struct decode_world *w, uint32_t node,
		      const uint8_t *inner, size_t len)
{
	static const uint8_t vxlan[8] = {8, 0, 0, 0, 0, 0, 1, 0};
	size_t overhead = overhead_to(node);
	uint8_t ip[20] = {0x45}, udp[8] = {0};

	if (w->flags & WEFT_CONFIG_INHERIT_DSCP)
		ip[1] = inner[1] & 0xfc;
	if (overhead != 28)
		ip[1] |= inner[1] & 3;
	put16(ip + 2, (uint16_t)(len + overhead));
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = overhead == 20 ? IPIP : UDP;
	put32(ip + 12, NODE);
	put32(ip + 16, OUT(node));
	put16(ip + 10, packet_checksum(ip, 20));
	put16(udp, overhead == 28 ? 8285 : 8472);
	put16(udp + 2, overhead == 28 ? 8285 : 8472);
	put16(udp + 4, (uint16_t)(len + overhead - 20));
	packet_put_eth(f, peer_mac, uplink_mac, 0);
	put_bytes(f, ip, 20);
	if (overhead != 20)
		put_bytes(f, udp, 8);
	if (overhead == 50) {
		put_bytes(f, vxlan, 8);
		packet_put_eth(f, peer_vtep, node_vtep, 0);
	}
}

/* One router's work, or a congestion mark, on the header at `at` of the frame. */
static void update(struct decoded *out, size_t at, const uint8_t *was)
{
	out->updated = at;
	out->was = was;
}

static void send_to(const struct decode_world *w, uint32_t node, const uint8_t *ip, size_t len,
		    struct decoded *out)
{
	size_t at;

	out->verdict = DECODE_SENT;
	out->resolved = node != 3;
	out->out.len = 0;
	put_outer(&out->out, w, node, ip, len);
	at = out->out.len;
	put_bytes(&out->out, ip, len);
	if (w->flags & WEFT_CONFIG_ENTROPY && node != 11)
		out->any_port = ETH + 20;
	if (w->hook == DECODE_TUN)
		return;
	out->out.data[at + 8]--;
	update(out, at, ip);
}

/* Sending */

/* What a node would decapsulate if it came from the underlay; other nodes than us are there. */
static bool is_encapsulated(const struct decode_world *w, const struct frame *in)
{
	const uint8_t *ip = in->data + ETH;
	size_t at = ETH + (ip[0] & 15u) * 4;

	if (get32(ip + 16) >> 16 == IN(0, 0) >> 16)
		return false;
	if (ip[9] == IPIP)
		return w->formats & 1 << WEFT_FORMAT_IPIP;
	if (ip[9] != UDP || get16(ip + 6) & 0x1fff || in->len < at + 8)
		return false;
	if (get16(in->data + at + 2) == 8285)
		return w->formats & 1 << WEFT_FORMAT_UDP;
	return get16(in->data + at + 2) == 8472 && w->formats & 1 << WEFT_FORMAT_VXLAN;
}

/* The host may be told to send it on, so this is refused wherever it goes. */
static enum decode_verdict judge_detour(const struct decode_world *w, const struct frame *in)
{
	if (w->hook != DECODE_PORT)
		return DECODE_LEFT;
	return pod_of(get32(in->data + ETH + 12)) == ELSEWHERE || is_encapsulated(w, in)
		       ? DECODE_REFUSED
		       : DECODE_LEFT;
}

/* RFC 4861; so is what hides its type behind six extension headers (RFC 8200) and more. */
static bool is_router_advert(const struct frame *in)
{
	size_t at = ETH + 40;
	uint8_t next = in->data[ETH + 6];

	if (in->len < ETH + 7 || get16(in->data + 12) != 0x86dd)
		return false;
	for (int i = 0; i < 6; i++) {
		if (in->len < at + 2)
			return false;
		if (next == 58)
			return in->data[at] == 134;
		if (next != 0 && next != 43 && next != 60)
			return false;
		next = in->data[at];
		at += (in->data[at + 1] + 1u) * 8;
	}
	return true;
}

/* A tag that is still in the frame is the second one. */
static bool is_tagged(const struct frame *in)
{
	return in->len >= ETH && (get16(in->data + 12) == 0x8100 || get16(in->data + 12) == 0x88a8);
}

static void decode_pod(const struct decode_world *w, const struct frame *in, struct decoded *out)
{
	const uint8_t *ip = in->data + ETH;
	size_t room = in->len - ETH;
	bool gateway = !memcmp(in->data, bridge_mac, 6), known;
	uint32_t saddr, node;

	if (is_router_advert(in) || is_tagged(in))
		out->verdict = DECODE_REFUSED;
	if (in->len < ETH + 20 || get16(in->data + 12) != 0x0800)
		return;
	saddr = get32(ip + 12);
	node = owner(get32(ip + 16));
	if (!gateway || !node || !is_whole(ip, room)) {
		out->verdict = judge_detour(w, in);
		return;
	}
	known = w->hook == DECODE_BRIDGE || pod_of(saddr) == HERE || pod_of(saddr) == UNREACHABLE;
	if (!is_ours(saddr) || is_node_itself(saddr) ||
	    (w->hook == DECODE_PORT && pod_of(saddr) == ELSEWHERE))
		out->verdict = DECODE_REFUSED;
	else if (known && ip[0] == 0x45 && !is_fragment(ip) && ip[8] > 1 && node != 8 &&
		 fits(w, ip, room, node) && is_approved(w, ip, room))
		send_to(w, node, ip, room, out);
}

static void decode_tun(const struct decode_world *w, const struct frame *in, struct decoded *out)
{
	const uint8_t *ip = in->data;
	uint32_t node;

	if (!is_whole(ip, in->len))
		return;
	node = owner(get32(ip + 16));
	if (!node)
		return;
	if (w->flags & WEFT_CONFIG_PEER_CHECK && !is_ours(get32(ip + 12)))
		out->verdict = DECODE_REFUSED;
	else if (node != 8 && fits(w, ip, in->len, node))
		send_to(w, node, ip, in->len, out);
}

/* Receiving */

/* Bytes in front of the inner packet behind Ethernet; 0: not for us, or not for the fast path. */
static size_t outer_of(const struct decode_world *w, const uint8_t *ip, size_t room)
{
	static const uint8_t vxlan[8] = {8, 0, 0, 0, 0, 0, 1, 0};
	const uint8_t *udp = ip + 20;

	if (room < 28 || ip[0] != 0x45 || get32(ip + 16) != NODE || is_fragment(ip) ||
	    get16(ip + 2) != room)
		return 0;
	if (ip[9] == IPIP)
		return w->formats & 1 << WEFT_FORMAT_IPIP ? 20 : 0;
	if (ip[9] != UDP || get16(udp + 4) != room - 20 || (get16(udp + 6) && !w->verified))
		return 0;
	if (get16(udp + 2) == 8285)
		return w->formats & 1 << WEFT_FORMAT_UDP ? 28 : 0;
	if (get16(udp + 2) != 8472 || !(w->formats & 1 << WEFT_FORMAT_VXLAN) || room < 50 ||
	    memcmp(udp + 8, vxlan, 8) || memcmp(udp + 16, node_vtep, 6) ||
	    get16(udp + 28) != 0x0800)
		return 0;
	return 50;
}

/* RFC 6040, figure 4: -1 is loss. */
static int ecn_of(uint8_t outer, uint8_t inner)
{
	static const int table[4][4] = {
		/* by the outer: Not-ECT, ECT(1), ECT(0), CE */
		{0, 0, 0, -1},
		{1, 1, 1, 3},
		{2, 1, 2, 3},
		{3, 3, 3, 3},
	};

	return table[inner & 3][outer & 3];
}

static bool accepts(const struct decode_world *w, const uint8_t *outer, const uint8_t *inner)
{
	uint32_t saddr = get32(inner + 12), node = owner(saddr);
	bool checked = w->flags & WEFT_CONFIG_PEER_CHECK;

	return !is_ours(saddr) && is_ours(get32(inner + 16)) &&
	       (!checked || (node && OUT(node) == get32(outer + 12))) &&
	       ecn_of(outer[1], inner[1]) >= 0;
}

/* IP in IP of a load balancer, say. */
static bool is_others(const struct decode_world *w, const uint8_t *outer, const uint8_t *inner)
{
	return outer[9] == IPIP && w->flags & WEFT_CONFIG_PEER_CHECK &&
	       get32(inner + 12) >> 16 != IN(0, 0) >> 16;
}

/* May it go straight to its pod, leave apart? */
static bool is_plain(const uint8_t *inner)
{
	enum pod pod = pod_of(get32(inner + 16));

	return inner[0] == 0x45 && !is_fragment(inner) && inner[8] > 1 &&
	       (pod == HERE || pod == ELSEWHERE);
}

/* Ethernet as it came, and the inner packet with what the network has told the outer one. */
static void unwrap(struct decoded *out, const struct frame *in, size_t overhead)
{
	const uint8_t *inner = in->data + ETH + overhead;
	int ecn = ecn_of(in->data[ETH + 1], inner[1]);

	out->out.len = 0;
	put_bytes(&out->out, in->data, ETH);
	put_bytes(&out->out, inner, in->len - ETH - overhead);
	out->out.data[ETH + 1] = (uint8_t)((inner[1] & 0xfc) | ecn);
	update(out, ETH, inner);
}

static void put_macs(struct decoded *out, const uint8_t *dst, const uint8_t *src)
{
	memcpy(out->out.data, dst, 6);
	memcpy(out->out.data + 6, src, 6);
}

static void deliver(struct decoded *out)
{
	out->verdict = DECODE_DELIVERED;
	put_macs(out, pod_mac, bridge_mac);
	out->out.data[ETH + 8]--;
}

static void decode_uplink(const struct decode_world *w, const struct frame *in, struct decoded *out)
{
	static const uint8_t aggregate_mac[6] = DECODE_AGGREGATOR;
	const uint8_t *ip = in->data + ETH, *inner;
	size_t overhead, room;

	if (in->len < ETH + 28 || get16(in->data + 12) != 0x0800 || memcmp(in->data, uplink_mac, 6))
		return;
	overhead = outer_of(w, ip, in->len - ETH);
	inner = ip + overhead;
	room = in->len - ETH - overhead;
	if (!overhead || !is_whole(inner, room) || is_others(w, ip, inner))
		return;
	if (!accepts(w, ip, inner)) {
		out->verdict = DECODE_REFUSED;
		return;
	}
	if (w->gso_size && inner[9] == UDP && overhead != 20)
		return;
	unwrap(out, in, overhead);
	out->verdict = DECODE_HANDED;
	if (w->aggregates && overhead != 20 && inner[9] == TCP && !w->gso_size && in->len >= 1000) {
		if (is_plain(inner)) {
			out->verdict = DECODE_AGGREGATED;
			put_macs(out, aggregate_mac, aggregate_mac);
		}
	} else if (is_plain(inner) && is_approved(w, inner, room)) {
		deliver(out);
	}
}

/* What is not for a pod and beyond doubt is left to the uplink's hook. */
static void decode_strip(const struct decode_world *w, const struct frame *in, struct decoded *out)
{
	const uint8_t *ip = in->data + ETH, *inner;
	size_t overhead;

	if (in->len < ETH + 28 || get16(in->data + 12) != 0x0800 || memcmp(in->data, uplink_mac, 6))
		return;
	overhead = outer_of(w, ip, in->len - ETH);
	inner = ip + overhead;
	if (!overhead || !is_whole(inner, in->len - ETH - overhead) || !accepts(w, ip, inner))
		return;
	if (overhead != 20 && get16(ip + 26))
		return;
	/* An inner source without a node behind it, or one not resolved yet, tells no MAC. */
	if (!owner(get32(inner + 12)) || owner(get32(inner + 12)) == 3 ||
	    owner(get32(inner + 12)) == 8 || !is_plain(inner))
		return;
	unwrap(out, in, overhead);
	out->verdict = DECODE_HANDED;
}

static void decode_stripped(const struct decode_world *w, const struct frame *in,
			    struct decoded *out)
{
	const uint8_t *ip = in->data + ETH;
	uint32_t daddr = in->len < ETH + 20 ? 0 : get32(ip + 16);
	enum pod pod = pod_of(daddr);

	if (in->len < ETH + 20 || get16(in->data + 12) != 0x0800 || !is_ours(daddr)) {
		out->verdict = DECODE_REFUSED;
		return;
	}
	out->verdict = DECODE_HANDED;
	if ((pod != HERE && pod != ELSEWHERE) || !is_approved(w, ip, in->len - ETH))
		return;
	update(out, ETH, ip);
	deliver(out);
}

/* The stack trims what is behind the packet. Nothing but what is for us gets on. */
static void decode_vtep(const struct decode_world *w, const struct frame *in, struct decoded *out)
{
	const uint8_t *ip = in->data + ETH;
	uint32_t saddr, node;

	out->verdict = DECODE_REFUSED;
	if (in->len < ETH + 20 || get16(in->data + 12) != 0x0800 || memcmp(in->data, uplink_mac, 6))
		return;
	if (w->local && w->local != NODE)
		return;
	if (w->vni != 1 || get16(ip + 2) > in->len - ETH || !is_whole(ip, get16(ip + 2)))
		return;
	saddr = get32(ip + 12);
	node = owner(saddr);
	if (is_ours(saddr) || !is_ours(get32(ip + 16)))
		return;
	if (!(w->flags & WEFT_CONFIG_PEER_CHECK) || (node && OUT(node) == w->remote))
		out->verdict = DECODE_HANDED;
}

void decode(const struct decode_world *w, const struct frame *in, struct decoded *out)
{
	static void (*const hooks[])(const struct decode_world *, const struct frame *,
				     struct decoded *) = {
		[DECODE_PORT] = decode_pod,    [DECODE_BRIDGE] = decode_pod,
		[DECODE_TUN] = decode_tun,     [DECODE_UPLINK] = decode_uplink,
		[DECODE_STRIP] = decode_strip, [DECODE_STRIPPED] = decode_stripped,
		[DECODE_VTEP] = decode_vtep,
	};

	out->verdict = DECODE_LEFT;
	out->resolved = true;
	out->updated = out->any_port = 0;
	out->out.len = 0;
	put_bytes(&out->out, in->data, in->len);
	if (w->flags & WEFT_CONFIG_READY)
		hooks[w->hook](w, in, out);
	else if (w->hook == DECODE_VTEP)
		out->verdict = DECODE_REFUSED;
}

/* One's complement sum of the header's 20 bytes: what an update must not change. */
static uint32_t sum_of(const uint8_t *ip)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += get16(ip + i);
	return sum % 0xffff;
}

static bool is_dynamic_port(const uint8_t *at)
{
	return get16(at) >= 49152;
}

bool decode_fits(const struct decoded *want, const uint8_t *got, size_t len)
{
	struct frame copy;

	if (len != want->out.len || len > sizeof(copy.data))
		return false;
	memcpy(copy.data, got, len);
	if (want->updated) {
		const uint8_t *ip = got + want->updated;

		if (sum_of(ip) != sum_of(want->was))
			return false;
		memcpy(copy.data + want->updated + 10, want->out.data + want->updated + 10, 2);
	}
	if (want->any_port) {
		if (!is_dynamic_port(got + want->any_port))
			return false;
		memcpy(copy.data + want->any_port, want->out.data + want->any_port, 2);
	}
	return memcmp(copy.data, want->out.data, len) == 0;
}
