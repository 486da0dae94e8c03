/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "coalesce.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#include "checksum.h"
#include "segment.h"

#define TCP_CWR 0x80
/* After these nothing of a flow is merged, as the kernel has it. */
#define TCP_ENDS (TH_FIN | TH_SYN | TH_RST | TH_PUSH | TH_URG)

/* A packet on its way in, and what decides whether it may be merged. */
struct arrival {
	uint8_t *packet;
	const struct ip4_info *info;
	size_t headers, payload;
};

static struct iphdr read_ip(const uint8_t *packet)
{
	struct iphdr ip;

	memcpy(&ip, packet, sizeof(ip));
	return ip;
}

static struct tcphdr read_tcp(const uint8_t *packet)
{
	struct tcphdr tcp;

	memcpy(&tcp, packet + sizeof(struct iphdr), sizeof(tcp));
	return tcp;
}

static uint8_t *first_packet(const struct coalesced *held)
{
	return held->slices[0].iov_base;
}

void coalesce_init(struct coalesce *c, coalesce_emit_fn emit, void *arg)
{
	*c = (struct coalesce){.emit = emit, .arg = arg};
	for (unsigned int i = 0; i < COALESCE_FLOWS; i++)
		c->spare[i] = &c->held[i];
}

/* Addresses, protocol and ports. */
static bool is_same_flow(const struct coalesced *held, const struct arrival *a)
{
	return held->info.saddr == a->info->saddr && held->info.daddr == a->info->daddr &&
	       held->info.protocol == a->info->protocol &&
	       memcmp(first_packet(held) + IP4_MIN_HLEN, a->packet + IP4_MIN_HLEN, 4) == 0;
}

static struct coalesced *find(const struct coalesce *c, const struct arrival *a)
{
	for (unsigned int i = 0; i < c->n_held; i++)
		if (is_same_flow(c->order[i], a))
			return c->order[i];
	return NULL;
}

/* The headers of one large packet, its checksum left to the kernel. */
static void finish(struct coalesced *held)
{
	size_t l4_len = held->len - IP4_MIN_HLEN;
	bool tcp = held->info.protocol == IPPROTO_TCP;
	uint16_t check_at = tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);
	uint16_t pseudo = segment_pseudo_sum(&held->info, l4_len),
		 udp_len = htons((uint16_t)l4_len);
	uint8_t *packet = first_packet(held), *l4 = packet + IP4_MIN_HLEN;
	struct iphdr ip = read_ip(packet);

	ip.tot_len = htons((uint16_t)held->len);
	ip.check = 0;
	ip.check = checksum(&ip, sizeof(ip));
	memcpy(packet, &ip, sizeof(ip));
	if (!tcp)
		memcpy(l4 + offsetof(struct udphdr, len), &udp_len, sizeof(udp_len));
	memcpy(l4 + check_at, &pseudo, sizeof(pseudo));
	held->vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = held->headers,
		.gso_size = held->size,
		.csum_start = IP4_MIN_HLEN,
		.csum_offset = check_at,
	};
}

static void release(struct coalesce *c, struct coalesced *held)
{
	unsigned int i = 0;

	if (held->packets > 1)
		finish(held);
	c->emit(held, c->arg);
	while (c->order[i] != held)
		i++;
	c->n_held--;
	memmove(&c->order[i], &c->order[i + 1], (c->n_held - i) * sizeof(c->order[0]));
	c->spare[c->n_held] = held;
}

void coalesce_flush(struct coalesce *c)
{
	while (c->n_held)
		release(c, c->order[0]);
}

static struct coalesced *hold(struct coalesce *c, const struct arrival *a)
{
	struct coalesced *held;

	if (c->n_held == COALESCE_FLOWS)
		release(c, c->order[0]);
	held = c->spare[c->n_held];
	c->order[c->n_held++] = held;
	held->vnet = (struct virtio_net_hdr){0};
	held->slices[0] = (struct iovec){a->packet, a->info->len};
	held->n_slices = held->packets = 1;
	held->bytes = held->len = a->info->len;
	held->info = *a->info;
	held->headers = (uint16_t)a->headers;
	held->size = (uint16_t)a->payload;
	held->fixed_id = false;
	return held;
}

/* inet_gro_flush(): all but length, checksum and identification alike; that one counts or rests. */
static bool ip_continues(struct coalesced *held, const struct arrival *a)
{
	const struct iphdr first = read_ip(first_packet(held)), next = read_ip(a->packet);
	uint16_t offset = (uint16_t)(ntohs(next.id) - ntohs(first.id));

	if (first.ttl != next.ttl || first.tos != next.tos || first.frag_off != next.frag_off)
		return false;
	if (held->packets == 1 && next.frag_off & htons(IP_DF) && offset == 0)
		held->fixed_id = true;
	return offset == (held->fixed_id ? 0 : held->packets);
}

