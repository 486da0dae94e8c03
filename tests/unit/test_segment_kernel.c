/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Segments against the kernel's own: a large packet enters it by one TUN device and leaves by
 * another that has no offloads, so that the kernel cuts it. Both must agree in every byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "coalesce.h"
#include "l4_packet.h"
#include "segment.h"
#include "util.h"

#define MTU 1500
#define WAIT_MS 2000
#define QUIET_MS 20

static const uint8_t nops[] = {1, 1, 1, 1, 1, 1, 1, 0};
static const uint8_t stamp[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};

static int from_fd = -1, to_fd = -1;
static uint8_t whole[65600], routed[65600], ours[65600], theirs[65600];

static void write_file(const char *path, const char *text)
{
	_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_return_code(fd, errno);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void set_address(struct sockaddr *where, uint32_t addr)
{
	const struct sockaddr_in value = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(addr),
	};

	memcpy(where, &value, sizeof(value));
}

/* Up, with an address, and the way to 24 bits of it. */
static int tun_new(const char *name, uint32_t addr)
{
	struct ifreq req = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	_close_ int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_return_code(fd, errno);
	strcpy(req.ifr_name, name);
	assert_return_code(ioctl(fd, TUNSETIFF, &req), errno);
	set_address(&req.ifr_addr, addr);
	assert_return_code(ioctl(control, SIOCSIFADDR, &req), errno);
	set_address(&req.ifr_netmask, 0xffffff00);
	assert_return_code(ioctl(control, SIOCSIFNETMASK, &req), errno);
	req.ifr_flags = IFF_UP;
	assert_return_code(ioctl(control, SIOCSIFFLAGS, &req), errno);
	return fd;
}

/* The packets go from 10.244.1.2 to 10.244.2.2. */
static int set_up(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	write_file("/proc/sys/net/ipv4/ip_forward", "1");
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	from_fd = tun_new("from", 0x0af40101);
	to_fd = tun_new("to", 0x0af40201);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(from_fd);
	close(to_fd);
	return 0;
}

/* The next packet that the kernel sends, complete; 0 if none comes. */
static size_t from_kernel(int wait_ms)
{
	struct virtio_net_hdr vnet;
	struct iovec iov[] = {{&vnet, sizeof(vnet)}, {theirs, sizeof(theirs)}};
	struct pollfd pfd = {.fd = to_fd, .events = POLLIN};
	ssize_t n;

	if (poll(&pfd, 1, wait_ms) == 0)
		return 0;
	n = readv(to_fd, iov, 2);
	assert_true(n > (ssize_t)sizeof(vnet));
	assert_int_equal(vnet.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
	return (size_t)n - sizeof(vnet);
}

static void to_kernel(size_t len, size_t headers, size_t size, bool ecn)
{
	bool tcp = whole[9] == IPPROTO_TCP;
	struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = (uint16_t)headers,
		.gso_size = (uint16_t)size,
		.csum_start = (uint16_t)((whole[0] & 15) * 4),
		.csum_offset = tcp ? 16 : 6,
	};
	struct iovec iov[] = {{&vnet, sizeof(vnet)}, {whole, len}};

	if (ecn)
		vnet.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	assert_int_equal(writev(from_fd, iov, 2), sizeof(vnet) + len);
}

struct case_ {
	const char *name;
	struct l4_packet packet;
	size_t size;
};

#define TCP(...) \
	{ \
		.protocol = IPPROTO_TCP, .sport = 40000, .dport = 80, __VA_ARGS__ \
	}
#define UDP(...) \
	{ \
		.protocol = IPPROTO_UDP, .sport = 40000, .dport = 53, __VA_ARGS__ \
	}

