/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TUN device → socket, by bursts. What the kernel hands over large is cut here; datagrams that are
 * alike go to their peer in one system call (UDP_SEGMENT).
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "checksum.h"
#include "coalesce.h"
#include "forward_pace.h"
#include "forward_priv.h"
#include "forward_steer.h"
#include "log.h"
#include "segment.h"

/* Datagrams of one call: UDP_MAX_SEGMENTS of kernels before 6.9. */
#define BATCH 64
/* All of them together: what one IPv4 packet with its UDP header can carry. */
#define BATCH_BYTES (IP4_MAX_LEN - WEFT_OVERHEAD_UDP)
/* Where packets are read to: room for one of full size after any number of small ones. */
#define ARENA (4 * 65536)
/* A lone packet now and then asks whether there are more behind it. */
#define ASK_EVERY 16

struct out_buffers {
	struct pace pace;
	bool patient; /* see be_patient() */
	unsigned int lone; /* packets read without asking for more */
	const struct forward_route *route; /* of the datagrams at hand */
	int fd; /* that they are sent from */
	uint8_t tos; /* that they are sent with */
	size_t wrap; /* bytes of each in front of the inner packet, the same ones */
	uint8_t header[FORMAT_HEADER_MAX]; /* these */
	size_t n, bytes, size; /* size: of each but the last */
	bool ended; /* by one that is shorter */
	struct forward_pieces datagrams[BATCH];
	uint64_t completes[BATCH]; /* bytes of the packet this is the last piece of, else 0 */
	uint8_t headers[BATCH][SEGMENT_HEADERS_MAX];
	uint8_t arena[ARENA];
};

const size_t forward_out_buffers = sizeof(struct out_buffers);

/* The one of the flow's class. */
static int sending_socket(const struct forward_thread *t, const struct forward_route *route,
			  const uint8_t *packet, const struct ip4_info *info)
{
	const struct forward *fwd = t->fwd;

	if (!fwd->n_senders || format_protocol(route->format) != IPPROTO_UDP)
		return route_socket(t, route);
	return fwd->senders[forward_class(packet, info, (uint32_t)fwd->n_senders)];
}

