/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Threads and memory:
 *  (1) `mailbox` is the only pointer two threads share. A setter swaps its table in and owns what
 *      comes out; the thread swaps NULL in and owns what comes out. So a table has one owner.
 *  (2) `table` and everything below it in struct forward belong to the thread alone.
 *  (3) Counters are written by the thread only, so plain additions of relaxed atomics lose nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#include "forward.h"
#include "offload.h"
#include "util.h"

/* Packets of one side before the other side and control get their turn. */
#define BURST 64
/* How long a side that fails rests: its cause (a vanished device) does not go away by asking. */
#define REST_MS 100
/* Absorbs the bursts of some ten peers while the thread is on the other side. */
#define SOCKET_BUFFER (4 << 20)
/* ICMP errors a process may send: a bucket of 50, refilled with 100 a second. */
#define NSEC_PER_SEC 1000000000ULL
#define ICMP_COST_NS (NSEC_PER_SEC / 100)
#define ICMP_CREDIT_MAX_NS (50 * ICMP_COST_NS)
/* RFC 791: every link carries this much, so no smaller MTU is ever announced. */
#define IP4_MIN_MTU 68

enum { POLL_WAKE, POLL_TUN, POLL_SOCKET, POLL_MAX };

struct counter {
	_Atomic uint64_t packets;
	_Atomic uint64_t bytes;
};

struct forward {
	pthread_t thread;
	int tun_fd; /* not owned */
	int socket_fd;
	int wake_fd;
	in_addr_t addr; /* network byte order */
	atomic_bool stop;
	_Atomic(struct forward_table *) mailbox;
	struct counter counters[WEFT_COUNTER_MAX];

	struct forward_table *table;
	bool resting[POLL_MAX];
	uint64_t icmp_credit_ns;
	uint64_t icmp_stamp_ns;
	uint8_t packet[IP4_MAX_LEN + 1];
	uint8_t segment[IP4_MAX_LEN + 1];
};

static void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

static void count(struct forward *fwd, enum weft_hook hook, enum weft_reason reason, size_t bytes)
{
	enum weft_verdict verdict = reason == WEFT_R_OK ? WEFT_SLOW : WEFT_DROP;
	struct counter *counter = &fwd->counters[WEFT_COUNTER(hook, verdict, reason)];

	counter_add(&counter->packets, 1);
	counter_add(&counter->bytes, bytes);
}

/* Asked before every packet, so the common case must be one plain load. */
static void take_table(struct forward *fwd)
{
	struct forward_table *fresh;

	if (!atomic_load_explicit(&fwd->mailbox, memory_order_relaxed))
		return;
	fresh = atomic_exchange_explicit(&fwd->mailbox, NULL, memory_order_acquire);
	if (!fresh)
		return;
	forward_table_free(fwd->table);
	fwd->table = fresh;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static bool icmp_take_token(struct forward *fwd)
{
	uint64_t now = now_ns();
	uint64_t credit = fwd->icmp_credit_ns + (now - fwd->icmp_stamp_ns);

	if (credit > ICMP_CREDIT_MAX_NS)
		credit = ICMP_CREDIT_MAX_NS;
	fwd->icmp_stamp_ns = now;
	fwd->icmp_credit_ns = credit;
	if (credit < ICMP_COST_NS)
		return false;
	fwd->icmp_credit_ns = credit - ICMP_COST_NS;
	return true;
}

/* May this packet be answered, and may we answer now? Spends a token only for the first yes. */
static bool may_answer(struct forward *fwd, const struct ip4_info *info)
{
	return icmp_error_allowed(fwd->packet, info) && icmp_take_token(fwd);
}

static void answer(struct forward *fwd, const struct ip4_info *info, uint8_t type, uint8_t code,
		   uint16_t mtu)
{
	uint8_t error[ICMP_ERROR_MAX];
	size_t len = icmp_error_build(error, type, code, mtu, forward_icmp_source(fwd->table),
				      fwd->packet, info);

	/* Best effort: the offender is counted as dropped whether the sender hears of it or not. */
	if (len && write(fwd->tun_fd, error, len) < 0)
		return;
}

static void answer_refused(struct forward *fwd, const struct ip4_info *info,
			   enum weft_reason reason)
{
	if (reason != WEFT_R_TTL && reason != WEFT_R_NO_ROUTE && reason != WEFT_R_NOT_OVERLAY)
		return;
	if (!may_answer(fwd, info))
		return;
	if (reason == WEFT_R_TTL)
		answer(fwd, info, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
	else
		answer(fwd, info, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 0);
}

/* Largest inner packet behind outer packets of mtu bytes. */
static uint16_t inner_mtu(uint32_t mtu)
{
	if (mtu < IP4_MIN_MTU + WEFT_OVERHEAD)
		return IP4_MIN_MTU;
	if (mtu > IP4_MAX_LEN)
		mtu = IP4_MAX_LEN;
	return (uint16_t)(mtu - WEFT_OVERHEAD);
}

static struct sockaddr_in peer_address(const struct forward *fwd, const struct forward_route *route)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(fwd->table->port),
		.sin_addr.s_addr = htonl(route->public_ip),
	};
}

