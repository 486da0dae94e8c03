/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bursts: what is large is cut, what is alike leaves together, and what belongs together merges. */
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/uio.h>

#include "coalesce.h"
#include "forward_rig.h"
#include "forward_steer.h"
#include "l4_packet.h"

#define SENDER_PORT 61440
#define MANY 4000
#define ROOM 1500

/* A sequence of TCP segments. */
#define SEGMENTS 10
#define SEGMENT 1000

static struct rig rig_offloads(bool vnet, bool uso, bool two)
{
	const int size = 32 << 20;
	struct rig rig = {0};
	struct forward_config config = {.addr = NODE, .port = rig_port, .vnet = vnet, .uso = uso};
	int ends[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), errno);
	rig.tun = ends[0];
	rig.tun_agent = config.tun_fds[0] = ends[1];
	/* The second worker has nothing to read. */
	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), errno);
	rig.stranger = ends[0];
	config.tun_fds[1] = ends[1];
	rig.peer_a = udp_bound(PEER_A);
	rig.peer_b = udp_bound(PEER_B);
	setsockopt(rig.peer_a, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(rig.peer_b, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	config.n_queues = two ? 2 : 1;
	config.entropy = two;
	assert_int_equal(forward_start(&config, &rig.fwd), 0);
	forward_set_merging(rig.fwd, true);
	forward_set_table(rig.fwd, rig_table(PEER_A));
	return rig;
}

static struct rig rig_vnet(bool vnet, bool two)
{
	return rig_offloads(vnet, false, two);
}

static void readdress(uint8_t *packet, size_t len, uint32_t saddr, uint32_t daddr, bool pending)
{
	l4_put32(packet + 12, saddr);
	l4_put32(packet + 16, daddr);
	l4_put_ip_sum(packet);
	l4_put_sum(packet, len, pending);
}

/* Segment k of one stream; SEGMENTS of them as one packet if whole. */
static size_t stream(uint8_t *packet, unsigned int k, bool whole, bool pending)
{
	const struct l4_packet p = {
		.protocol = IPPROTO_TCP,
		.sport = 40000,
		.dport = 80,
		.id = (uint16_t)(500 + k),
		.seq = 9000 + k * SEGMENT,
		.from = (size_t)k * SEGMENT,
		.flags = TH_ACK,
		.payload = whole ? SEGMENTS * SEGMENT : SEGMENT,
		.pending = pending,
	};

	return l4_packet_build(packet, &p);
}

static void tun_write_vnet(const struct rig *rig, const struct virtio_net_hdr *vnet,
			   uint8_t *packet, size_t len)
{
	struct iovec iov[] = {{(void *)vnet, sizeof(*vnet)}, {packet, len}};

	assert_int_equal(writev(rig->tun, iov, 2), sizeof(*vnet) + len);
}

static void a_large_packet_is_cut(void **state)
{
	static uint8_t packet[65536];
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 40,
		.gso_size = SEGMENT,
		.csum_start = 20,
		.csum_offset = 16,
	};
	struct rig rig = rig_vnet(true, false);
	size_t len = stream(packet, 0, true, true);

	(void)state;
	tun_write_vnet(&rig, &vnet, packet, len);
	expect_one(&rig, WEFT_HOOK_TUNFD, WEFT_R_OK, len);
	for (unsigned int k = 0; k < SEGMENTS; k++) {
		len = stream(packet, k, false, false);
		expect_packet(rig.peer_a, packet, len, true);
	}
	expect_silence(rig.peer_a);
	rig_stop(&rig);
}

static void a_checksum_is_finished(void **state)
{
	uint8_t packet[2000];
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 16};
	const struct virtio_net_hdr bad[] = {
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 1019},
		/* Over the source address */
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 0, .csum_offset = 12},
		{.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 19, .csum_offset = 16},
	};
	struct weft_counter counters[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_vnet(true, false);
	size_t len = stream(packet, 0, false, true);

	(void)state;
	tun_write_vnet(&rig, &vnet, packet, len);
	stream(packet, 0, false, false);
	expect_packet(rig.peer_a, packet, len, true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		tun_write_vnet(&rig, &bad[i], packet, len);
	counters[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_SLOW, WEFT_R_OK)] =
		(struct weft_counter){1, len};
	counters[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_DROP, WEFT_R_BAD_IP4)] =
		(struct weft_counter){ARRAY_SIZE(bad), ARRAY_SIZE(bad) * len};
	expect_counters(&rig, counters);
	expect_silence(rig.peer_a);
	rig_stop(&rig);
}

