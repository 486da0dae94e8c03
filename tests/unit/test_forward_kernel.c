/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path against the kernel's own ideas: path MTU, don't-fragment, a real TUN device, and
 * whether the host stack takes our ICMP errors. Skipped where no network namespace can be made.
 */
#include <linux/if_tun.h>
#include <net/route.h>

#include "forward_rig.h"

#define NEED_NAMESPACE() \
	do { \
		if (!rig_isolated) \
			skip(); \
	} while (0)

static struct ip4_packet to_b(uint16_t len, uint16_t frag_off)
{
	return (struct ip4_packet){.saddr = POD,
				   .daddr = POD_B,
				   .len = len,
				   .frag_off = frag_off,
				   .ttl = 64,
				   .protocol = 17};
}

static void tun_inject(const struct rig *rig, const struct ip4_packet *spec, uint8_t *packet)
{
	ip4_packet_build(packet, spec);
	assert_int_equal(write(rig->tun, packet, spec->len), spec->len);
}

/* The route says 65535, the kernel's device says 1500: the kernel is right. */
static void kernel_mtu_beats_the_route(void **state)
{
	static uint8_t packet[65536], want[ICMP_ERROR_MAX];
	const struct ip4_packet df = to_b(1473, IP_DF), fits = to_b(1472, IP_DF),
				big = to_b(9000, 0);
	struct weft_counter counters[WEFT_COUNTER_MAX] = {0};
	struct rig rig = {0};
	struct ip4_info info;
	size_t len;

	(void)state;
	NEED_NAMESPACE();
	lo_set_mtu(1500);
	rig = rig_start_routed();
	tun_inject(&rig, &df, packet);
	ip4_parse(packet, df.len, &info);
	len = icmp_error_build(want, 3, 4, 1472, ICMP_SOURCE, packet, &info);
	expect_packet(rig.tun, want, len, false);
	tun_inject(&rig, &fits, packet);
	expect_packet(rig.peer_b, packet, fits.len, true);
	tun_inject(&rig, &big, packet);
	expect_packet(rig.peer_b, packet, big.len, true);
	tun_inject(&rig, &df, packet);
	expect_packet(rig.tun, want, len, false);
	counters[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_SLOW, WEFT_R_OK)] =
		(struct weft_counter){2, 1472 + 9000};
	counters[WEFT_COUNTER(WEFT_HOOK_TUNFD, WEFT_DROP, WEFT_R_TOO_BIG)] =
		(struct weft_counter){2, 2 * 1473};
	expect_counters(&rig, counters);
	rig_stop(&rig);
	lo_set_mtu(65536);
}

/* No datagram is that long, with or without fragments: refused, and nobody to tell. */
static void longer_than_a_datagram(void **state)
{
	static uint8_t packet[65536];
	const struct ip4_packet huge = to_b(65508, 0);
	struct rig rig = rig_start_routed();

	(void)state;
	tun_inject(&rig, &huge, packet);
	expect_one(&rig, WEFT_HOOK_TUNFD, WEFT_R_TOO_BIG, huge.len);
	expect_silence(rig.tun);
	rig_stop(&rig);
}

static bool outer_has_df(const struct rig *rig, int raw, uint16_t len)
{
	const struct ip4_packet spec = {
		.saddr = POD, .daddr = POD_A, .len = len, .ttl = 64, .protocol = 17};
	static uint8_t packet[65536], outer[65536];
	struct ip4_info info;
	size_t got;

	tun_inject(rig, &spec, packet);
	expect_packet(rig->peer_a, packet, len, true);
	got = receive(raw, outer, sizeof(outer), false);
	assert_int_equal(got, 28 + len);
	assert_int_equal(ip4_parse(outer, got, &info), WEFT_R_OK);
	assert_int_equal(info.ttl, 64);
	assert_int_equal(outer[1], 0);
	return info.frag_off & IP_DF;
}

/* Clear only for the packet that may need fragments; the next one has it again. */
static void outer_df(void **state)
{
	_close_ int raw = -1;
	struct rig rig = {0};

	(void)state;
	NEED_NAMESPACE();
	raw = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_UDP);
	assert_return_code(raw, errno);
	rig = rig_start_routed();
	assert_true(outer_has_df(&rig, raw, 100));
	assert_true(outer_has_df(&rig, raw, 1472));
	assert_false(outer_has_df(&rig, raw, 1473));
	assert_true(outer_has_df(&rig, raw, 1472));
	rig_stop(&rig);
}

/* The kernel has the port (fou_dev.h): it stays free here, and packets are sent all the same. */
static void port_is_left_to_the_kernel(void **state)
{
	const struct ip4_packet spec = to_b(100, 0);
	static uint8_t packet[128];
	struct rig rig = {0};
	_close_ int kernel = -1;

	(void)state;
	rig_fou = true;
	rig = rig_start_routed();
	rig_fou = false;
	kernel = udp_bound(NODE);
	tun_inject(&rig, &spec, packet);
	expect_packet(rig.peer_b, packet, spec.len, false);
	expect_one(&rig, WEFT_HOOK_TUNFD, WEFT_R_OK, spec.len);
	rig_stop(&rig);
}