/* What the kernel knows of the path; it tells only a connected socket. The route's MTU if not. */
static uint32_t path_mtu(const struct forward *fwd, const struct forward_route *route)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = fwd->addr};
	struct sockaddr_in peer = peer_address(fwd, route);
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

static int udp_send(struct forward *fwd, const struct forward_route *route, size_t len)
{
	struct sockaddr_in peer = peer_address(fwd, route);

	if (sendto(fwd->socket_fd, fwd->packet, len, 0, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return -errno;
	return 0;
}

/* Rare, so the switch of the socket's mode costs nothing where it matters. */
static int udp_send_fragmented(struct forward *fwd, const struct forward_route *route, size_t len)
{
	const int dont = IP_PMTUDISC_DONT, always = IP_PMTUDISC_DO;
	int err;

	if (setsockopt(fwd->socket_fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont)) < 0)
		return -errno;
	err = udp_send(fwd, route, len);
	if (setsockopt(fwd->socket_fd, IPPROTO_IP, IP_MTU_DISCOVER, &always, sizeof(always)) < 0)
		return -errno;
	return err;
}

static enum weft_reason refuse_too_big(struct forward *fwd, const struct forward_route *route,
				       const struct ip4_info *info, bool ask_kernel)
{
	uint32_t mtu = route->mtu;

	if (!may_answer(fwd, info))
		return WEFT_R_TOO_BIG;
	if (ask_kernel)
		mtu = path_mtu(fwd, route);
	answer(fwd, info, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, inner_mtu(mtu));
	return WEFT_R_TOO_BIG;
}

/* The inner DF decides between an error to the sender and fragments of the outer packet. */
static enum weft_reason send_to_peer(struct forward *fwd, const struct forward_route *route,
				     const struct ip4_info *info)
{
	bool fits = info->len <= inner_mtu(route->mtu);
	bool df = info->frag_off & IP_DF;
	int err = -EMSGSIZE;

	if (!fits && df)
		return refuse_too_big(fwd, route, info, false);
	if (fits)
		err = udp_send(fwd, route, info->len);
	if (err == -EMSGSIZE && df)
		return refuse_too_big(fwd, route, info, true);
	if (err == -EMSGSIZE)
		err = udp_send_fragmented(fwd, route, info->len);
	if (err == -EMSGSIZE)
		return WEFT_R_TOO_BIG;
	return err ? WEFT_R_SEND : WEFT_R_OK;
}

static enum weft_reason tun_packet(struct forward *fwd, size_t len)
{
	const struct forward_route *route = NULL;
	enum weft_reason reason;
	struct ip4_info info;

	if (!fwd->table)
		return WEFT_R_DISABLED;
	reason = forward_check_out(fwd->table, fwd->packet, len, &info, &route);
	if (reason == WEFT_R_OK)
		return send_to_peer(fwd, route, &info);
	answer_refused(fwd, &info, reason);
	return reason;
}

static enum weft_reason tun_write(const struct forward *fwd, const uint8_t *packet, size_t len)
{
	return write(fwd->tun_fd, packet, len) < 0 ? WEFT_R_SEND : WEFT_R_OK;
}

/* What a peer's kernel left to a device is done here, or the pod would refuse the packet. */
static enum weft_reason deliver(struct forward *fwd, const struct ip4_info *info)
{
	struct offload_segments segments;
	enum weft_reason reason = WEFT_R_OK;
	size_t len;

	if (!offload_checksum_pending(fwd->packet, info))
		return tun_write(fwd, fwd->packet, info->len);
	if (!fwd->table->mtu || info->len <= fwd->table->mtu ||
	    !offload_segments_start(&segments, fwd->packet, info, fwd->table->mtu)) {
		offload_checksum_complete(fwd->packet, info);
		return tun_write(fwd, fwd->packet, info->len);
	}
	while (reason == WEFT_R_OK && (len = offload_segments_next(&segments, fwd->segment)) > 0)
		reason = tun_write(fwd, fwd->segment, len);
	return reason;
}

static enum weft_reason socket_packet(struct forward *fwd, size_t len, in_addr_t from)
{
	enum weft_reason reason;
	struct ip4_info info;

	if (!fwd->table)
		return WEFT_R_DISABLED;
	/* Longer than the buffer, hence than any IPv4 packet: what we hold of it is not whole. */
	if (len > sizeof(fwd->packet))
		return WEFT_R_SHORT;
	reason = forward_check_in(fwd->table, ntohl(from), fwd->packet, len, &info);
	if (reason != WEFT_R_OK)
		return reason;
	return deliver(fwd, &info);
}

/* False when the side is broken rather than empty. */
static bool drain_tun(struct forward *fwd)
{
	for (int i = 0; i < BURST; i++) {
		ssize_t n = read(fwd->tun_fd, fwd->packet, sizeof(fwd->packet));

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		take_table(fwd);
		count(fwd, WEFT_HOOK_TUNFD, tun_packet(fwd, (size_t)n), (size_t)n);
	}
	return true;
}

static bool drain_socket(struct forward *fwd)
{
	struct sockaddr_in from;

	for (int i = 0; i < BURST; i++) {
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(fwd->socket_fd, fwd->packet, sizeof(fwd->packet), MSG_TRUNC,
				     (struct sockaddr *)&from, &from_len);

		if (n < 0)
			return errno == EAGAIN;
		take_table(fwd);
		count(fwd, WEFT_HOOK_SOCKET, socket_packet(fwd, (size_t)n, from.sin_addr.s_addr),
		      (size_t)n);
	}
	return true;
}

static void wait_for_work(struct forward *fwd, struct pollfd fds[POLL_MAX])
{
	const int all[POLL_MAX] = {fwd->wake_fd, fwd->tun_fd, fwd->socket_fd};
	int timeout = -1;

	for (int i = 0; i < POLL_MAX; i++) {
		fds[i] = (struct pollfd){.fd = fwd->resting[i] ? -1 : all[i], .events = POLLIN};
		if (fwd->resting[i])
			timeout = REST_MS;
		fwd->resting[i] = false;
	}
	if (poll(fds, POLL_MAX, timeout) < 0)
		memset(fds, 0, sizeof(*fds) * POLL_MAX);
}

static void *forward_run(void *arg)
{
	struct forward *fwd = arg;
	struct pollfd fds[POLL_MAX];
	eventfd_t wakes;

	while (!atomic_load_explicit(&fwd->stop, memory_order_relaxed)) {
		wait_for_work(fwd, fds);
		if (fds[POLL_WAKE].revents)
			eventfd_read(fwd->wake_fd, &wakes);
		take_table(fwd);
		if (fds[POLL_TUN].revents)
			fwd->resting[POLL_TUN] = !drain_tun(fwd);
		if (fds[POLL_SOCKET].revents)
			fwd->resting[POLL_SOCKET] = !drain_socket(fwd);
	}
	return NULL;
}

/* More than net.core allows if we may, else as much as it allows: less is slower, not wrong. */
static void socket_set_buffer(int fd, int forced, int option)
{
	const int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

static int socket_open(in_addr_t addr, uint16_t port, int *out)
{
	struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = addr,
	};
	const int discover = IP_PMTUDISC_DO, on = 1;
	_close_ int fd = -1;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The address may come after us, or go and come back. */
	if (setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof(discover)) < 0)
		return -errno;
	socket_set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	socket_set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		return -errno;
	*out = take_fd(&fd);
	return 0;
}

