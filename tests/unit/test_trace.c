/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a record of a traced packet says, whichever hook it comes from, and which are asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "trace.h"
#include "util.h"

#define NODE 0xc0000201 /* 192.0.2.1 */

static const struct trace_wire wire = {.local_ip = NODE, .port = 8285, .vxlan_port = 8472};

static const uint8_t eth[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
/* 10.244.2.2:1000 > 10.244.1.2:2000, TCP */
static const uint8_t tcp[24] = {0x45, 0,   0, 40, 0,  0,   0, 0, 64,   6,    0,	   0,
				10,   244, 2, 2,  10, 244, 1, 2, 0x03, 0xe8, 0x07, 0xd0};
static const uint8_t udp_outer[28] = {0x45, 0, 0,   68, 0, 0, 0x40, 0, 64,   17,   0, 0,  192, 0,
				      2,    2, 192, 0,	2, 1, 0xc0, 0, 0x20, 0x5d, 0, 48, 0,   0};
static const uint8_t vxlan[8] = {8, 0, 0, 0, 0, 0, 1, 0};

static struct weft_trace record_of(enum weft_hook hook, enum weft_verdict verdict)
{
	return (struct weft_trace){
		.time = 1500000000,
		.ifindex = 3,
		.len = 82,
		.protocol = htons(0x0800),
		.hook = hook,
		.verdict = verdict,
		.reason = verdict == WEFT_DROP ? WEFT_R_UNKNOWN_PEER : WEFT_R_OK,
	};
}

static void add(struct weft_trace *record, const void *bytes, size_t len)
{
	memcpy(record->head + record->head_len, bytes, len);
	record->head_len = (uint8_t)(record->head_len + len);
}

static void assert_json(const struct weft_trace *record, const char *want)
{
	struct trace_packet packet;
	_free_ char *text = NULL;
	json_t *object;

	trace_decode(record, &wire, &packet);
	object = trace_json(&packet, "veth1", 2.5);
	text = json_dumps(object, JSON_COMPACT);
	assert_string_equal(text, want);
	json_decref(object);
}

static void test_plain(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_PORT, WEFT_SLOW);

	(void)state;
	add(&record, eth, sizeof(eth));
	add(&record, tcp, sizeof(tcp));
	assert_json(&record,
		    "{\"time\":2.5,\"hook\":\"port\",\"verdict\":\"slow\",\"reason\":\"ok\","
		    "\"ifname\":\"veth1\",\"length\":82,\"protocol\":\"tcp\","
		    "\"src\":\"10.244.2.2\",\"dst\":\"10.244.1.2\",\"src_port\":1000,"
		    "\"dst_port\":2000}");
}

static void assert_inner(const struct weft_trace *record, const struct trace_wire *at)
{
	struct trace_packet packet;

	trace_decode(record, at, &packet);
	assert_true(packet.ip4 && packet.ports);
	assert_int_equal(packet.src, 0x0af40202);
	assert_int_equal(packet.second, 2000);
	assert_int_equal(packet.format, WEFT_FORMAT_MAX);
}

static void test_bare(void **state)
{
	static const enum weft_hook hooks[] = {WEFT_HOOK_TUN, WEFT_HOOK_ENTER, WEFT_HOOK_TUNFD,
					       WEFT_HOOK_SOCKET};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		struct weft_trace record = record_of(hooks[i], WEFT_SLOW);

		add(&record, tcp, sizeof(tcp));
		assert_inner(&record, &wire);
	}
}

/* The kernel's receiver: of VXLAN it is an Ethernet device, of FOU one of IP. */
static void test_vtep(void **state)
{
	struct trace_wire fou = wire;

	(void)state;
	fou.vtep_bare = true;
	for (enum weft_verdict verdict = 0; verdict < WEFT_VERDICT_MAX; verdict++) {
		struct weft_trace frame = record_of(WEFT_HOOK_VTEP, verdict);
		struct weft_trace packet = frame;

		add(&frame, eth, sizeof(eth));
		add(&frame, tcp, sizeof(tcp));
		assert_inner(&frame, &wire);
		add(&packet, tcp, sizeof(tcp));
		assert_inner(&packet, &fou);
	}
}

/* Encapsulated by then, or not decapsulated yet: both addresses are shown. */
static void test_wrapped(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_UPLINK, WEFT_DROP);

	(void)state;
	add(&record, eth, sizeof(eth));
	add(&record, udp_outer, sizeof(udp_outer));
	add(&record, tcp, sizeof(tcp));
	assert_json(&record, "{\"time\":2.5,\"hook\":\"uplink\",\"verdict\":\"drop\","
			     "\"reason\":\"unknown_peer\",\"ifname\":\"veth1\",\"length\":82,"
			     "\"protocol\":\"tcp\",\"src\":\"10.244.2.2\",\"dst\":\"10.244.1.2\","
			     "\"src_port\":1000,\"dst_port\":2000,\"outer_src\":\"192.0.2.2\","
			     "\"outer_dst\":\"192.0.2.1\",\"format\":\"udp\"}");
}

