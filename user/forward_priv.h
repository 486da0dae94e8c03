/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of the slow path share: forward.c (life cycle, tables, counters),
 * forward_sockets.c, forward_send.c (one packet to a peer, or an ICMP error instead), the loops
 * forward_plain.c and forward_batch.c, and the latter's two directions forward_out.c and
 * forward_in.c.
 *
 * Threads and memory:
 *  (1) `table` of struct forward is the one pointer that threads share. A thread announces in
 *      `holds` what it works with; what is replaced is freed once nobody holds it.
 *  (2) Counters and everything else of struct forward_thread belong to that thread alone; plain
 *      additions of relaxed atomics lose nothing.
 *  (3) A socket that is received from belongs to its thread; those in `senders` are anybody's.
 *  (4) stop_fd becomes readable for all threads when they are to end, and stays so.
 */
#ifndef WEFT_USER_FORWARD_PRIV_H
#define WEFT_USER_FORWARD_PRIV_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "forward.h"

struct forward_counter {
	_Atomic uint64_t packets;
	_Atomic uint64_t bytes;
};

struct forward_thread {
	struct forward *fwd;
	pthread_t id;
	bool started;
	int tun_fd;
	int sockets[WEFT_FORMAT_MAX]; /* to receive from, by format; -1: none */
	int socket_fd; /* of these, one that UDP can be sent from */
	int raw_fd; /* format ipip is sent from; -1: it cannot */
	int epoll_fd; /* of the batch loop, else -1 */
	const struct forward_table *table; /* between table_take() and table_leave() */
	_Atomic(const struct forward_table *) holds;
	void *out, *in; /* buffers of either direction */
	in_addr_t from; /* who sent the datagram at hand */
	struct forward_counter counters[WEFT_COUNTER_MAX];
};

struct forward {
	struct forward_config config;
	in_addr_t addr; /* network byte order */
	enum weft_format steered; /* each worker has a socket for it */
	int sockets[FORWARD_QUEUES_MAX]; /* these */
	int others[WEFT_FORMAT_MAX]; /* of the other formats */
	int raws[FORWARD_QUEUES_MAX]; /* to send from only */
	int senders[FORWARD_QUEUES_MAX]; /* with source ports of their own, by class */
	size_t n_senders; /* 0: what is received from serves */
	int stop_fd;
	size_t n_threads;
	struct forward_thread *threads;
	_Atomic(struct forward_table *) table;
	pthread_mutex_t setting; /* among those who set tables; the threads never take it */
	struct forward_table *retired; /* replaced, perhaps still held */
	atomic_bool no_segment; /* the kernel refused UDP_SEGMENT on the way to a peer */
	_Atomic uint64_t icmp_next_ns; /* when the next ICMP error would be in time */
};

/* The table for one burst, NULL when there is none yet; to be left before waiting. */
const struct forward_table *table_take(struct forward_thread *t);
void table_leave(struct forward_thread *t);

void forward_count(struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		   uint64_t packets, uint64_t bytes);
/* A packet that was counted, to who traces; head: its beginning, one record for what was merged. */
void forward_record(const struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		    const struct iovec *head, uint64_t bytes);
static inline void forward_trace(const struct forward_thread *t, enum weft_hook hook,
				 enum weft_reason reason, const struct iovec *head, uint64_t bytes)
{
	if (trace_tap_is_on(t->fwd->config.tap))
		forward_record(t, hook, reason, head, bytes);
}

/* forward_sockets.c: what fwd->config asks for, or -errno; in any case sockets_close() is due. */
void sockets_init(struct forward *fwd);
int sockets_open(struct forward *fwd);
void sockets_close(struct forward *fwd);

/* The device, and from FORWARD_SOCKET on the socket of each format. */
enum forward_side { FORWARD_TUN, FORWARD_SOCKET, FORWARD_SIDES = FORWARD_SOCKET + WEFT_FORMAT_MAX };

/* How long a side that fails rests: its cause (a vanished device) does not go away by asking. */
#define FORWARD_REST_MS 100

/* forward_send.c */

/* What a datagram is made of; all headers of the inner packet are in FORWARD_HEAD. */
enum forward_piece { FORWARD_FORMAT, FORWARD_HEAD, FORWARD_BODY, FORWARD_PIECES };
struct forward_pieces {
	struct iovec piece[FORWARD_PIECES];
};

struct sockaddr_in peer_address(const struct forward_thread *t, const struct forward_route *route);
/* The largest inner packet that fits outer ones of mtu bytes. */
uint16_t inner_mtu(uint32_t mtu, enum weft_format format);
/* Outer TOS of an inner packet with tos: DSCP as configured, ECN by RFC 6040. */
uint8_t outer_tos(const struct forward_thread *t, const struct forward_route *route, uint8_t tos);
#define OUTER_CONTROL_LEN (CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t)))
/* Have msg, whose control buffer has room for it, sent with this TOS. */
void control_add(struct msghdr *msg, int level, int type, const void *data, size_t len);
/* One valid packet to a peer from socket fd: as it is, in fragments, or not at all and answered. */
enum weft_reason send_packet(struct forward_thread *t, const struct forward_route *route, int fd,
			     const struct forward_pieces *packet);
/* The socket that route's format is sent from, if there is no better one. */
int route_socket(const struct forward_thread *t, const struct forward_route *route);
/* An ICMP error for what forward_check_out() refused, where one is due. */
void answer_refused(struct forward_thread *t, const uint8_t *packet, const struct ip4_info *info,
		    enum weft_reason reason);
/* To the device, with the virtio header it may want. */
enum weft_reason tun_write(const struct forward_thread *t, const uint8_t *packet, size_t len);
/*
 * The same for a packet whose checksum, and segmentation where it is larger than the device's MTU,
 * a peer's kernel has left to a device that never came: both are done here. size: of
 * segment_size().
 */
enum weft_reason tun_write_pending(const struct forward_thread *t, uint8_t *packet,
				   const struct ip4_info *info, size_t size);

/*
 * What came by a socket, up to the inner packet: *data and *len are moved there. tos: of the outer
 * packet, and of the one that carried raw data. WEFT_R_OK, or why it is refused.
 */
enum weft_reason unwrap(const struct forward_table *table, enum weft_format format, uint8_t **data,
			size_t *len, uint8_t *tos);
/* A control message of msg, or NULL. */
const struct cmsghdr *control_find(struct msghdr *msg, int level, int type);
/* TOS of a message received with IP_RECVTOS, 0 when it has none. */
uint8_t control_tos(struct msghdr *msg);
/* RFC 6040: what the network told the outer packet, for the inner one; WEFT_R_ECN: its loss. */
enum weft_reason take_ecn(uint8_t *packet, uint8_t tos);

/* The loops: thread functions of pthread_create(), arg is the struct forward_thread. */
void *forward_plain(void *arg);
void *forward_batch(void *arg);
extern const size_t forward_plain_buffers, forward_out_buffers, forward_in_buffers;

/* A burst each, of what there is without waiting; false when the side is broken, not empty. */
bool forward_out(struct forward_thread *t);
bool forward_in(struct forward_thread *t, enum weft_format format);
void forward_in_start(struct forward_thread *t);

#endif
