/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path between a TUN device and sockets that are the input: the first byte is how it is
 * set up, then come packets. An own reading of each packet says whether it may pass; as many pass
 * as may, every one is counted once, and whatever leaves is whole, from whom it may come and for
 * whom it is sent to.
 */
#include "fuzz.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "../unit/l4_packet.h"
/* Both have one of that name. */
#define account account_in
#include "forward_in.c"
#undef account
#include "forward_out.c"
#include "util.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define NETWORK IP(10, 244, 0, 0)
#define NODE IP(192, 0, 2, 1)
#define PEER(n) (NODE + (n)) /* holds 10.244.(1 + n).0/24: udp, vxlan, ipip */
#define ICMP_SOURCE NETWORK
#define PORT 8285
#define VXLAN_PORT 8472

/* Never those of the process */
enum { TUN_FD = 100001, SOCKET_FD, RAW_FD = SOCKET_FD + WEFT_FORMAT_MAX, STOP_FD };

/* The first byte of the input. */
enum { PLAIN = 1, VNET = 2, USO = 4, CHECKED = 8, INHERIT = 16, LIMITED = 32, NO_TABLE = 64 };

/* Of a packet: where from, and what else comes in front of it. */
enum {
	FROM_SOCKET = 1,
	FORMAT_SHIFT = 1,
	REPAIR = 8,
	BURST = 16,
	TOS = 32,
	MERGED = 64,
	FAIL = 128
};

static struct {
	struct input in;
	uint8_t setup;
	const struct forward_table *table;
	int fail; /* errno of what is sent next */
	bool is_out; /* the last packet came from the device */
	bool from[256]; /* who has sent, by the last byte of the address */
	uint64_t tun, tun_accepted,
		tun_odd; /* packets; odd: with a virtio header that asks for work */
	uint64_t socket, socket_accepted;
	uint64_t counted[WEFT_HOOK_MAX][WEFT_REASON_MAX];
} run;

/* Too large to be had anew for each run. */
static struct in_buffers in_buffers;
static struct out_buffers out_buffers;
static uint8_t plain_buffer[IP4_MAX_LEN + 1];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

/* In place of forward.c. */
const struct forward_table *table_take(struct forward_thread *t)
{
	t->table = run.table;
	return run.table;
}

void table_leave(struct forward_thread *t)
{
	t->table = NULL;
}

/* Nobody traces. */
void forward_record(const struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		    const struct iovec *head, uint64_t bytes)
{
	(void)t;
	(void)hook;
	(void)reason;
	(void)head;
	(void)bytes;
	CHECK(false);
}

void forward_count(struct forward_thread *t, enum weft_hook hook, enum weft_reason reason,
		   uint64_t packets, uint64_t bytes)
{
	(void)t;
	CHECK(packets && bytes >= packets);
	run.counted[hook][reason] += packets;
}

/* A reading of our own. */

static uint32_t word(const uint8_t *at)
{
	return IP(at[0], at[1], at[2], at[3]);
}

static bool is_whole(const uint8_t *p, size_t len)
{
	size_t hlen = len ? (p[0] & 15) * 4U : 0;

	return len >= 20 && p[0] >> 4 == 4 && hlen >= 20 && hlen <= len &&
	       (p[2] << 8 | p[3]) >= (int)hlen && (size_t)(p[2] << 8 | p[3]) <= len &&
	       l4_sum(0, p, hlen) == 0xffff;
}

static bool is_ours(uint32_t addr)
{
	return addr >> 8 == (NETWORK | 0x100) >> 8;
}

/* The node of an address: 1 to 3, or 0. */
static unsigned int node_of(uint32_t addr)
{
	unsigned int subnet = addr >> 8 & 0xff;

	return addr >> 16 == NETWORK >> 16 && subnet >= 2 && subnet <= 4 ? subnet - 1 : 0;
}