static int send_segmented(struct forward_thread *t, struct out_buffers *b)
{
	struct sockaddr_in peer = peer_address(t, b->route);
	uint16_t size = (uint16_t)b->size;
	int tos = b->tos;
	union {
		char room[OUTER_CONTROL_LEN];
		struct cmsghdr align;
	} control = {0};
	struct msghdr msg = {
		.msg_name = &peer,
		.msg_namelen = sizeof(peer),
		.msg_iov = b->datagrams[0].piece,
		.msg_iovlen = FORWARD_PIECES * b->n,
		.msg_control = control.room,
	};

	control_add(&msg, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
	if (tos)
		control_add(&msg, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	return sendmsg(b->fd, &msg, MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* The packet that the i-th datagram completes; its headers are those of its last segment. */
static void account(struct forward_thread *t, const struct out_buffers *b, size_t i,
		    enum weft_reason reason)
{
	forward_count(t, WEFT_HOOK_TUNFD, reason, 1, b->completes[i]);
	forward_trace(t, WEFT_HOOK_TUNFD, reason, &b->datagrams[i].piece[FORWARD_HEAD],
		      b->completes[i]);
}

/* A packet is as well off as the worst of its pieces. */
static void send_singly(struct forward_thread *t, struct out_buffers *b)
{
	enum weft_reason reason = WEFT_R_OK, sent = WEFT_R_OK;

	for (size_t i = 0; i < b->n; i++) {
		/* One ICMP error speaks for the whole packet. */
		if (reason != WEFT_R_TOO_BIG)
			sent = send_packet(t, b->route, b->fd, &b->datagrams[i]);
		reason = reason == WEFT_R_OK ? sent : reason;
		if (!b->completes[i])
			continue;
		account(t, b, i, reason);
		reason = WEFT_R_OK;
	}
}

static void count_all(struct forward_thread *t, const struct out_buffers *b,
		      enum weft_reason reason)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->completes[i])
			account(t, b, i, reason);
}

/* Once is enough: the way to one peer shows what the kernel can do. */
static bool may_segment(struct forward_thread *t)
{
	const struct out_buffers *b = t->out;

	return format_protocol(b->route->format) == IPPROTO_UDP &&
	       b->size - b->wrap <= inner_mtu(b->route->mtu, b->route->format) &&
	       !atomic_load_explicit(&t->fwd->no_segment, memory_order_relaxed);
}

static void give_up_segment(struct forward_thread *t, int err)
{
	if (!atomic_exchange(&t->fwd->no_segment, true))
		log_warn("no UDP_SEGMENT from here on: %s", strerror(-err));
}

static void flush(struct forward_thread *t, struct out_buffers *b)
{
	int err = -EMSGSIZE;

	if (b->n > 1 && may_segment(t))
		err = send_segmented(t, b);
	/* The device that is to send cannot finish checksums (udp_send_skb()). */
	if (err == -EIO || err == -EOPNOTSUPP || err == -ENOPROTOOPT)
		give_up_segment(t, err);
	if (err == 0)
		count_all(t, b, WEFT_R_OK);
	else if (err == -ENOBUFS || err == -ENOMEM || err == -EAGAIN)
		count_all(t, b, WEFT_R_SEND);
	else if (b->n)
		send_singly(t, b);
	b->n = b->bytes = 0;
	b->ended = false;
}

/* Datagrams for this peer from this socket come next. */
static void aim(struct forward_thread *t, const struct forward_route *route, int fd, uint8_t tos)
{
	struct out_buffers *b = t->out;

	if (b->n && (b->fd != fd || b->tos != tos || b->route->public_ip != route->public_ip ||
		     b->route->format != route->format))
		flush(t, b);
	if (b->n == 0)
		b->wrap = format_write(route->format, &t->table->vtep, route->vtep_mac, b->header);
	b->route = route;
	b->fd = fd;
	b->tos = tos;
}

/* One with an inner packet of len bytes comes next. */
static void make_room(struct forward_thread *t, size_t len)
{
	struct out_buffers *b = t->out;

	len += b->wrap;

	if (b->n == BATCH || b->ended || (b->n && len > b->size) || b->bytes + len > BATCH_BYTES)
		flush(t, b);
}

/* Room for the headers of the datagram that queue() adds next. */
static uint8_t *next_headers(struct out_buffers *b)
{
	return b->headers[b->n % BATCH];
}

static void queue(struct out_buffers *b, struct iovec head, struct iovec body, uint64_t completes)
{
	size_t len = b->wrap + head.iov_len + body.iov_len;

	if (b->n == 0)
		b->size = len;
	b->ended = len < b->size;
	b->datagrams[b->n] = (struct forward_pieces){{{b->header, b->wrap}, head, body}};
	b->completes[b->n++] = completes;
	b->bytes += len;
}

/* A large packet, each segment with its headers and a payload that stays where it is. */
static enum weft_reason queue_segments(struct forward_thread *t, const uint8_t *packet,
				       const struct ip4_info *info, size_t size)
{
	struct out_buffers *b = t->out;
	const uint8_t *payload;
	struct segments cut;
	size_t n;

	if (!segments_start(&cut, packet, info, size))
		return WEFT_R_BAD_IP4;
	for (size_t left = info->len - cut.headers; left; left -= n) {
		n = left < size ? left : size;
		make_room(t, cut.headers + n);
		segments_next(&cut, next_headers(b), &payload);
		queue(b, (struct iovec){next_headers(b), cut.headers},
		      (struct iovec){(void *)payload, n}, left == n ? info->len : 0);
	}
	return WEFT_R_OK;
}

/*
 * The sum of the pseudo header stands in the field already. Where that is may have been said by
 * whoever made the packet (packet(7), PACKET_VNET_HDR): never in the header that has been judged.
 */
static bool finish_checksum(uint8_t *packet, const struct ip4_info *info,
			    const struct virtio_net_hdr *vnet)
{
	size_t start = vnet->csum_start, at = start + vnet->csum_offset;
	uint16_t check;

	if (start < info->hlen || at + sizeof(check) > info->len)
		return false;
	check = checksum(packet + start, info->len - start);
	if (!check)
		check = 0xffff; /* as skb_checksum_help() */
	memcpy(packet + at, &check, sizeof(check));
	return true;
}

/* Queued, or sent or refused at once; the reason is for the caller to count unless OK. */
static enum weft_reason take_valid(struct forward_thread *t, const struct forward_route *route,
				   uint8_t *packet, const struct ip4_info *info,
				   const struct virtio_net_hdr *vnet)
{
	aim(t, route, sending_socket(t, route, packet, info), outer_tos(t, route, packet[1]));
	if (vnet->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return queue_segments(t, packet, info, vnet->gso_size);
	if (vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !finish_checksum(packet, info, vnet))
		return WEFT_R_BAD_IP4;
	make_room(t, info->len);
	queue(t->out, (struct iovec){packet, info->len}, (struct iovec){0}, info->len);
	return WEFT_R_OK;
}

static void take_packet(struct forward_thread *t, uint8_t *packet, size_t len,
			const struct virtio_net_hdr *vnet)
{
	enum weft_reason reason = WEFT_R_DISABLED;
	const struct forward_route *route = NULL;
	struct ip4_info info;

	if (t->table) {
		reason = forward_check_out(t->table, packet, len, &info, &route);
		if (reason == WEFT_R_OK)
			reason = take_valid(t, route, packet, &info, vnet);
		else
			answer_refused(t, packet, &info, reason);
	}
	if (reason == WEFT_R_OK)
		return;
	forward_count(t, WEFT_HOOK_TUNFD, reason, 1, len);
	forward_trace(t, WEFT_HOOK_TUNFD, reason, &(struct iovec){packet, len}, len);
}

/* The packet's length, or -errno; -EAGAIN when there is none. */
static ssize_t read_packet(const struct forward_thread *t, struct virtio_net_hdr *vnet,
			   uint8_t *packet)
{
	struct iovec iov[] = {{vnet, sizeof(*vnet)}, {packet, IP4_MAX_LEN}};
	bool with = t->fwd->config.vnet;
	ssize_t header = with ? sizeof(*vnet) : 0, n;

	*vnet = (struct virtio_net_hdr){0};
	n = readv(t->tun_fd, with ? iov : iov + 1, with ? 2 : 1);
	if (n < 0)
		return -errno;
	return n <= header ? -EIO : n - header;
}

/* The rest of the burst that the first packet began; how many there were. */
static size_t read_burst(struct forward_thread *t, size_t used)
{
	struct out_buffers *b = t->out;
	struct virtio_net_hdr vnet;
	size_t packets = 0;
	ssize_t n;

	while (used + IP4_MAX_LEN <= sizeof(b->arena) &&
	       (n = read_packet(t, &vnet, b->arena + used)) > 0) {
		take_packet(t, b->arena + used, (size_t)n, &vnet);
		used += (size_t)n;
		packets++;
	}
	return packets;
}

/*
 * A packet that wakes this thread would have it take the CPU from whoever sends the next one. That
 * is best for the few, but not for many, who then come one by one: with many the thread waits for
 * the sender to rest (SCHED_BATCH), and finds a burst.
 */
static void be_patient(struct out_buffers *b, bool patient)
{
	struct sched_param param;
	int policy;

	if (patient == b->patient)
		return;
	b->patient = patient;
	/* Unless somebody else has decided how we are scheduled. */
	if (pthread_getschedparam(pthread_self(), &policy, &param) == 0 &&
	    policy == (patient ? SCHED_OTHER : SCHED_BATCH))
		pthread_setschedparam(pthread_self(), patient ? SCHED_BATCH : SCHED_OTHER, &param);
}

/*
 * To ask for more costs a system call, in vain for every packet of a request/response kind of
 * traffic: only now and then, or when it was worth it the last time.
 */
bool forward_out(struct forward_thread *t)
{
	struct out_buffers *b = t->out;
	struct virtio_net_hdr vnet;
	size_t more = 0;
	ssize_t n = read_packet(t, &vnet, b->arena);

	if (n < 0)
		return n == -EAGAIN;
	table_take(t);
	take_packet(t, b->arena, (size_t)n, &vnet);
	if (++b->lone % ASK_EVERY == 0) {
		more = read_burst(t, (size_t)n);
		b->lone -= more > 0;
	}
	flush(t, b);
	table_leave(t);
	be_patient(b, pace_count(&b->pace, 1 + more));
	return true;
}
