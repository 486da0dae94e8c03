/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The order of a flow: one class, one source port, one worker, also among merged datagrams. */
#include <linux/filter.h>
#include <netinet/in.h>

#include "forward_rig.h"
#include "forward_steer.h"

#define WORKERS 2
#define PACKET 60
#define FLOWS 40
#define NOT_YET (-1)

static uint32_t class_of(const struct ip4_packet *p, uint32_t ports, uint32_t n)
{
	struct ip4_info info;
	uint8_t packet[PACKET];

	ip4_packet_build(packet, p);
	memcpy(packet + IP4_MIN_HLEN, &ports, sizeof(ports));
	if (p->protocol == IPPROTO_UDP)
		packet[24] = 0, packet[25] = PACKET - IP4_MIN_HLEN;
	assert_int_equal(ip4_parse(packet, sizeof(packet), &info), WEFT_R_OK);
	return forward_class(packet, &info, n);
}

static uint32_t both_ports(uint16_t source, uint16_t dest)
{
	return htonl((uint32_t)source << 16 | dest);
}

static void a_class_is_that_of_both_directions(void **state)
{
	struct ip4_packet there = {POD, POD_A, PACKET, IP_DF, 64, IPPROTO_UDP, 0};
	struct ip4_packet back = {POD_A, POD, PACKET, IP_DF, 64, IPPROTO_UDP, 0};
	unsigned int members[4] = {0};

	(void)state;
	for (uint16_t port = 1; port <= 400; port++) {
		uint32_t class = class_of(&there, both_ports(port, 53), 4);

		assert_in_range(class, 0, 3);
		assert_int_equal(class_of(&back, both_ports(53, port), 4), class);
		members[class]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(members[i], 60, 140);
}

static void fragments_and_others_go_by_address(void **state)
{
	struct ip4_packet first = {POD, POD_A, PACKET, IP_MF, 64, IPPROTO_UDP, 0};
	struct ip4_packet later = {POD, POD_A, PACKET, 5, 64, IPPROTO_UDP, 0};
	struct ip4_packet other = {POD, POD_A, PACKET, 0, 64, IPPROTO_ICMP, 0};
	uint32_t class = class_of(&first, 0, 16);

	(void)state;
	for (uint16_t port = 1; port < 100; port++) {
		assert_int_equal(class_of(&first, both_ports(port, 53), 16), class);
		assert_int_equal(class_of(&later, both_ports(port, 53), 16), class);
		assert_int_equal(class_of(&other, both_ports(port, 53), 16), class);
	}
}

static int socket_at(uint32_t addr, uint16_t port, bool shared)
{
	const struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(addr),
	};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	if (shared)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	assert_return_code(bind(fd, (const struct sockaddr *)&local, sizeof(local)), errno);
	return fd;
}

/* Which of the sockets has got what addr sends from port? */
static int socket_chosen(const int *sockets, int n, uint32_t addr, uint16_t port)
{
	int from = socket_at(addr, port, false), chosen = NOT_YET;
	uint8_t byte = 0;

	send_to_node(from, &byte, 1);
	for (int i = 0; i < n; i++)
		if (recv(sockets[i], &byte, 1, 0) == 1)
			chosen = i;
	close(from);
	return chosen;
}

static void a_socket_is_chosen_by_the_outer_header(void **state)
{
	int sockets[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		sockets[i] = socket_at(NODE, rig_port, true);
	assert_int_equal(forward_steer(sockets[0], rig_port, 3), 0);
	for (uint16_t port = 50000; port < 50020; port++)
		assert_int_equal(socket_chosen(sockets, 3, PEER_A, port), port % 3);
	for (uint32_t i = 2; i < 20; i++)
		assert_int_equal(socket_chosen(sockets, 3, ADDR(127, 0, 0, i), rig_port),
				 ADDR(127, 0, 0, i) % 3);
	for (int i = 0; i < 3; i++)
		close(sockets[i]);
}

/* A slow path of two workers. */
struct two {
	int tun[WORKERS], agent[WORKERS], peer;
	struct forward *fwd;
};

static struct two two_start(bool entropy)
{
	struct two two = {.peer = udp_bound(PEER_A)};
	struct forward_config config = {
		.addr = NODE, .port = rig_port, .n_queues = WORKERS, .entropy = entropy};
	int ends[2];

	for (int i = 0; i < WORKERS; i++) {
		assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends),
				   errno);
		two.tun[i] = ends[0];
		two.agent[i] = config.tun_fds[i] = ends[1];
	}
	assert_int_equal(forward_start(&config, &two.fwd), 0);
	forward_set_table(two.fwd, rig_table(PEER_A));
	return two;
}