static bool accepts_out(const uint8_t *p, size_t len)
{
	return run.table && is_whole(p, len) && p[8] && node_of(word(p + 16)) &&
	       (is_ours(word(p + 12)) || !(run.setup & CHECKED));
}

static bool accepts_inner(uint32_t from, uint8_t tos, const uint8_t *p, size_t len)
{
	bool checked = run.setup & CHECKED;

	if (!is_whole(p, len) || (size_t)(p[2] << 8 | p[3]) != len || !p[8])
		return false;
	if (checked && (!node_of(word(p + 12)) || PEER(node_of(word(p + 12))) != from))
		return false;
	return !is_ours(word(p + 12)) && is_ours(word(p + 16)) && !((tos & 3) == 3 && !(p[1] & 3));
}

/* Where the inner packet begins; beyond len: nowhere. */
static size_t inner_at(enum weft_format format, const uint8_t *p, size_t len)
{
	static const uint8_t vxlan[] = {8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1};
	size_t hlen = len ? (p[0] & 15) * 4U : 0;

	if (format == WEFT_FORMAT_VXLAN)
		return len >= 22 && !memcmp(p, vxlan, sizeof(vxlan)) && p[20] == 8 && !p[21]
			       ? 22
			       : len + 1;
	if (format == WEFT_FORMAT_IPIP)
		return hlen >= 20 && len >= hlen ? hlen : len + 1;
	return 0;
}

static bool accepts_in(enum weft_format format, uint32_t from, uint8_t tos, const uint8_t *p,
		       size_t len)
{
	size_t at = inner_at(format, p, len);

	return run.table && at <= len &&
	       accepts_inner(from, format == WEFT_FORMAT_IPIP ? p[1] : tos, p + at, len - at);
}

/* Merged, says the kernel; but does the first packet say that it is all of them? */
static bool is_uncut(enum weft_format format, const uint8_t *p, size_t len)
{
	size_t at = inner_at(format, p, len);

	return run.table && at + 20 <= len && (size_t)(p[at + 2] << 8 | p[at + 3]) == len - at;
}

/* What comes. */

static bool is_next(bool socket, unsigned int format)
{
	if (!run.in.left || (run.in.at[0] & FROM_SOCKET) != socket)
		return false;
	return !socket || (run.in.at[0] >> FORMAT_SHIFT & 3) % WEFT_FORMAT_MAX == format;
}

static void repair(uint8_t *p, size_t len)
{
	if (len < 20)
		return;
	p[0] = (uint8_t)(0x40 | (p[0] & 15));
	l4_put16(p + 2, (uint32_t)len);
	if ((p[0] & 15) * 4U <= len)
		l4_put_ip_sum(p);
}

/* Bytes of the next packet to buf; headers: in front of what is repaired. */
static size_t take_bytes(uint8_t how, uint8_t *buf, size_t room, size_t headers)
{
	size_t len = 1 + take16(&run.in) % 2000;
	_free_ uint8_t *copy = take_copy(&run.in, &len);

	len = len < room ? len : room;
	if (how & REPAIR && len > headers)
		repair(copy + headers, len - headers);
	memcpy(buf, copy, len);
	return len;
}

static ssize_t tun_take(uint8_t *buf, size_t room, struct virtio_net_hdr *vnet)
{
	uint8_t how, *header = (uint8_t *)vnet;
	size_t len;

	if (!is_next(false, 0)) {
		errno = EAGAIN;
		return -1;
	}
	how = take8(&run.in);
	run.fail = how & FAIL ? 1 + take8(&run.in) : 0;
	for (size_t i = 0; vnet && how & MERGED && i < sizeof(*vnet); i++)
		header[i] = take8(&run.in);
	len = take_bytes(how, buf, room, 0);
	if (!len) {
		errno = EAGAIN;
		return -1;
	}
	run.is_out = true;
	run.tun++;
	if (vnet && how & MERGED)
		run.tun_odd++;
	else
		run.tun_accepted += accepts_out(buf, len);
	return (ssize_t)len;
}