static void tun_ioctl(int fd, unsigned long request, struct ifreq *req)
{
	strcpy(req->ifr_name, "flannel0");
	assert_return_code(ioctl(fd, request, req), errno);
}

static struct sockaddr_in ip4_sockaddr(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};
}

static void tun_set_up(int fd, bool up)
{
	struct ifreq req = {.ifr_flags = up ? IFF_UP | IFF_RUNNING : 0};

	tun_ioctl(fd, SIOCSIFFLAGS, &req);
}

/* flannel0 as the agent makes it: subnet base/32, the network's route, no accept_local. */
static int tun_create(int ctl)
{
	struct ifreq req = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	struct sockaddr_in addr = ip4_sockaddr(SUBNET, 0), mask = ip4_sockaddr(UINT32_MAX, 0);
	struct sockaddr_in dst = ip4_sockaddr(ADDR(10, 244, 0, 0), 0);
	struct sockaddr_in dst_mask = ip4_sockaddr(ADDR(255, 255, 0, 0), 0);
	char name[] = "flannel0";
	struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = name};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	tun_ioctl(fd, TUNSETIFF, &req);
	memcpy(&req.ifr_addr, &addr, sizeof(addr));
	tun_ioctl(ctl, SIOCSIFADDR, &req);
	memcpy(&req.ifr_addr, &mask, sizeof(mask));
	tun_ioctl(ctl, SIOCSIFNETMASK, &req);
	tun_set_up(ctl, true);
	memcpy(&route.rt_dst, &dst, sizeof(dst));
	memcpy(&route.rt_genmask, &dst_mask, sizeof(dst_mask));
	assert_return_code(ioctl(ctl, SIOCADDRT, &route), errno);
	return fd;
}

/* A host process talks to addr through flannel0 and wants to hear of ICMP errors. */
static int host_socket(uint32_t addr)
{
	struct sockaddr_in to = ip4_sockaddr(addr, 9999);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int on = 1;

	assert_return_code(fd, errno);
	assert_return_code(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), errno);
	assert_return_code(connect(fd, (struct sockaddr *)&to, sizeof(to)), errno);
	return fd;
}

static void swap_ends(uint8_t *packet)
{
	uint8_t saved[4];

	memcpy(saved, packet + 12, 4);
	memcpy(packet + 12, packet + 16, 4);
	memcpy(packet + 16, saved, 4);
	memcpy(saved, packet + 20, 2);
	memcpy(packet + 20, packet + 22, 2);
	memcpy(packet + 22, saved, 2);
}

static void host_hears_echo(const struct rig *rig)
{
	_close_ int host = host_socket(POD_A);
	uint8_t packet[2048];
	size_t len;

	assert_int_equal(send(host, "hello", 5, 0), 5);
	len = receive(rig->peer_a, packet, sizeof(packet), true);
	assert_int_equal(len, 33);
	/* Exchanging the ends leaves both checksums right. */
	swap_ends(packet);
	send_to_node(rig->peer_a, packet, len);
	expect_packet(host, "hello", 5, false);
}

static void host_hears_no_route(void)
{
	_close_ int host = host_socket(ADDR(10, 244, 9, 9));
	struct pollfd pfd = {.fd = host};
	socklen_t len = sizeof(int);
	int err = 0;

	assert_int_equal(send(host, "hello", 5, 0), 5);
	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	assert_return_code(getsockopt(host, SOL_SOCKET, SO_ERROR, &err, &len), errno);
	assert_int_equal(err, ENETUNREACH);
}

static void device_down_drops(const struct rig *rig)
{
	const size_t send_failed = WEFT_COUNTER(WEFT_HOOK_SOCKET, WEFT_DROP, WEFT_R_SEND);
	const struct ip4_packet spec = {
		.saddr = POD_A, .daddr = SUBNET, .len = 60, .ttl = 64, .protocol = 17};
	struct weft_counter got[WEFT_COUNTER_MAX] = {0};
	uint8_t packet[60];

	ip4_packet_build(packet, &spec);
	send_to_node(rig->peer_a, packet, sizeof(packet));
	for (int i = 0; i < WAIT_MS && !got[send_failed].packets; i++) {
		usleep(1000);
		forward_counters(rig->fwd, got);
	}
	assert_int_equal(got[send_failed].packets, 1);
}

static void real_device(void **state)
{
	_close_ int ctl = -1, device = -1;
	struct rig rig = {0};

	(void)state;
	NEED_NAMESPACE();
	ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	device = tun_create(ctl);
	if (device < 0)
		skip();
	rig = rig_start();
	forward_stop(rig.fwd);
	assert_int_equal(rig_forward_start(device, NODE, rig_port, &rig.fwd), 0);
	forward_set_table(rig.fwd, rig_table(PEER_A));
	host_hears_echo(&rig);
	host_hears_no_route();
	tun_set_up(ctl, false);
	device_down_drops(&rig);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_mtu_beats_the_route),
		cmocka_unit_test(longer_than_a_datagram),
		cmocka_unit_test(outer_df),
		cmocka_unit_test(port_is_left_to_the_kernel),
		cmocka_unit_test(real_device),
	};

	int failed;

	rig_isolate();
	rig_plain = true;
	failed = cmocka_run_group_tests_name("plain", tests, NULL, NULL);
	rig_plain = false;
	return failed + cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