static const struct case_ cases[] = {
	{"TCP", TCP(.payload = 14600, .flags = TH_ACK, .ack = 5, .window = 9, .id = 7), 1460},
	{"one byte more", TCP(.payload = 14601, .flags = TH_ACK), 1460},
	{"odd size", TCP(.payload = 9999, .flags = TH_ACK), 1001},
	{"identification wraps", TCP(.payload = 9000, .flags = TH_ACK, .id = 65533), 1000},
	{"sequence wraps", TCP(.payload = 9000, .flags = TH_ACK, .seq = 0xfffff000), 1000},
	{"end of stream", TCP(.payload = 9000, .flags = TH_ACK | TH_PUSH | TH_FIN), 1000},
	{"push", TCP(.payload = 9001, .flags = TH_ACK | TH_PUSH, .tos = 0xb8), 1000},
	{"congestion seen", TCP(.payload = 9000, .flags = TH_ACK | TCP_ECE, .tos = 2), 1000},
	{"congestion answered", TCP(.payload = 9000, .flags = TH_ACK | TCP_CWR), 1000},
	{"both", TCP(.payload = 9000, .flags = TH_ACK | TCP_CWR | TCP_ECE | TH_PUSH), 1000},
	{"urgent", TCP(.payload = 9000, .flags = TH_ACK | TH_URG, .urgent = 7), 1000},
	{"timestamps, DF",
	 TCP(.payload = 9000, .flags = TH_ACK, .tcp_options = stamp, .tcp_options_len = 12,
	     .frag_off = IP_DF, .id = 1),
	 1448},
	{"largest", TCP(.payload = 65535 - 40, .flags = TH_ACK), 1460},
	{"bytes one by one", TCP(.payload = 60, .flags = TH_ACK), 1},
	{"IP options",
	 TCP(.payload = 9000, .flags = TH_ACK, .ip_options = nops, .ip_options_len = 8), 1452},
	{"UDP", UDP(.payload = 14720, .id = 65530), 1472},
	{"UDP, one by one", UDP(.payload = 60), 1},
	{"UDP, uneven", UDP(.payload = 7777, .frag_off = IP_DF), 999},
	{"UDP, largest", UDP(.payload = 65535 - 28), 1472},
};

/* What the kernel cuts has been forwarded: one hop less. */
static size_t build(const struct l4_packet *packet)
{
	struct l4_packet p = *packet;
	size_t len;

	p.pending = true;
	p.ttl = 64;
	len = l4_packet_build(whole, &p);
	p.ttl = 63;
	return l4_packet_build(routed, &p) == len ? len : 0;
}

/* Of what build() built. */
static void check_built(size_t len, size_t size, bool ecn)
{
	const uint8_t *payload;
	struct ip4_info info;
	struct segments s;
	size_t n;

	while (from_kernel(QUIET_MS))
		; /* not ours: the device has just come up */
	assert_int_equal(ip4_parse(routed, len, &info), WEFT_R_OK);
	assert_true(segments_start(&s, routed, &info, size));
	to_kernel(len, s.headers, size, ecn);
	while ((n = segments_next(&s, ours, &payload)) > 0) {
		memcpy(ours + s.headers, payload, n);
		assert_int_equal(from_kernel(WAIT_MS), s.headers + n);
		assert_memory_equal(theirs, ours, s.headers + n);
	}
	assert_int_equal(from_kernel(QUIET_MS), 0);
}

static void segments_are_the_kernels(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct case_ *c = &cases[i];

		printf("# %s\n", c->name);
		check_built(build(&c->packet), c->size, c->packet.flags & TCP_CWR);
	}
}

/* The first segment's payload is changed by what its checksum says is missing. */
static void check_zero_sum(const struct l4_packet *packet)
{
	size_t len = build(packet), at = len - packet->payload;
	const uint8_t *payload;
	struct ip4_info info;
	struct segments s;
	uint32_t sum;

	assert_int_equal(ip4_parse(routed, len, &info), WEFT_R_OK);
	assert_true(segments_start(&s, routed, &info, 1000));
	assert_int_equal(segments_next(&s, ours, &payload), 1000);
	sum = l4_sum(l4_sum(0, routed + at, 2), ours + l4_check_at(ours), 2);
	l4_put16(whole + at, sum);
	l4_put16(routed + at, sum);
	assert_true(segments_start(&s, routed, &info, 1000));
	segments_next(&s, ours, &payload);
	sum = l4_sum(0, ours + l4_check_at(ours), 2);
	assert_int_equal(sum, packet->protocol == IPPROTO_TCP ? 0 : 0xffff);
	check_built(len, 1000, false);
}

