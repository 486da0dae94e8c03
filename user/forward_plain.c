/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The simple loop: one thread, one packet per system call, no offloads. It is what the batching
 * loops are measured against, and what remains when they must be ruled out.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "forward_priv.h"
#include "segment.h"
#include "util.h"

/* Packets of one side before the other side gets its turn. */
#define BURST 64

const size_t forward_plain_buffers = IP4_MAX_LEN + 1; /* one packet */

static enum weft_reason tun_packet(struct forward_thread *t, uint8_t *packet, size_t len)
{
	struct forward_pieces pieces = {{{NULL, 0}, {packet, len}, {NULL, 0}}};
	const struct forward_route *route = NULL;
	uint8_t header[FORMAT_HEADER_MAX];
	enum weft_reason reason;
	struct ip4_info info;

	if (!table_take(t))
		return WEFT_R_DISABLED;
	reason = forward_check_out(t->table, packet, len, &info, &route);
	if (reason != WEFT_R_OK) {
		answer_refused(t, packet, &info, reason);
		return reason;
	}
	pieces.piece[FORWARD_FORMAT] = (struct iovec){
		header, format_write(route->format, &t->table->vtep, route->vtep_mac, header)};
	return send_packet(t, route, route_socket(t, route), &pieces);
}

static enum weft_reason socket_packet(struct forward_thread *t, enum weft_format format, size_t len,
				      in_addr_t from, uint8_t tos)
{
	uint8_t *packet = t->in;
	enum weft_reason reason;
	struct ip4_info info;

	if (!table_take(t))
		return WEFT_R_DISABLED;
	/* Longer than the buffer, hence than any IPv4 packet: what we hold of it is not whole. */
	if (len > IP4_MAX_LEN)
		return WEFT_R_SHORT;
	reason = unwrap(t->table, format, &packet, &len, &tos);
	if (reason == WEFT_R_OK)
		reason = forward_check_in(t->table, ntohl(from), packet, len, &info);
	if (reason == WEFT_R_OK)
		reason = take_ecn(packet, tos);
	if (reason != WEFT_R_OK)
		return reason;
	if (!segment_checksum_pending(packet, &info))
		return tun_write(t, packet, info.len);
	return tun_write_pending(t, packet, &info, segment_size(packet, &info, t->table->mtu, 0));
}

static void account(struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		    size_t len)
{
	forward_count(t, hook, reason, 1, len);
	forward_trace(t, hook, reason, &(struct iovec){t->in, len}, len);
}

/* False when the side is broken rather than empty. */
static bool drain_tun(struct forward_thread *t)
{
	uint8_t *packet = t->in;

	for (int i = 0; i < BURST; i++) {
		ssize_t n = read(t->tun_fd, packet, IP4_MAX_LEN + 1);

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		account(t, WEFT_HOOK_TUNFD, tun_packet(t, packet, (size_t)n), (size_t)n);
		table_leave(t);
	}
	return true;
}

static bool drain_socket(struct forward_thread *t, enum weft_format format)
{
	struct iovec iov = {t->in, IP4_MAX_LEN + 1};
	struct sockaddr_in from;
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;

	for (int i = 0; i < BURST; i++) {
		struct msghdr msg = {.msg_name = &from,
				     .msg_namelen = sizeof(from),
				     .msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.room,
				     .msg_controllen = sizeof(control.room)};
		ssize_t n = recvmsg(t->sockets[format], &msg, MSG_TRUNC);

		if (n < 0)
			return errno == EAGAIN;
		t->from = from.sin_addr.s_addr;
		account(t, WEFT_HOOK_SOCKET,
			socket_packet(t, format, (size_t)n, t->from, control_tos(&msg)), (size_t)n);
		table_leave(t);
	}
	return true;
}

/* Which sides have packets; false when the thread is to end. Marks of broken sides are taken. */
static bool wait_for_packets(const struct forward_thread *t, bool broken[FORWARD_SIDES],
			     bool ready[FORWARD_SIDES])
{
	struct pollfd fds[FORWARD_SIDES + 1];
	bool rest = false;
	int n;

	for (int i = 0; i < FORWARD_SIDES; i++) {
		int fd = i == FORWARD_TUN ? t->tun_fd : t->sockets[i - FORWARD_SOCKET];

		fds[i] = (struct pollfd){broken[i] ? -1 : fd, POLLIN, 0};
		rest |= broken[i];
	}
	fds[FORWARD_SIDES] = (struct pollfd){t->fwd->stop_fd, POLLIN, 0};
	n = poll(fds, ARRAY_SIZE(fds), rest ? FORWARD_REST_MS : -1);
	for (int i = 0; i < FORWARD_SIDES; i++) {
		ready[i] = n > 0 && fds[i].revents;
		broken[i] = false;
	}
	return n < 0 || !fds[FORWARD_SIDES].revents;
}

void *forward_plain(void *arg)
{
	struct forward_thread *t = arg;
	bool broken[FORWARD_SIDES] = {false}, ready[FORWARD_SIDES];

	while (wait_for_packets(t, broken, ready)) {
		if (ready[FORWARD_TUN])
			broken[FORWARD_TUN] = !drain_tun(t);
		for (int side = FORWARD_SOCKET; side < FORWARD_SIDES; side++)
			if (ready[side])
				broken[side] = !drain_socket(t, side - FORWARD_SOCKET);
	}
	return NULL;
}