static void test_wrapped_tun(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_TUN, WEFT_FAST);
	struct trace_packet packet;

	(void)state;
	add(&record, eth, sizeof(eth));
	add(&record, udp_outer, sizeof(udp_outer));
	record.head[14 + 23] = 0x18; /* port 8472 */
	record.head[14 + 22] = 0x21;
	add(&record, vxlan, sizeof(vxlan));
	add(&record, eth, sizeof(eth));
	add(&record, tcp, sizeof(tcp));
	trace_decode(&record, &wire, &packet);
	assert_int_equal(packet.format, WEFT_FORMAT_VXLAN);
	assert_int_equal(packet.first, 1000);
}

/* A pod's own datagram to that port has nobody's underlay address, and is what it looks like. */
static void test_not_wrapped(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_UPLINK, WEFT_FAST);
	struct trace_packet packet;

	(void)state;
	add(&record, eth, sizeof(eth));
	add(&record, udp_outer, sizeof(udp_outer));
	add(&record, tcp, sizeof(tcp));
	record.head[14 + 19] = 9;
	trace_decode(&record, &wire, &packet);
	assert_int_equal(packet.format, WEFT_FORMAT_MAX);
	assert_int_equal(packet.protocol, 17);
	assert_int_equal(packet.second, 8285);
}

static void test_socket_vxlan(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_SOCKET, WEFT_DROP);
	struct trace_packet packet;

	(void)state;
	record.outer = htonl(NODE + 8);
	add(&record, vxlan, sizeof(vxlan));
	add(&record, eth, sizeof(eth));
	add(&record, tcp, sizeof(tcp));
	trace_decode(&record, &wire, &packet);
	assert_int_equal(packet.src, 0x0af40202);
	assert_int_equal(packet.outer_src, NODE + 8);
}

/* Cut anywhere: less is said, nothing else. */
static void test_short(void **state)
{
	struct weft_trace whole = record_of(WEFT_HOOK_PORT, WEFT_SLOW), record;
	struct trace_packet packet;

	(void)state;
	add(&whole, eth, sizeof(eth));
	add(&whole, tcp, sizeof(tcp));
	for (int len = 0; len <= whole.head_len; len++) {
		record = whole;
		memset(record.head + len, 0x45, sizeof(record.head) - (size_t)len);
		record.head_len = (uint8_t)len;
		trace_decode(&record, &wire, &packet);
		assert_int_equal(packet.ip4, len >= 34);
		assert_int_equal(packet.ports, len >= 38);
	}
}

static void test_other_protocols(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_BRIDGE, WEFT_SLOW);
	struct trace_packet packet;

	(void)state;
	add(&record, eth, sizeof(eth));
	add(&record, tcp, sizeof(tcp));
	record.head[14 + 9] = 1;
	trace_decode(&record, &wire, &packet);
	assert_true(packet.icmp && !packet.ports);
	assert_int_equal(packet.first, 3);
	record.head[14 + 6] = 0x20; /* the first fragment has the header, the next has none */
	trace_decode(&record, &wire, &packet);
	assert_true(packet.icmp);
	record.head[14 + 7] = 1;
	trace_decode(&record, &wire, &packet);
	assert_false(packet.icmp);
	record.protocol = htons(0x0806);
	assert_json(&record, "{\"time\":2.5,\"hook\":\"bridge\",\"verdict\":\"slow\","
			     "\"reason\":\"ok\",\"ifname\":\"veth1\",\"length\":82,"
			     "\"protocol\":\"0x0806\"}");
}

static void test_text(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_UPLINK, WEFT_DROP);
	struct trace_packet packet;
	char text[TRACE_TEXT_LEN];
	json_t *object;

	(void)state;
	setenv("TZ", "UTC", 1);
	add(&record, eth, sizeof(eth));
	add(&record, udp_outer, sizeof(udp_outer));
	add(&record, tcp, sizeof(tcp));
	trace_decode(&record, &wire, &packet);
	object = trace_json(&packet, "wire0", 3661.25);
	trace_text(object, text);
	assert_string_equal(text, "01:01:01.250000 uplink drop unknown_peer wire0 "
				  "10.244.2.2:1000 > 10.244.1.2:2000 tcp length 82 "
				  "(192.0.2.2 > 192.0.2.1)");
	json_decref(object);
	object = json_object();
	trace_text(object, text);
	assert_string_equal(text, "00:00:00.000000 - - - - - length 0");
	json_decref(object);
}