static void sums_of_zero_are_the_kernels(void **state)
{
	const struct l4_packet tcp = TCP(.payload = 2500, .flags = TH_ACK);
	const struct l4_packet udp = UDP(.payload = 2500);

	(void)state;
	check_zero_sum(&tcp);
	check_zero_sum(&udp);
}

/* The kernel takes what was merged, and cuts it to the packets that it was. */

static size_t n_emitted;

static void emit_to_kernel(const struct coalesced *p, void *arg)
{
	struct iovec iov[1 + COALESCE_PACKETS] = {{(void *)&p->vnet, sizeof(p->vnet)}};

	(void)arg;
	memcpy(iov + 1, p->slices, p->n_slices * sizeof(iov[0]));
	assert_int_equal(writev(from_fd, iov, (int)p->n_slices + 1), sizeof(p->vnet) + p->len);
	n_emitted++;
}

/* The packets of a large one, coalesced; each comes out of the kernel as it was. */
static void check_return(const struct case_ *c)
{
	static uint8_t pieces[64][MTU], sent[64][MTU];
	static struct coalesce coalesce;
	struct ip4_info info, infos[64];
	const uint8_t *payload;
	size_t n, count = 0;
	struct segments s;

	printf("# %s\n", c->name);
	while (from_kernel(QUIET_MS))
		;
	build(&c->packet);
	assert_int_equal(ip4_parse(whole, sizeof(whole), &info), WEFT_R_OK);
	assert_true(segments_start(&s, whole, &info, c->size));
	coalesce_init(&coalesce, emit_to_kernel, NULL);
	coalesce.udp = true;
	n_emitted = 0;
	while ((n = segments_next(&s, pieces[count], &payload)) > 0) {
		memcpy(pieces[count] + s.headers, payload, n);
		memcpy(sent[count], pieces[count], s.headers + n);
		ip4_parse(sent[count], s.headers + n, &infos[count]);
		coalesce_packet(&coalesce, pieces[count], &infos[count]);
		count++;
	}
	coalesce_flush(&coalesce);
	assert_true(n_emitted <= 2);
	for (size_t i = 0; i < count; i++) {
		sent[i][8]--;
		l4_put_ip_sum(sent[i]);
		assert_int_equal(from_kernel(WAIT_MS), infos[i].len);
		assert_memory_equal(theirs, sent[i], infos[i].len);
	}
	assert_int_equal(from_kernel(QUIET_MS), 0);
}

static void what_was_merged_is_cut_as_it_was(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		/* Urgent data and IP options go alone */
		if (!(cases[i].packet.flags & TH_URG) && !cases[i].packet.ip_options_len)
			check_return(&cases[i]);
}

/* A packet that a peer's kernel left unfinished is cut to the MTU, or as said. */
static void check_unfinished(const struct l4_packet *packet, size_t datagram)
{
	static struct coalesce coalesce;
	size_t len = build(packet), size, n;
	struct ip4_info info, after;
	const uint8_t *payload;
	struct segments s;

	while (from_kernel(QUIET_MS))
		;
	assert_int_equal(ip4_parse(routed, len, &after), WEFT_R_OK);
	size = datagram ? datagram : len > MTU ? MTU - 20 - segment_l4_header(routed, &after) : len;
	assert_true(segments_start(&s, routed, &after, size));
	assert_int_equal(ip4_parse(whole, len, &info), WEFT_R_OK);
	coalesce_init(&coalesce, emit_to_kernel, NULL);
	assert_int_equal(segment_size(whole, &info, MTU, datagram), size);
	assert_true(coalesce_pending(&coalesce, whole, &info, size));
	while ((n = segments_next(&s, ours, &payload)) > 0) {
		memcpy(ours + s.headers, payload, n);
		assert_int_equal(from_kernel(WAIT_MS), s.headers + n);
		assert_memory_equal(theirs, ours, s.headers + n);
	}
	assert_int_equal(from_kernel(QUIET_MS), 0);
}