static void put_control(struct msghdr *msg, size_t *used, int level, int type, int value)
{
	struct cmsghdr *cmsg = (void *)((char *)msg->msg_control + *used);

	if (*used + CMSG_SPACE(sizeof(value)) > msg->msg_controllen)
		return;
	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(sizeof(value));
	memcpy(CMSG_DATA(cmsg), &value, sizeof(value));
	*used += CMSG_SPACE(sizeof(value));
}

static void expect_datagrams(enum weft_format format, uint32_t from, uint8_t tos,
			     const uint8_t *data, size_t len, size_t size)
{
	if (!size || is_uncut(format, data, len))
		size = len;
	for (size_t n; len; data += n, len -= n) {
		n = len < size ? len : size;
		run.socket++;
		run.socket_accepted += accepts_in(format, from, tos, data, n);
	}
}

static ssize_t socket_take(enum weft_format format, struct msghdr *msg)
{
	static const size_t headers[] = {0, 22, 20};
	struct sockaddr_in *from = msg->msg_name;
	size_t len, used = 0, size = 0;
	uint8_t how, tos = 0;
	uint32_t peer;

	if (!is_next(true, format)) {
		errno = EAGAIN;
		return -1;
	}
	run.is_out = false;
	how = take8(&run.in);
	run.fail = how & FAIL ? 1 + take8(&run.in) : 0;
	peer = PEER(take8(&run.in) % 5);
	tos = how & TOS ? take8(&run.in) : 0;
	if (how & MERGED && !(run.setup & PLAIN) && format != WEFT_FORMAT_IPIP)
		size = 1 + take16(&run.in) % 2000;
	len = take_bytes(how, msg->msg_iov->iov_base, msg->msg_iov->iov_len, headers[format]);
	if (!len) {
		errno = EAGAIN;
		return -1;
	}
	if (how & TOS)
		put_control(msg, &used, IPPROTO_IP, IP_TOS, tos);
	if (size)
		put_control(msg, &used, IPPROTO_UDP, UDP_GRO, (int)size);
	msg->msg_controllen = used;
	msg->msg_flags = 0;
	*from = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(peer)};
	run.from[peer & 0xff] = true;
	expect_datagrams(format, peer, tos, msg->msg_iov->iov_base, len, size);
	return (ssize_t)len;
}

/* What leaves. */

static size_t gather(const struct iovec *iov, size_t n, uint8_t *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		CHECK(len + iov[i].iov_len <= 70000);
		if (iov[i].iov_len)
			memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return len;
}

static void check_icmp(const uint8_t *p, size_t len)
{
	CHECK(p[9] == IPPROTO_ICMP && (p[20] == 3 || p[20] == 11) && len >= 48);
	CHECK(l4_sum(0, p + 20, len - 20) == 0xffff);
	CHECK(is_ours(word(p + 16)) || !(run.setup & CHECKED));
}

static void check_to_tun(const uint8_t *p, size_t len)
{
	uint32_t saddr = word(p + 12);

	CHECK(is_whole(p, len) && (size_t)(p[2] << 8 | p[3]) == len);
	if (run.is_out) {
		CHECK(saddr == ICMP_SOURCE && p[1] == 0xc0);
		check_icmp(p, len);
		return;
	}
	CHECK(is_ours(word(p + 16)) && !is_ours(saddr) && p[8]);
	CHECK(!(run.setup & CHECKED) || (node_of(saddr) && run.from[PEER(node_of(saddr)) & 0xff]));
}