/* All but sequence, checksum, FIN and PSH alike, and no gap in between. CWR is never merged. */
static bool tcp_continues(const struct coalesced *held, const struct arrival *a)
{
	const struct tcphdr first = read_tcp(first_packet(held)), next = read_tcp(a->packet);
	const size_t options = IP4_MIN_HLEN + sizeof(struct tcphdr);

	return a->headers == held->headers && !(next.th_flags & TCP_CWR) &&
	       !((next.th_flags ^ first.th_flags) & ~(TH_FIN | TH_PUSH)) &&
	       next.th_x2 == first.th_x2 && next.window == first.window &&
	       next.ack_seq == first.ack_seq && next.urg_ptr == first.urg_ptr &&
	       memcmp(a->packet + options, first_packet(held) + options, a->headers - options) ==
		       0 &&
	       ntohl(next.seq) == ntohl(first.seq) + held->len - held->headers;
}

static bool continues(struct coalesced *held, const struct arrival *a)
{
	bool tcp = a->info->protocol == IPPROTO_TCP;

	return a->payload && a->payload <= held->size && held->n_slices < COALESCE_PACKETS &&
	       held->len + a->payload <= IP4_MAX_LEN && (!tcp || tcp_continues(held, a)) &&
	       ip_continues(held, a);
}

static void append(struct coalesced *held, const struct arrival *a)
{
	held->slices[held->n_slices++] = (struct iovec){a->packet + a->headers, a->payload};
	held->packets++;
	held->bytes += a->info->len;
	held->len += (uint32_t)a->payload;
	if (a->info->protocol == IPPROTO_TCP)
		first_packet(held)[IP4_MIN_HLEN + 13] |=
			a->packet[IP4_MIN_HLEN + 13] & (TH_FIN | TH_PUSH);
}

/* Does nothing of its flow go with it any more? */
static bool is_last(const struct coalesced *held, const struct arrival *a)
{
	if (a->payload < held->size)
		return true;
	return a->info->protocol == IPPROTO_TCP && read_tcp(a->packet).th_flags & TCP_ENDS;
}

static bool is_mergeable(const struct coalesce *c, const struct arrival *a)
{
	if (!a->payload || (a->info->protocol == IPPROTO_UDP && !c->udp))
		return false;
	return segment_checksum_holds(a->packet, a->info);
}

/* A fragment, or a packet with options, may be of any flow between its hosts. */
static void release_related(struct coalesce *c, const struct arrival *a)
{
	unsigned int i = 0;

	while (i < c->n_held) {
		struct coalesced *held = c->order[i];

		if (held->info.saddr == a->info->saddr && held->info.daddr == a->info->daddr &&
		    held->info.protocol == a->info->protocol)
			release(c, held);
		else
			i++;
	}
}

void coalesce_packet(struct coalesce *c, uint8_t *packet, const struct ip4_info *info)
{
	struct arrival a = {
		.packet = packet,
		.info = info,
		.headers = segment_l4_header(packet, info),
	};
	struct coalesced *held;

	if (a.headers) {
		a.headers += info->hlen;
		a.payload = info->len - a.headers;
	}
	if (!a.headers || info->hlen != IP4_MIN_HLEN) {
		release_related(c, &a);
		release(c, hold(c, &a));
		return;
	}
	held = find(c, &a);
	if (!is_mergeable(c, &a)) {
		if (held)
			release(c, held);
		release(c, hold(c, &a));
		return;
	}
	if (held && continues(held, &a)) {
		append(held, &a);
	} else {
		if (held)
			release(c, held);
		held = hold(c, &a);
	}
	if (is_last(held, &a))
		release(c, held);
}

bool coalesce_pending(struct coalesce *c, uint8_t *packet, const struct ip4_info *info, size_t size)
{
	struct arrival a = {
		.packet = packet,
		.info = info,
		.headers = segment_l4_header(packet, info),
	};
	struct coalesced *held;
	bool cut;

	if (!a.headers || info->hlen != IP4_MIN_HLEN || !size)
		return false;
	a.headers += info->hlen;
	cut = info->len - a.headers > size;
	held = find(c, &a);
	if (held)
		release(c, held);
	held = hold(c, &a);
	held->size = (uint16_t)(cut ? size : 0);
	finish(held);
	if (!cut)
		held->vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	else if (info->protocol == IPPROTO_TCP && read_tcp(packet).th_flags & TCP_CWR)
		held->vnet.gso_type |= VIRTIO_NET_HDR_GSO_ECN; /* on the first segment only */
	release(c, held);
	return true;
}
