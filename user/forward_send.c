/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One packet to a peer, or an ICMP error to its sender. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>
#include <string.h>

#include "clock.h"
#include "forward_priv.h"
#include "segment.h"
#include "util.h"

/* ICMP errors a process may send: 100 a second, up to 50 of them at once. */
#define ICMP_COST_NS (NSEC_PER_SEC / 100)
#define ICMP_BURST_NS (50 * ICMP_COST_NS)
/* RFC 791: every link carries this much, so no smaller MTU is ever announced. */
#define IP4_MIN_MTU 68

/* The bucket of all threads, kept as the time at which it is full again. */
static bool icmp_take_token(struct forward *fwd)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t full = atomic_load_explicit(&fwd->icmp_next_ns, memory_order_relaxed);
	uint64_t next = (full > now ? full : now) + ICMP_COST_NS;

	if (next > now + ICMP_BURST_NS)
		return false;
	/* Another thread was faster: one error less. */
	return atomic_compare_exchange_strong(&fwd->icmp_next_ns, &full, next);
}

/* May this packet be answered, and may we answer now? Spends a token only for the first yes. */
static bool may_answer(struct forward *fwd, const uint8_t *packet, const struct ip4_info *info)
{
	return icmp_error_allowed(packet, info) && icmp_take_token(fwd);
}

static enum weft_reason tun_write_pieces(const struct forward_thread *t, const void *head,
					 size_t head_len, const void *body, size_t body_len)
{
	struct virtio_net_hdr vnet = {0};
	struct iovec iov[] = {
		{&vnet, sizeof(vnet)}, {(void *)head, head_len}, {(void *)body, body_len}};
	bool with = t->fwd->config.vnet;
	int n = body_len ? 3 : 2;

	return writev(t->tun_fd, with ? iov : iov + 1, with ? n : n - 1) < 0 ? WEFT_R_SEND
									     : WEFT_R_OK;
}

enum weft_reason tun_write(const struct forward_thread *t, const uint8_t *packet, size_t len)
{
	return tun_write_pieces(t, packet, len, NULL, 0);
}

enum weft_reason tun_write_pending(const struct forward_thread *t, uint8_t *packet,
				   const struct ip4_info *info, size_t size)
{
	uint8_t segment[SEGMENT_HEADERS_MAX];
	enum weft_reason reason = WEFT_R_OK;
	const uint8_t *payload;
	struct segments cut;
	size_t n;

	if (!size || size >= info->len || !segments_start(&cut, packet, info, size)) {
		segment_checksum_complete(packet, info);
		return tun_write(t, packet, info->len);
	}
	while (reason == WEFT_R_OK && (n = segments_next(&cut, segment, &payload)) > 0)
		reason = tun_write_pieces(t, segment, cut.headers, payload, n);
	return reason;
}

static void answer(struct forward_thread *t, const uint8_t *packet, const struct ip4_info *info,
		   uint8_t type, uint8_t code, uint16_t mtu)
{
	uint8_t error[ICMP_ERROR_MAX];
	size_t len = icmp_error_build(error, type, code, mtu, forward_icmp_source(t->table), packet,
				      info);

	/* Best effort: the offender is counted as dropped whether the sender hears of it or not. */
	if (len)
		tun_write(t, error, len);
}

void answer_refused(struct forward_thread *t, const uint8_t *packet, const struct ip4_info *info,
		    enum weft_reason reason)
{
	if (reason != WEFT_R_TTL && reason != WEFT_R_NO_ROUTE && reason != WEFT_R_NOT_OVERLAY)
		return;
	if (!may_answer(t->fwd, packet, info))
		return;
	if (reason == WEFT_R_TTL)
		answer(t, packet, info, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
	else
		answer(t, packet, info, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 0);
}

uint16_t inner_mtu(uint32_t mtu, enum weft_format format)
{
	uint32_t overhead = format_overhead(format);

	if (mtu < IP4_MIN_MTU + overhead)
		return IP4_MIN_MTU;
	if (mtu > IP4_MAX_LEN)
		mtu = IP4_MAX_LEN;
	return (uint16_t)(mtu - overhead);
}

/* Flannel's udp backend does not bring marks back, so its packets are not marked (section 4.3). */
uint8_t outer_tos(const struct forward_thread *t, const struct forward_route *route, uint8_t tos)
{
	uint8_t outer = t->table->dscp_inherited ? tos & ~IPTOS_ECN_MASK : t->table->tos;

	return route->format == WEFT_FORMAT_UDP ? outer : outer | (tos & IPTOS_ECN_MASK);
}

void control_add(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *cmsg = (void *)((char *)msg->msg_control + msg->msg_controllen);

	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cmsg), data, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

int route_socket(const struct forward_thread *t, const struct forward_route *route)
{
	return format_protocol(route->format) == IPPROTO_UDP ? t->socket_fd : t->raw_fd;
}

/* A raw socket takes none. */
static uint16_t peer_port(const struct forward_table *table, enum weft_format format)
{
	if (format == WEFT_FORMAT_VXLAN)
		return table->vxlan_port;
	return format == WEFT_FORMAT_UDP ? table->port : 0;
}

struct sockaddr_in peer_address(const struct forward_thread *t, const struct forward_route *route)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(peer_port(t->table, route->format)),
		.sin_addr.s_addr = htonl(route->public_ip),
	};
}