/* Signals are for the control thread, so ours starts with all of them blocked. */
static int thread_start(struct forward *fwd)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	err = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (err)
		return -err;
	err = pthread_create(&fwd->thread, NULL, forward_run, fwd);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_setname_np(fwd->thread, "weft-forward");
	return 0;
}

static void forward_free(struct forward *fwd)
{
	if (!fwd)
		return;
	forward_table_free(atomic_load_explicit(&fwd->mailbox, memory_order_acquire));
	forward_table_free(fwd->table);
	if (fwd->socket_fd >= 0)
		close(fwd->socket_fd);
	if (fwd->wake_fd >= 0)
		close(fwd->wake_fd);
	free(fwd);
}

static void cleanup_forward(struct forward **fwd)
{
	forward_free(*fwd);
}

int forward_start(int tun_fd, uint32_t addr, uint16_t port, struct forward **out)
{
	__attribute__((cleanup(cleanup_forward))) struct forward *fwd = NULL;
	int flags = fcntl(tun_fd, F_GETFL);
	int err;

	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK))
		return -EINVAL;
	fwd = calloc(1, sizeof(*fwd));
	if (!fwd)
		return -ENOMEM;
	fwd->tun_fd = tun_fd;
	fwd->addr = htonl(addr);
	fwd->socket_fd = -1;
	fwd->icmp_credit_ns = ICMP_CREDIT_MAX_NS;
	fwd->icmp_stamp_ns = now_ns();
	fwd->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fwd->wake_fd < 0)
		return -errno;
	err = socket_open(fwd->addr, port, &fwd->socket_fd);
	if (!err)
		err = thread_start(fwd);
	if (err)
		return err;
	*out = take_ptr(fwd);
	return 0;
}