static void check_to_peer(int fd, const struct sockaddr_in *to, const uint8_t *p, size_t len)
{
	unsigned int node = ntohl(to->sin_addr.s_addr) - NODE;
	static const uint8_t vxlan[] = {8, 0, 0, 0, 0, 0, 1, 0, 0x4a, 0, 0,
					0, 0, 7, 2, 0, 0, 0, 0, 1,    8, 0};

	CHECK(node >= 1 && node <= 3 && (fd == RAW_FD) == (node == 3));
	CHECK(ntohs(to->sin_port) == (node == 1 ? PORT : node == 2 ? VXLAN_PORT : 0));
	if (node == 2) {
		CHECK(len > sizeof(vxlan) && memcmp(p, vxlan, sizeof(vxlan)) == 0);
		p += sizeof(vxlan);
		len -= sizeof(vxlan);
	}
	CHECK(is_whole(p, len) && node_of(word(p + 16)) == node && p[8]);
	CHECK(is_ours(word(p + 12)) || !(run.setup & CHECKED));
}

static int fail_next(void)
{
	static const int errors[] = {EMSGSIZE, EIO, ENOBUFS, EAGAIN, ENETUNREACH};

	if (!run.fail)
		return 0;
	errno = errors[run.fail % ARRAY_SIZE(errors)];
	return -1;
}

/* In place of the kernel (ld --wrap). */

ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags, struct timespec *t);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	return fd == TUN_FD ? tun_take(buf, len, NULL) : __real_read(fd, buf, len);
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	struct virtio_net_hdr *vnet = n == 2 ? iov[0].iov_base : NULL;
	ssize_t len;

	CHECK(fd == TUN_FD && n == (run.setup & VNET ? 2 : 1));
	if (vnet)
		memset(vnet, 0, sizeof(*vnet));
	len = tun_take(iov[n - 1].iov_base, iov[n - 1].iov_len, vnet);
	return len < 0 || !vnet ? len : len + (ssize_t)sizeof(*vnet);
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	static uint8_t packet[70000];
	bool vnet = run.setup & VNET;
	size_t len = gather(iov + vnet, (size_t)(n - vnet), packet);

	CHECK(fd == TUN_FD && (!vnet || iov[0].iov_len == sizeof(struct virtio_net_hdr)));
	check_to_tun(packet, len);
	return fail_next() ? -1 : (ssize_t)len;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	(void)flags;
	return socket_take((enum weft_format)(fd - SOCKET_FD), msg);
}

int __wrap_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags, struct timespec *t)
{
	unsigned int i = 0;
	ssize_t len;

	(void)flags;
	(void)t;
	for (; i < n; i++) {
		len = socket_take((enum weft_format)(fd - SOCKET_FD), &msgs[i].msg_hdr);
		if (len < 0)
			break;
		msgs[i].msg_len = (unsigned int)len;
	}
	return i ? (int)i : -1;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	static uint8_t data[70000];
	const struct cmsghdr *cmsg = control_find((struct msghdr *)msg, IPPROTO_UDP, UDP_SEGMENT);
	size_t len = gather(msg->msg_iov, msg->msg_iovlen, data), size = len, n;
	uint16_t segment;

	(void)flags;
	if (cmsg) {
		memcpy(&segment, CMSG_DATA(cmsg), sizeof(segment));
		CHECK(segment && segment < len && len <= BATCH_BYTES);
		CHECK((len + segment - 1) / segment <= BATCH);
		size = segment;
	}
	CHECK(len);
	for (size_t at = 0; at < len; at += n) {
		n = len - at < size ? len - at : size;
		check_to_peer(fd, msg->msg_name, data + at, n);
	}
	return fail_next() ? -1 : (ssize_t)len;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	(void)fd;
	(void)value;
	(void)len;
	return level == IPPROTO_IP && name == IP_MTU_DISCOVER ? 0 : -1;
}

int __wrap_socket(int domain, int type, int protocol)
{
	(void)domain;
	(void)type;
	(void)protocol;
	errno = EMFILE;
	return -1;
}