/* Packets of changing size, flow and peer, as fast as they are taken. */
struct packets {
	size_t n;
	size_t len[MANY];
	bool to_b[MANY];
	uint8_t bytes[MANY][ROOM];
};

static void make_packets(struct packets *p)
{
	uint32_t random = 1;

	for (p->n = 0; p->n < MANY; p->n++) {
		size_t i = p->n;
		struct l4_packet packet = {
			.protocol = IPPROTO_UDP, .dport = 53, .id = (uint16_t)i, .from = i};

		random = random * 1664525 + 1013904223;
		/* Runs of one size, then others; mostly one flow and one peer */
		packet.payload = random >> 30 ? 500 : 20 + (random >> 8) % 1000;
		packet.sport = (uint16_t)(1000 + (random >> 20) % 16 / 13 * ((random >> 24) % 8));
		p->to_b[i] = (random >> 12) % 8 == 0;
		p->len[i] = l4_packet_build(p->bytes[i], &packet);
		readdress(p->bytes[i], p->len[i], POD, p->to_b[i] ? POD_B : POD_A, false);
	}
}

/* The class of the flow whose port it has come from. */
static uint32_t expect_from_class(int fd, const uint8_t *packet, size_t len)
{
	static uint8_t got[65536];
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct sockaddr_in from = {0};
	socklen_t from_len = sizeof(from);
	struct ip4_info info;

	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	assert_int_equal(recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&from, &from_len),
			 len);
	assert_memory_equal(got, packet, len);
	assert_int_equal(ip4_parse(packet, len, &info), WEFT_R_OK);
	assert_int_equal(ntohs(from.sin_port), SENDER_PORT + forward_class(packet, &info, 2));
	return forward_class(packet, &info, 2);
}

/* Each arrives at its peer, from the port of its flow's class, whole and in its turn. */
static void what_is_not_alike_leaves_apart(void **state)
{
	static struct packets p;
	struct weft_counter counters[WEFT_COUNTER_MAX] = {0};
	struct weft_counter *ok = &counters[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_SLOW, WEFT_R_OK)];
	struct rig rig = rig_vnet(false, true);
	size_t of_class[2] = {0};

	(void)state;
	make_packets(&p);
	for (size_t i = 0; i < p.n; i++) {
		assert_int_equal(send(rig.tun, p.bytes[i], p.len[i], 0), p.len[i]);
		ok->packets++;
		ok->bytes += p.len[i];
	}
	expect_counters(&rig, counters);
	for (size_t i = 0; i < p.n; i++)
		of_class[expect_from_class(p.to_b[i] ? rig.peer_b : rig.peer_a, p.bytes[i],
					   p.len[i])]++;
	assert_true(of_class[0] && of_class[1]);
	rig_stop(&rig);
}

/* Datagrams that the kernel carries as one. */
static void send_glued(int fd, const uint8_t *data, size_t len, uint16_t size)
{
	const struct sockaddr_in node = {
		.sin_family = AF_INET,
		.sin_port = htons(rig_port),
		.sin_addr.s_addr = htonl(NODE),
	};
	const int value = size, none = 0;

	assert_return_code(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof(value)), errno);
	assert_int_equal(sendto(fd, data, len, 0, (const struct sockaddr *)&node, sizeof(node)),
			 len);
	assert_return_code(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none)), errno);
}

static size_t glued_stream(uint8_t *data)
{
	size_t len = 0;

	for (unsigned int k = 0; k < SEGMENTS; k++) {
		size_t n = stream(data + len, k, false, false);

		readdress(data + len, n, POD_A, POD, false);
		len += n;
	}
	return len;
}

static void segments_of_a_stream_become_one(void **state)
{
	static uint8_t data[65536], want[65536], got[65536];
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 40,
		.gso_size = SEGMENT,
		.csum_start = 20,
		.csum_offset = 16,
	};
	struct weft_counter counters[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_vnet(true, false);
	size_t len = glued_stream(data);

	(void)state;
	send_glued(rig.peer_a, data, len, SEGMENT + 40);
	counters[WEFT_COUNTER(WEFT_HOOK_SOCKET, WEFT_SLOW, WEFT_R_OK)] =
		(struct weft_counter){SEGMENTS, len};
	expect_counters(&rig, counters);
	len = stream(want, 0, true, true);
	readdress(want, len, POD_A, POD, true);
	assert_int_equal(receive(rig.tun, got, sizeof(got), false), sizeof(vnet) + len);
	assert_memory_equal(got, &vnet, sizeof(vnet));
	assert_memory_equal(got + sizeof(vnet), want, len);
	rig_stop(&rig);
}

