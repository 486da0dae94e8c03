/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket → TUN device, by bursts. The kernel hands over many datagrams at a time, some of them
 * merged (UDP_GRO); consecutive packets of a flow are written to the device as one.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "coalesce.h"
#include "forward_pace.h"
#include "forward_priv.h"
#include "segment.h"

#define MESSAGES 32
#define ASK_EVERY 16
/* Not a power of two, so that the heads of all buffers do not fall upon the same cache lines. */
#define MESSAGE_MAX (IP4_MAX_LEN + 321)

struct in_buffers {
	struct pace pace;
	size_t datagrams; /* of this burst */
	bool alone; /* the datagram at hand: nothing to merge it with */
	size_t datagram; /* how the UDP packet in it is to be cut; 0: nobody said */
	bool bulk; /* the last call brought many datagrams */
	unsigned int lone; /* calls that asked for one */
	struct coalesce coalesce;
	struct mmsghdr msgs[MESSAGES];
	struct iovec iov[MESSAGES];
	struct sockaddr_in from[MESSAGES];
	union {
		char room[2 * CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control[MESSAGES];
	uint8_t data[MESSAGES][MESSAGE_MAX];
};

const size_t forward_in_buffers = sizeof(struct in_buffers);

static void write_coalesced(const struct coalesced *packet, void *arg)
{
	struct forward_thread *t = arg;
	struct iovec iov[1 + COALESCE_PACKETS];
	enum weft_reason reason = WEFT_R_OK;
	bool with = t->fwd->config.vnet;

	iov[0] = (struct iovec){(void *)&packet->vnet, sizeof(packet->vnet)};
	memcpy(iov + 1, packet->slices, packet->n_slices * sizeof(iov[0]));
	if (writev(t->tun_fd, with ? iov : iov + 1, (int)packet->n_slices + with) < 0)
		reason = WEFT_R_SEND;
	forward_count(t, WEFT_HOOK_SOCKET, reason, packet->packets, packet->bytes);
	forward_trace(t, WEFT_HOOK_SOCKET, reason, packet->slices, packet->bytes);
}

/* Counted, and shown to who traces: one packet that begins with len bytes at data. */
static void account(struct forward_thread *t, enum weft_reason reason, uint8_t *data, size_t len)
{
	forward_count(t, WEFT_HOOK_SOCKET, reason, 1, len);
	forward_trace(t, WEFT_HOOK_SOCKET, reason, &(struct iovec){data, len}, len);
}

static void deliver(struct forward_thread *t, uint8_t *packet, const struct ip4_info *info)
{
	struct in_buffers *b = t->in;

	if (segment_checksum_pending(packet, info)) {
		size_t size = segment_size(packet, info, t->table->mtu, b->datagram);

		if (t->fwd->config.vnet && (!b->datagram || t->fwd->config.uso) &&
		    coalesce_pending(&b->coalesce, packet, info, size))
			return;
		coalesce_flush(&b->coalesce);
		account(t, tun_write_pending(t, packet, info, size), packet, info->len);
	} else if (t->fwd->config.vnet && !b->alone) {
		coalesce_packet(&b->coalesce, packet, info);
	} else {
		account(t, tun_write(t, packet, info->len), packet, info->len);
	}
}

static void take_datagram(struct forward_thread *t, enum weft_format format, uint32_t from,
			  uint8_t *packet, size_t len, uint8_t tos)
{
	enum weft_reason reason = WEFT_R_DISABLED;
	uint8_t *data = packet;
	struct ip4_info info;
	size_t whole = len;

	((struct in_buffers *)t->in)->datagrams++;
	if (t->table)
		reason = unwrap(t->table, format, &packet, &len, &tos);
	if (reason == WEFT_R_OK)
		reason = forward_check_in(t->table, from, packet, len, &info);
	if (reason == WEFT_R_OK)
		reason = take_ecn(packet, tos);
	if (reason == WEFT_R_OK)
		deliver(t, packet, &info);
	else
		account(t, reason, data, whole);
}

/* Length of each datagram the kernel has merged into this message but the last; 0: it is one. */
static size_t merged_size(struct msghdr *msg)
{
	const struct cmsghdr *cmsg = control_find(msg, IPPROTO_UDP, UDP_GRO);
	int size;

	if (!cmsg)
		return 0;
	memcpy(&size, CMSG_DATA(cmsg), sizeof(size));
	return size > 0 ? (size_t)size : 0;
}

/*
 * Is it one datagram after all, whose inner packet is still to be cut, as its sender's kernel left
 * it to a device that never came? Merged ones are each longer than the first says.
 */
static bool is_one_packet(const struct forward_thread *t, enum weft_format format, uint8_t *data,
			  size_t len)
{
	uint8_t tos;

	return t->table && unwrap(t->table, format, &data, &len, &tos) == WEFT_R_OK &&
	       len >= IP4_MIN_HLEN && (size_t)(data[2] << 8 | data[3]) == len;
}

static void take_message(struct forward_thread *t, enum weft_format format, struct mmsghdr *msg)
{
	struct in_buffers *b = t->in;
	const struct sockaddr_in *from = msg->msg_hdr.msg_name;
	uint8_t *data = msg->msg_hdr.msg_iov->iov_base;
	size_t len = msg->msg_len, size = merged_size(&msg->msg_hdr);
	uint8_t tos = control_tos(&msg->msg_hdr);

	t->from = from->sin_addr.s_addr;
	/* More than any IPv4 packet, hence not whole. */
	if (msg->msg_hdr.msg_flags & MSG_TRUNC) {
		account(t, t->table ? WEFT_R_SHORT : WEFT_R_DISABLED, data, len);
		return;
	}
	b->datagram = size && is_one_packet(t, format, data, len) ? size : 0;
	if (!size || b->datagram)
		size = len;
	do {
		size_t n = len < size ? len : size;

		take_datagram(t, format, ntohl(from->sin_addr.s_addr), data, n, tos);
		data += n;
		len -= n;
	} while (len);
}

static void prepare(struct in_buffers *b)
{
	for (size_t i = 0; i < MESSAGES; i++) {
		b->iov[i] = (struct iovec){b->data[i], IP4_MAX_LEN};
		b->msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &b->from[i],
			.msg_iov = &b->iov[i],
			.msg_iovlen = 1,
			.msg_control = b->control[i].room,
		};
	}
}

/* The kernel has written what it used of each. */
static void renew(struct in_buffers *b, int n)
{
	for (int i = 0; i < n; i++) {
		b->msgs[i].msg_hdr.msg_namelen = sizeof(b->from[i]);
		b->msgs[i].msg_hdr.msg_controllen = sizeof(b->control[i].room);
	}
}

/*
 * To look for a second message costs almost a system call, in vain for every packet of a
 * request/response kind of traffic: only now and then, or when it was worth it the last time.
 */
static int receive(int fd, struct in_buffers *b)
{
	ssize_t len;

	if (b->bulk || ++b->lone % ASK_EVERY == 0)
		return recvmmsg(fd, b->msgs, MESSAGES, MSG_DONTWAIT, NULL);
	len = recvmsg(fd, &b->msgs[0].msg_hdr, MSG_DONTWAIT);
	b->msgs[0].msg_len = (unsigned int)len;
	return len < 0 ? -1 : 1;
}

void forward_in_start(struct forward_thread *t)
{
	struct in_buffers *b = t->in;

	coalesce_init(&b->coalesce, write_coalesced, t);
	prepare(b);
	renew(b, MESSAGES);
}

bool forward_in(struct forward_thread *t, enum weft_format format)
{
	struct in_buffers *b = t->in;
	int n = receive(t->sockets[format], b);

	if (n < 0)
		return errno == EAGAIN;
	b->alone = n == 1 && !merged_size(&b->msgs[0].msg_hdr);
	/* What is left of a large packet often comes behind as a message of its own. */
	b->bulk = n > 0 && !b->alone;
	table_take(t);
	for (int i = 0; i < n; i++)
		take_message(t, format, &b->msgs[i]);
	coalesce_flush(&b->coalesce);
	table_leave(t);
	renew(b, n);
	/* As the kernel does not merge datagrams by itself, few are left as they are. */
	b->coalesce.udp = pace_count(&b->pace, b->datagrams) && t->fwd->config.uso;
	b->datagrams = 0;
	return true;
}