/* What the kernel knows of the path; it tells only a connected socket. The route's MTU if not. */
static uint32_t path_mtu(const struct forward_thread *t, const struct forward_route *route)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = t->fwd->addr};
	struct sockaddr_in peer = peer_address(t, route);
	socklen_t len = sizeof(int);
	_close_ int fd = -1;
	int mtu = 0;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0 ||
	    connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0 ||
	    getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len) < 0 || mtu <= 0)
		return route->mtu;
	return (uint32_t)mtu < route->mtu ? (uint32_t)mtu : route->mtu;
}

static int send_outer(const struct forward_thread *t, const struct forward_route *route, int fd,
		      const struct forward_pieces *packet)
{
	const uint8_t *head = packet->piece[FORWARD_HEAD].iov_base;
	struct sockaddr_in peer = peer_address(t, route);
	int tos = outer_tos(t, route, head[1]);
	union {
		char room[OUTER_CONTROL_LEN];
		struct cmsghdr align;
	} control = {0};
	struct msghdr msg = {
		.msg_name = &peer,
		.msg_namelen = sizeof(peer),
		.msg_iov = (struct iovec *)packet->piece,
		.msg_iovlen = FORWARD_PIECES,
		.msg_control = control.room,
	};

	if (tos)
		control_add(&msg, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	return sendmsg(fd, &msg, MSG_DONTWAIT) < 0 ? -errno : 0;
}

/*
 * Rare, so the switch of the socket's mode costs nothing where it matters. Of the thread's own
 * socket, as no other may send from it in between.
 */
static int send_fragmented(const struct forward_thread *t, const struct forward_route *route,
			   const struct forward_pieces *packet)
{
	const int dont = IP_PMTUDISC_DONT, always = IP_PMTUDISC_DO;
	int fd = route_socket(t, route), err;

	if (setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont)) < 0)
		return -errno;
	err = send_outer(t, route, fd, packet);
	if (setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &always, sizeof(always)) < 0)
		return -errno;
	return err;
}

static enum weft_reason refuse_too_big(struct forward_thread *t, const struct forward_route *route,
				       const uint8_t *packet, const struct ip4_info *info,
				       bool ask_kernel)
{
	uint32_t mtu = route->mtu;

	if (!may_answer(t->fwd, packet, info))
		return WEFT_R_TOO_BIG;
	if (ask_kernel)
		mtu = path_mtu(t, route);
	answer(t, packet, info, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, inner_mtu(mtu, route->format));
	return WEFT_R_TOO_BIG;
}

/* The inner DF decides between an error to the sender and fragments of the outer packet. */
enum weft_reason send_packet(struct forward_thread *t, const struct forward_route *route, int fd,
			     const struct forward_pieces *packet)
{
	const struct iovec *piece = packet->piece;
	const uint8_t *head = piece[FORWARD_HEAD].iov_base;
	struct ip4_info info;
	bool fits, df;
	int err = -EMSGSIZE;

	if (ip4_parse(head, piece[FORWARD_HEAD].iov_len + piece[FORWARD_BODY].iov_len, &info))
		return WEFT_R_BAD_IP4;
	fits = info.len <= inner_mtu(route->mtu, route->format);
	df = info.frag_off & IP_DF;
	if (!fits && df)
		return refuse_too_big(t, route, head, &info, false);
	if (fits)
		err = send_outer(t, route, fd, packet);
	if (err == -EMSGSIZE && df)
		return refuse_too_big(t, route, head, &info, true);
	if (err == -EMSGSIZE)
		err = send_fragmented(t, route, packet);
	if (err == -EMSGSIZE)
		return WEFT_R_TOO_BIG;
	return err ? WEFT_R_SEND : WEFT_R_OK;
}