/* One in the middle is somebody else's. */
static void each_datagram_is_judged_alone(void **state)
{
	static uint8_t data[65536];
	const size_t size = SEGMENT + 40;
	struct weft_counter counters[WEFT_COUNTER_MAX] = {0};
	struct rig rig = rig_vnet(false, false);
	size_t len = glued_stream(data);

	(void)state;
	readdress(data + 4 * size, size, POD_B, POD, false);
	send_glued(rig.peer_a, data, len, (uint16_t)size);
	counters[WEFT_COUNTER(WEFT_HOOK_SOCKET, WEFT_SLOW, WEFT_R_OK)] =
		(struct weft_counter){SEGMENTS - 1, (SEGMENTS - 1) * size};
	counters[WEFT_COUNTER(WEFT_HOOK_SOCKET, WEFT_DROP, WEFT_R_SPOOFED_INNER)] =
		(struct weft_counter){1, size};
	expect_counters(&rig, counters);
	for (size_t k = 0; k < SEGMENTS; k++)
		if (k != 4)
			expect_packet(rig.tun, data + k * size, size, false);
	rig_stop(&rig);
}

/*
 * A large datagram of a pod whose cutting nobody has done: the kernel shows how, as it would of
 * merged ones, and tells the device in turn.
 */
static void uncut(uint8_t *packet, size_t datagrams, bool pending)
{
	const struct l4_packet p = {.protocol = IPPROTO_UDP,
				    .sport = 40000,
				    .dport = 443,
				    .id = 7,
				    .payload = datagrams * SEGMENT,
				    .pending = pending};
	size_t len = l4_packet_build(packet, &p);

	readdress(packet, len, POD_A, POD, pending);
}

static void an_uncut_datagram_goes_on_as_one(void **state)
{
	static uint8_t packet[65536], got[65536];
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = 28,
		.gso_size = SEGMENT,
		.csum_start = 20,
		.csum_offset = 6,
	};
	const size_t len = 28 + SEGMENTS * SEGMENT;
	struct rig rig = rig_offloads(true, true, false);

	(void)state;
	uncut(packet, SEGMENTS, true);
	send_glued(rig.peer_a, packet, len, SEGMENT);
	expect_one(&rig, WEFT_HOOK_SOCKET, WEFT_R_OK, len);
	assert_int_equal(receive(rig.tun, got, sizeof(got), false), sizeof(vnet) + len);
	assert_memory_equal(got, &vnet, sizeof(vnet));
	assert_memory_equal(got + sizeof(vnet), packet, len);
	rig_stop(&rig);
}

static void an_uncut_datagram_is_cut_for_a_device_that_cannot(void **state)
{
	static uint8_t packet[65536];
	struct rig rig = rig_vnet(false, false);
	const size_t len = 28 + SEGMENTS * SEGMENT;

	(void)state;
	uncut(packet, SEGMENTS, true);
	send_glued(rig.peer_a, packet, len, SEGMENT);
	expect_one(&rig, WEFT_HOOK_SOCKET, WEFT_R_OK, len);
	for (unsigned int k = 0; k < SEGMENTS; k++) {
		const struct l4_packet p = {.protocol = IPPROTO_UDP,
					    .sport = 40000,
					    .dport = 443,
					    .id = (uint16_t)(7 + k),
					    .from = (size_t)k * SEGMENT,
					    .payload = SEGMENT};
		size_t n = l4_packet_build(packet, &p);

		readdress(packet, n, POD_A, POD, false);
		expect_packet(rig.tun, packet, n, false);
	}
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_packet_is_cut),
		cmocka_unit_test(a_checksum_is_finished),
		cmocka_unit_test(what_is_not_alike_leaves_apart),
		cmocka_unit_test(segments_of_a_stream_become_one),
		cmocka_unit_test(each_datagram_is_judged_alone),
		cmocka_unit_test(an_uncut_datagram_goes_on_as_one),
		cmocka_unit_test(an_uncut_datagram_is_cut_for_a_device_that_cannot),
	};

	rig_isolate();
	return cmocka_run_group_tests_name("forward_batch", tests, NULL, NULL);
}
