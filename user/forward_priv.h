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
	int tun_fd, socket_fd;
	int epoll_fd; /* of the batch loop, else -1 */
	const struct forward_table *table; /* between table_take() and table_leave() */
	_Atomic(const struct forward_table *) holds;
	void *out, *in; /* buffers of either direction */
	struct forward_counter counters[WEFT_COUNTER_MAX];
};

struct forward {
	struct forward_config config;
	in_addr_t addr; /* network byte order */
	int sockets[FORWARD_QUEUES_MAX];
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

/* forward_sockets.c: what fwd->config asks for, or -errno; in any case sockets_close() is due. */
void sockets_init(struct forward *fwd);
int sockets_open(struct forward *fwd);
void sockets_close(struct forward *fwd);

enum forward_side { FORWARD_TUN, FORWARD_SOCKET, FORWARD_SIDES };

/* How long a side that fails rests: its cause (a vanished device) does not go away by asking. */
#define FORWARD_REST_MS 100

/* forward_send.c */

/* A packet in two pieces, of which the first holds all headers. */
struct forward_pieces {
	struct iovec piece[2];
};

struct sockaddr_in peer_address(const struct forward_thread *t, const struct forward_route *route);
/* Largest inner packet behind outer packets of mtu bytes. */
uint16_t inner_mtu(uint32_t mtu);
/* One valid packet to a peer from socket fd: as it is, in fragments, or not at all and answered. */
enum weft_reason send_packet(struct forward_thread *t, const struct forward_route *route, int fd,
			     const struct forward_pieces *packet);
/* An ICMP error for what forward_check_out() refused, where one is due. */
void answer_refused(struct forward_thread *t, const uint8_t *packet, const struct ip4_info *info,
		    enum weft_reason reason);
/* To the device, with the virtio header it may want. */
enum weft_reason tun_write(const struct forward_thread *t, const uint8_t *packet, size_t len);
/*
 * The same for a packet whose checksum, and segmentation where it is larger than the device's MTU,
 * a peer's kernel has left to a device that never came: both are done here.
 */
enum weft_reason tun_write_pending(const struct forward_thread *t, uint8_t *packet,
				   const struct ip4_info *info);

/* The loops: thread functions of pthread_create(), arg is the struct forward_thread. */
void *forward_plain(void *arg);
void *forward_batch(void *arg);
extern const size_t forward_plain_buffers, forward_out_buffers, forward_in_buffers;

/* A burst each, of what there is without waiting; false when the side is broken, not empty. */
bool forward_out(struct forward_thread *t);
bool forward_in(struct forward_thread *t);
void forward_in_start(struct forward_thread *t);

#endif