void forward_stop(struct forward *fwd)
{
	if (!fwd)
		return;
	atomic_store_explicit(&fwd->stop, true, memory_order_relaxed);
	eventfd_write(fwd->wake_fd, 1);
	pthread_join(fwd->thread, NULL);
	forward_free(fwd);
}

void forward_set_table(struct forward *fwd, struct forward_table *table)
{
	if (!table)
		return;
	/* Release: the thread sees the table's content. Acquire: we may free what we take back. */
	table = atomic_exchange_explicit(&fwd->mailbox, table, memory_order_acq_rel);
	forward_table_free(table);
	/* An idle thread would otherwise keep the old table until the next packet. */
	eventfd_write(fwd->wake_fd, 1);
}

void forward_counters(const struct forward *fwd, struct weft_counter out[WEFT_COUNTER_MAX])
{
	_Static_assert(WEFT_HOOK_SOCKET == WEFT_HOOK_TUNFD + 1, "the loop's hooks are neighbours");
	size_t end = WEFT_COUNTER(WEFT_HOOK_SOCKET + 1, 0, 0);

	for (size_t i = WEFT_COUNTER(WEFT_HOOK_TUNFD, 0, 0); i < end; i++) {
		const struct counter *counter = &fwd->counters[i];

		out[i].packets = atomic_load_explicit(&counter->packets, memory_order_relaxed);
		out[i].bytes = atomic_load_explicit(&counter->bytes, memory_order_relaxed);
	}
}