static void the_kernel_finishes_what_is_left_to_it(void **state)
{
	struct l4_packet tcp = TCP(.payload = 9001, .flags = TH_ACK | TCP_CWR | TH_PUSH);
	struct l4_packet udp = UDP(.payload = 1471);

	(void)state;
	check_unfinished(&tcp, 0);
	check_unfinished(&udp, 0);
	tcp.payload = 1460;
	check_unfinished(&tcp, 0);
	tcp.payload = 1461;
	check_unfinished(&tcp, 0);
	tcp.tcp_options = stamp;
	tcp.tcp_options_len = sizeof(stamp);
	tcp.payload = 60000;
	check_unfinished(&tcp, 0);
	udp.payload = 5001;
	check_unfinished(&udp, 1000);
	check_unfinished(&udp, 1472);
	udp.payload = 1400;
	check_unfinished(&udp, 1000);
	check_unfinished(&udp, 1400);
}

/* Without the kernel: segments of anything are merged to what they were cut from. */

static struct {
	struct l4_packet packet;
	size_t size, done;
	uint16_t count;
} stream;

static void expect_stretch(const struct coalesced *p, void *arg)
{
	struct l4_packet want = stream.packet;
	size_t left = want.payload - stream.done, len = 0, most = COALESCE_PACKETS * stream.size;

	(void)arg;
	want.payload = left < most ? left : most;
	want.from = stream.done;
	want.seq += (uint32_t)stream.done;
	want.id = (uint16_t)(want.id + stream.count);
	want.pending = want.payload > stream.size;
	if (left > most)
		want.flags = TH_ACK;
	for (unsigned int i = 0; i < p->n_slices; i++) {
		memcpy(theirs + len, p->slices[i].iov_base, p->slices[i].iov_len);
		len += p->slices[i].iov_len;
	}
	assert_int_equal(len, l4_packet_build(ours, &want));
	assert_memory_equal(theirs, ours, len);
	assert_int_equal(p->vnet.gso_size, want.pending ? stream.size : 0);
	stream.done += want.payload;
	stream.count = (uint16_t)(stream.count + p->packets);
}

static void check_stream(void)
{
	static uint8_t pieces[1024][MTU];
	static struct coalesce coalesce;
	struct ip4_info info, cut;
	const uint8_t *payload;
	struct segments s;
	size_t n, i = 0;

	assert_true(build(&stream.packet));
	assert_int_equal(ip4_parse(whole, sizeof(whole), &info), WEFT_R_OK);
	assert_true(segments_start(&s, whole, &info, stream.size));
	coalesce_init(&coalesce, expect_stretch, NULL);
	coalesce.udp = true;
	while ((n = segments_next(&s, pieces[i], &payload)) > 0) {
		memcpy(pieces[i] + s.headers, payload, n);
		assert_int_equal(ip4_parse(pieces[i], s.headers + n, &cut), WEFT_R_OK);
		coalesce_packet(&coalesce, pieces[i++], &cut);
	}
	coalesce_flush(&coalesce);
	assert_int_equal(stream.done, stream.packet.payload);
}

static void segments_are_merged_to_what_they_were(void **state)
{
	static const uint8_t flags[] = {0, TH_PUSH, TH_FIN, TH_PUSH | TH_FIN};

	(void)state;
	srand(1);
	for (int i = 0; i < 500; i++) {
		size_t size = 64 + (size_t)rand() % 1380, room = i % 3 ? 65480 : 4000;

		memset(&stream, 0, sizeof(stream));
		stream.size = size;
		stream.packet = (struct l4_packet){
			.protocol = i % 2 ? IPPROTO_UDP : IPPROTO_TCP,
			.id = (uint16_t)rand(),
			.seq = (uint32_t)rand() * 2,
			.flags = TH_ACK | flags[rand() % 4],
			.frag_off = rand() % 2 ? IP_DF : 0,
			.tcp_options = stamp,
			.tcp_options_len = rand() % 2 ? sizeof(stamp) : 0,
			.payload = 1 + (size_t)rand() % room,
		};
		check_stream();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_are_the_kernels),
		cmocka_unit_test(sums_of_zero_are_the_kernels),
		cmocka_unit_test(what_was_merged_is_cut_as_it_was),
		cmocka_unit_test(the_kernel_finishes_what_is_left_to_it),
		cmocka_unit_test(segments_are_merged_to_what_they_were),
	};

	return cmocka_run_group_tests_name("segment and the kernel", tests, set_up, tear_down);
}
