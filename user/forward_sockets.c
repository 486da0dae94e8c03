/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sockets of the slow path: one for each worker to receive from, all of them at the overlay's
 * port, and one for each class of flows to send from.
 */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "forward_priv.h"
#include "forward_steer.h"
#include "log.h"
#include "util.h"

/* Absorbs the bursts of some ten peers while the thread is on the other side. */
#define SOCKET_BUFFER (4 << 20)

/*
 * Of WEFT_SPORT_MIN and up, beyond where the kernel gives out ports (ip_local_port_range). Any
 * number of workers up to 6 divides it: the same class then comes to the same worker.
 */
#define SENDER_PORTS 61440

/* More than net.core allows if we may, else as much as it allows: less is slower, not wrong. */
static void socket_set_buffer(int fd, int forced, int option)
{
	const int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

static int socket_set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Not yet bound. */
static int socket_open(uint8_t protocol, int *out)
{
	int type = protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_RAW;
	_close_ int fd = -1;
	int err;

	fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (fd < 0)
		return -errno;
	/* The address may come after us, or go and come back. */
	err = socket_set(fd, IPPROTO_IP, IP_FREEBIND, 1);
	if (err == 0)
		err = socket_set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	if (err)
		return err;
	socket_set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	*out = take_fd(&fd);
	return 0;
}

static int socket_bind(const struct forward *fwd, int fd, uint16_t port)
{
	struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = fwd->addr,
	};

	return bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0 ? -errno : 0;
}

static uint16_t port_of(const struct forward *fwd, enum weft_format format)
{
	if (format == WEFT_FORMAT_VXLAN)
		return fwd->config.vxlan_port;
	return format == WEFT_FORMAT_UDP ? fwd->config.port : 0;
}

/* With the TOS of each packet, as its ECN field is for the inner one. */
static int open_bound(const struct forward *fwd, enum weft_format format, bool shared, int *out)
{
	int err = socket_open(format_protocol(format), out);

	if (err == 0 && shared)
		err = socket_set(*out, SOL_SOCKET, SO_REUSEPORT, 1);
	if (err == 0)
		err = socket_set(*out, IPPROTO_IP, IP_RECVTOS, 1);
	if (err)
		return err;
	socket_set_buffer(*out, SO_RCVBUFFORCE, SO_RCVBUF);
	return socket_bind(fwd, *out, port_of(fwd, format));
}

