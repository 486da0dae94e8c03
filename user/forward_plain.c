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
	const struct forward_pieces pieces = {{{packet, len}, {NULL, 0}}};
	const struct forward_route *route = NULL;
	enum weft_reason reason;
	struct ip4_info info;

	if (!table_take(t))
		return WEFT_R_DISABLED;
	reason = forward_check_out(t->table, packet, len, &info, &route);
	if (reason == WEFT_R_OK)
		reason = send_packet(t, route, t->socket_fd, &pieces);
	else
		answer_refused(t, packet, &info, reason);
	return reason;
}

static enum weft_reason socket_packet(struct forward_thread *t, size_t len, in_addr_t from)
{
	uint8_t *packet = t->in;
	enum weft_reason reason;
	struct ip4_info info;

	if (!table_take(t))
		return WEFT_R_DISABLED;
	/* Longer than the buffer, hence than any IPv4 packet: what we hold of it is not whole. */
	if (len > IP4_MAX_LEN)
		return WEFT_R_SHORT;
	reason = forward_check_in(t->table, ntohl(from), packet, len, &info);
	if (reason != WEFT_R_OK)
		return reason;
	return segment_checksum_pending(packet, &info) ? tun_write_pending(t, packet, &info)
						       : tun_write(t, packet, info.len);
}

/* False when the side is broken rather than empty. */
static bool drain_tun(struct forward_thread *t)
{
	uint8_t *packet = t->in;

	for (int i = 0; i < BURST; i++) {
		ssize_t n = read(t->tun_fd, packet, IP4_MAX_LEN + 1);

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		forward_count(t, WEFT_HOOK_TUNFD, tun_packet(t, packet, (size_t)n), 1, (size_t)n);
		table_leave(t);
	}
	return true;
}

static bool drain_socket(struct forward_thread *t)
{
	uint8_t *packet = t->in;
	struct sockaddr_in from;

	for (int i = 0; i < BURST; i++) {
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(t->socket_fd, packet, IP4_MAX_LEN + 1, MSG_TRUNC,
				     (struct sockaddr *)&from, &from_len);

		if (n < 0)
			return errno == EAGAIN;
		forward_count(t, WEFT_HOOK_SOCKET,
			      socket_packet(t, (size_t)n, from.sin_addr.s_addr), 1, (size_t)n);
		table_leave(t);
	}
	return true;
}

/* Which sides have packets; false when the thread is to end. Marks of broken sides are taken. */
static bool wait_for_packets(const struct forward_thread *t, bool broken[FORWARD_SIDES],
			     bool ready[FORWARD_SIDES])
{
	struct pollfd fds[] = {
		[FORWARD_TUN] = {broken[FORWARD_TUN] ? -1 : t->tun_fd, POLLIN, 0},
		[FORWARD_SOCKET] = {broken[FORWARD_SOCKET] ? -1 : t->socket_fd, POLLIN, 0},
		[FORWARD_SIDES] = {t->fwd->stop_fd, POLLIN, 0},
	};
	bool rest = broken[FORWARD_TUN] || broken[FORWARD_SOCKET];
	int n = poll(fds, ARRAY_SIZE(fds), rest ? FORWARD_REST_MS : -1);

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
		if (ready[FORWARD_SOCKET])
			broken[FORWARD_SOCKET] = !drain_socket(t);
	}
	return NULL;
}