static void test_filters(void **state)
{
	static const char *const bad[] = {
		"hook",		"hook=",
		"hook=x",	"verdict=ok",
		"reason=none",	"host=0",
		"host=0.0.0.0", "host=10.244.2.2/24",
		"sample=0",	"sample=01",
		"count=1",	"sample=1000001",
		"sample=1x",	"hook=port hook=tun",
	};
	struct trace_filter filter = {.sample = 77};
	char longer[TRACE_FILTER_LEN + 1] = "";

	(void)state;
	memset(longer, ' ', TRACE_FILTER_LEN);
	assert_int_equal(trace_filter_parse(longer, &filter), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(trace_filter_parse(bad[i], &filter), -EINVAL);
	assert_int_equal(filter.sample, 77);
	assert_int_equal(trace_filter_parse("", &filter), 0);
	assert_int_equal(filter.sample, 1);
	assert_int_equal(trace_filter_parse("sample=1000000 hook=aggregate verdict=fast "
					    "reason=spoofed_inner host=255.255.255.255",
					    &filter),
			 0);
	assert_int_equal(filter.hooks, 1 << WEFT_HOOK_AGGREGATE);
	assert_int_equal(filter.verdicts, 1 << WEFT_FAST);
	assert_true(filter.reasons == 1ULL << WEFT_R_SPOOFED_INNER);
	assert_int_equal(filter.host, 0xffffffff);
	assert_int_equal(filter.sample, 1000000);
}

static bool matches(const char *words, const struct trace_packet *packet)
{
	struct trace_filter filter;

	assert_int_equal(trace_filter_parse(words, &filter), 0);
	return trace_matches(&filter, packet);
}

static void test_matches(void **state)
{
	struct weft_trace record = record_of(WEFT_HOOK_UPLINK, WEFT_DROP);
	struct trace_packet packet;

	(void)state;
	add(&record, eth, sizeof(eth));
	add(&record, udp_outer, sizeof(udp_outer));
	add(&record, tcp, sizeof(tcp));
	trace_decode(&record, &wire, &packet);
	assert_true(matches("", &packet));
	assert_true(matches("hook=uplink verdict=drop reason=unknown_peer", &packet));
	assert_true(matches("host=10.244.2.2", &packet));
	assert_true(matches("host=10.244.1.2", &packet));
	assert_true(matches("host=192.0.2.2", &packet));
	assert_true(matches("host=192.0.2.1", &packet));
	assert_false(matches("host=10.244.1.3", &packet));
	assert_false(matches("hook=port", &packet));
	assert_false(matches("verdict=fast", &packet));
	assert_false(matches("reason=ok", &packet));
}

/* From any thread, and never waiting: what finds the pipe full is counted. */
static void test_tap(void **state)
{
	struct trace_tap tap = {.wish = {.sample = 2,
					 .hooks = 1 << WEFT_HOOK_SOCKET,
					 .verdicts = 1 << WEFT_SLOW,
					 .reasons = 1}};
	struct weft_trace record = record_of(WEFT_HOOK_SOCKET, WEFT_SLOW), got;
	int fds[2], n = 0;

	(void)state;
	assert_false(trace_tap_is_on(NULL));
	assert_true(trace_tap_is_on(&tap));
	assert_return_code(pipe2(fds, O_NONBLOCK), errno);
	tap.fd = fds[1];
	for (int i = 0; i < 10; i++)
		trace_tap_write(&tap, &record, tcp, sizeof(tcp));
	record.hook = WEFT_HOOK_TUNFD;
	trace_tap_write(&tap, &record, tcp, sizeof(tcp));
	while (read(fds[0], &got, sizeof(got)) == sizeof(got))
		n++;
	assert_int_equal(n, 5);
	assert_int_equal(got.head_len, sizeof(tcp));
	assert_memory_equal(got.head, tcp, sizeof(tcp));
	assert_int_equal(got.hook, WEFT_HOOK_SOCKET);
	tap.wish.sample = 1;
	record.hook = WEFT_HOOK_SOCKET;
	for (int i = 0; i < 1000; i++)
		trace_tap_write(&tap, &record, tcp, sizeof(tcp));
	for (n = 0; read(fds[0], &got, sizeof(got)) == sizeof(got); n++)
		;
	assert_true(n > 100);
	assert_int_equal(n + atomic_load(&tap.lost), 1000);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_vtep),
		cmocka_unit_test(test_wrapped),
		cmocka_unit_test(test_wrapped_tun),
		cmocka_unit_test(test_not_wrapped),
		cmocka_unit_test(test_socket_vxlan),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_tap),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