/* Nothing is received there, so nothing may pile up. */
static int refuse_all(int fd)
{
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	const struct sock_fprog program = {ARRAY_SIZE(code), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

/* To send from where the kernel has the overlay's port. */
static int open_silent(const struct forward *fwd, uint8_t protocol, int *out)
{
	int err = socket_open(protocol, out);

	if (err == 0)
		err = refuse_all(*out);
	return err ? err : socket_bind(fwd, *out, 0);
}

/* Only the first shows whether another program owns the port: the others want to share it. */
static int open_receiver(const struct forward *fwd, bool first, int *out)
{
	int err;

	if (fwd->config.fou)
		return open_silent(fwd, IPPROTO_UDP, out);
	err = open_bound(fwd, fwd->steered, !first, out);
	if (err == 0 && first && fwd->config.n_queues > 1)
		err = socket_set(*out, SOL_SOCKET, SO_REUSEPORT, 1);
	return err;
}

/* The first free port of the class. */
static int open_sender(const struct forward *fwd, size_t class, int *out)
{
	int err = socket_open(IPPROTO_UDP, out);

	if (err == 0)
		err = refuse_all(*out);
	if (err)
		return err;
	for (size_t port = SENDER_PORTS + class; port <= UINT16_MAX; port += FORWARD_QUEUES_MAX) {
		err = socket_bind(fwd, *out, (uint16_t)port);
		if (err != -EADDRINUSE)
			break;
	}
	return err;
}

/*
 * Worth it with one worker, too: when a packet has left, the kernel wakes whoever waits for its
 * socket, for each segment anew (sock_wfree()), and nobody waits for these.
 */
static void open_senders(struct forward *fwd, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i++)
		err = open_sender(fwd, i, &fwd->senders[i]);
	fwd->n_senders = err ? 0 : n;
	if (err)
		log_warn("one source port for all flows: %s", strerror(-err));
}

static void steer_receivers(const struct forward *fwd)
{
	int err = forward_steer(fwd->sockets[0], port_of(fwd, fwd->steered),
				(uint32_t)fwd->config.n_queues);

	if (err)
		log_warn("the kernel chooses the socket of each flow: %s", strerror(-err));
}

/* Every raw socket gets a copy of every packet, so those that send take none. */
static int open_raws(struct forward *fwd)
{
	int err = 0;

	for (size_t i = 0; i < fwd->config.n_queues && err == 0; i++)
		err = open_silent(fwd, IPPROTO_IPIP, &fwd->raws[i]);
	return err;
}

/* Peers send another format than this to us, unless they have not heard yet. */
static int open_other(struct forward *fwd, enum weft_format format)
{
	int *fd = &fwd->others[format];
	int err = open_bound(fwd, format, false, fd);

	if (err == 0 || fwd->config.format == format)
		return err;
	log_info("format %s is not received: %s", format_name(format), strerror(-err));
	cleanup_close(fd);
	return 0;
}

static int open_ipip(struct forward *fwd)
{
	int err;

	if (fwd->config.fou)
		return open_raws(fwd);
	err = open_other(fwd, WEFT_FORMAT_IPIP);
	return err || fwd->others[WEFT_FORMAT_IPIP] < 0 ? err : open_raws(fwd);
}

/* Formats that few peers send, if any. */
static int open_others(struct forward *fwd)
{
	const struct forward_config *config = &fwd->config;
	int err = 0;

	if (fwd->steered != WEFT_FORMAT_UDP)
		err = open_other(fwd, WEFT_FORMAT_UDP);
	if (err == 0 && config->vxlan_port && fwd->steered != WEFT_FORMAT_VXLAN)
		err = open_other(fwd, WEFT_FORMAT_VXLAN);
	if (err == 0 && config->ipip)
		err = open_ipip(fwd);
	return err;
}

int sockets_open(struct forward *fwd)
{
	size_t n = fwd->config.n_queues;
	int err;

	if (fwd->config.format == WEFT_FORMAT_VXLAN && fwd->config.vxlan_port)
		fwd->steered = WEFT_FORMAT_VXLAN;
	err = open_others(fwd);
	for (size_t i = 0; i < n && err == 0; i++)
		err = open_receiver(fwd, i == 0, &fwd->sockets[i]);
	if (err)
		return err;
	if (n > 1 && !fwd->config.fou)
		steer_receivers(fwd);
	if (fwd->config.entropy && !fwd->config.plain)
		open_senders(fwd, n);
	return 0;
}

void forward_set_merging(struct forward *fwd, bool on)
{
	int err = 0;

	if (fwd->config.plain)
		return;
	for (size_t i = 0; i < fwd->config.n_queues && err == 0; i++)
		err = socket_set(fwd->sockets[i], IPPROTO_UDP, UDP_GRO, on);
	if (err && on)
		log_warn("no UDP_GRO: %s", strerror(-err));
}

void sockets_init(struct forward *fwd)
{
	for (size_t i = 0; i < FORWARD_QUEUES_MAX; i++)
		fwd->sockets[i] = fwd->senders[i] = fwd->raws[i] = -1;
	for (size_t i = 0; i < WEFT_FORMAT_MAX; i++)
		fwd->others[i] = -1;
}

void sockets_close(struct forward *fwd)
{
	for (size_t i = 0; i < FORWARD_QUEUES_MAX; i++) {
		cleanup_close(&fwd->sockets[i]);
		cleanup_close(&fwd->senders[i]);
		cleanup_close(&fwd->raws[i]);
	}
	for (size_t i = 0; i < WEFT_FORMAT_MAX; i++)
		cleanup_close(&fwd->others[i]);
}