static void two_stop(struct two *two)
{
	forward_stop(two->fwd);
	close(two->peer);
	for (int i = 0; i < WORKERS; i++) {
		close(two->tun[i]);
		close(two->agent[i]);
	}
}

/* Flow i's packet goes into either queue; the source port with which it reaches the peer. */
static uint16_t port_of_flow(struct two *two, uint16_t i, int queue)
{
	const struct ip4_packet p = {POD, POD_A, PACKET, IP_DF, 64, IPPROTO_UDP, 0};
	const uint32_t ports = both_ports(i, 53);
	struct pollfd pfd = {.fd = two->peer, .events = POLLIN};
	uint8_t packet[PACKET], got[PACKET + 1];
	struct sockaddr_in from = {0};
	socklen_t len = sizeof(from);

	ip4_packet_build(packet, &p);
	memcpy(packet + IP4_MIN_HLEN, &ports, sizeof(ports));
	packet[24] = 0, packet[25] = PACKET - IP4_MIN_HLEN;
	assert_int_equal(send(two->tun[queue], packet, sizeof(packet), 0), PACKET);
	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	assert_int_equal(recvfrom(two->peer, got, sizeof(got), 0, (struct sockaddr *)&from, &len),
			 PACKET);
	assert_int_equal(ntohl(from.sin_addr.s_addr), NODE);
	return ntohs(from.sin_port);
}

static void a_flow_has_one_source_port(void **state)
{
	struct two two = two_start(true);
	unsigned int odd = 0;

	(void)state;
	for (uint16_t i = 1; i <= FLOWS; i++) {
		uint16_t port = port_of_flow(&two, i, 0);

		assert_in_range(port, 61440, UINT16_MAX);
		assert_int_equal(port_of_flow(&two, i, 1), port);
		odd += port & 1;
	}
	assert_in_range(odd, FLOWS / 4, FLOWS * 3 / 4);
	two_stop(&two);
}

static void without_entropy_all_have_the_same(void **state)
{
	struct two two = two_start(false);

	(void)state;
	for (uint16_t i = 1; i <= FLOWS; i++)
		assert_int_equal(port_of_flow(&two, i, i % WORKERS), rig_port);
	two_stop(&two);
}

static void a_source_port_in_use_is_passed_over(void **state)
{
	int others[] = {socket_at(NODE, 61440, false), socket_at(NODE, 61456, false)};
	struct two two = two_start(true);
	bool seen = false;

	(void)state;
	for (uint16_t i = 1; i <= FLOWS; i++) {
		uint16_t port = port_of_flow(&two, i, 0);

		assert_true(port == 61441 || port == 61472);
		seen |= port == 61472;
	}
	assert_true(seen);
	two_stop(&two);
	close(others[0]);
	close(others[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_class_is_that_of_both_directions),
		cmocka_unit_test(fragments_and_others_go_by_address),
		cmocka_unit_test(a_socket_is_chosen_by_the_outer_header),
		cmocka_unit_test(a_flow_has_one_source_port),
		cmocka_unit_test(without_entropy_all_have_the_same),
		cmocka_unit_test(a_source_port_in_use_is_passed_over),
	};

	rig_isolate();
	return cmocka_run_group_tests_name("forward_steer", tests, NULL, NULL);
}