/* The plain loop ends with the input. */
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	(void)timeout;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = fds[i].fd == STOP_FD ? (run.in.left ? 0 : POLLIN) : POLLIN;
	return (int)n;
}

/* The rig */

static struct forward_table *make_table(void)
{
	static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {0x4a, 0, 0, 0, 0, 7};
	struct forward_table *table = forward_table_new(3, 4);

	CHECK(table);
	table->network = (struct prefix4){NETWORK, 16};
	table->subnet = (struct prefix4){NETWORK | 0x100, 24};
	table->port = PORT;
	table->vxlan_port = VXLAN_PORT;
	table->vtep.vni = 1;
	memcpy(table->vtep.mac, own_mac, 6);
	table->peer_check = run.setup & CHECKED;
	table->dscp_inherited = run.setup & INHERIT;
	table->mtu = run.setup & LIMITED ? 600 : 0;
	table->members[0] = NODE;
	for (unsigned int i = 1; i <= 3; i++) {
		struct forward_route *route = &table->routes[i - 1];

		table->members[i] = PEER(i);
		*route = (struct forward_route){.subnet = {NETWORK | (1 + i) << 8, 24},
						.public_ip = PEER(i),
						.mtu = i == 3 ? 700 : 1500,
						.format = (enum weft_format)(i - 1)};
		memcpy(route->vtep_mac, peer_mac, 6);
	}
	return table;
}

static void step(struct forward_thread *t)
{
	uint8_t how = run.in.at[0];

	if (how & FROM_SOCKET) {
		((struct in_buffers *)t->in)->bulk = how & BURST;
		forward_in(t, (how >> FORMAT_SHIFT & 3) % WEFT_FORMAT_MAX);
		return;
	}
	if (how & BURST)
		((struct out_buffers *)t->out)->lone = ASK_EVERY - 1;
	forward_out(t);
}

static void check_counts(void)
{
	const uint64_t *tun = run.counted[WEFT_HOOK_TUNFD], *in = run.counted[WEFT_HOOK_SOCKET];
	uint64_t n_tun = 0, n_in = 0, passed;

	for (int i = 0; i < WEFT_REASON_MAX; i++) {
		n_tun += tun[i];
		n_in += in[i];
	}
	CHECK(n_tun == run.tun && n_in == run.socket);
	CHECK(in[WEFT_R_OK] + in[WEFT_R_SEND] == run.socket_accepted);
	passed = tun[WEFT_R_OK] + tun[WEFT_R_SEND] + tun[WEFT_R_TOO_BIG];
	CHECK(passed >= run.tun_accepted && passed <= run.tun_accepted + run.tun_odd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct forward fwd = {.addr = htonl(NODE), .stop_fd = STOP_FD};
	struct forward_thread t = {.fwd = &fwd,
				   .tun_fd = TUN_FD,
				   .sockets = {SOCKET_FD, SOCKET_FD + 1, SOCKET_FD + 2},
				   .socket_fd = SOCKET_FD,
				   .raw_fd = RAW_FD,
				   .in = &in_buffers,
				   .out = &out_buffers};
	struct forward_table *table;

	memset(&run, 0, sizeof(run));
	run.in = (struct input){data, size};
	run.setup = take8(&run.in);
	if (run.setup & PLAIN)
		run.setup &= (uint8_t)~VNET;
	table = make_table();
	run.table = run.setup & NO_TABLE ? NULL : table;
	fwd.config = (struct forward_config){
		.plain = run.setup & PLAIN, .vnet = run.setup & VNET, .uso = run.setup & USO};
	memset(&in_buffers, 0, offsetof(struct in_buffers, data));
	memset(&out_buffers, 0, offsetof(struct out_buffers, arena));
	if (run.setup & PLAIN) {
		t.in = plain_buffer;
		forward_plain(&t);
	} else {
		forward_in_start(&t);
		while (run.in.left)
			step(&t);
	}
	check_counts();
	forward_table_free(table);
	return 0;
}
