/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which packets become one and which must not. Whatever is emitted is compared whole with what the
 * inputs in it make up; a test says only which inputs those are: "ab c" is the first two as one
 * packet, and then the third.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coalesce.h"
#include "segment.h"
#include "l4_packet.h"

#define INPUTS 80
#define ROOM 9200
#define PAYLOAD 100
#define SMALLER 60
#define LARGER 140

static const uint8_t ip_options[] = {1, 1, 1, 1};
static const uint8_t stamp[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t later_stamp[] = {1, 1, 8, 10, 1, 2, 3, 5, 5, 6, 7, 8};

static struct {
	struct coalesce c;
	uint8_t packets[INPUTS][ROOM]; /* as handed over */
	uint8_t sent[INPUTS][ROOM]; /* as they were */
	struct ip4_info info[INPUTS];
	size_t n;
	char out[4 * INPUTS];
	size_t sizes[INPUTS]; /* of each packet emitted, in inputs */
	size_t n_out;
	uint64_t bytes;
} rig;

static size_t input_of(const struct iovec *slice)
{
	size_t i = (size_t)((uint8_t *)slice->iov_base - rig.packets[0]) / ROOM;

	assert_in_range(i, 0, rig.n - 1);
	return i;
}

/* The large packet whose pieces these inputs are: a checksum of the pseudo header only. */
static size_t merged(const struct coalesced *p, uint8_t *out)
{
	size_t first = input_of(&p->slices[0]), headers = p->headers, len = rig.info[first].len;

	memcpy(out, rig.sent[first], len);
	for (unsigned int k = 1; k < p->n_slices; k++) {
		size_t i = input_of(&p->slices[k]);

		memcpy(out + len, rig.sent[i] + headers, rig.info[i].len - headers);
		len += rig.info[i].len - headers;
		if (out[9] == IPPROTO_TCP)
			out[33] |= rig.sent[i][33] & (TH_FIN | TH_PUSH);
	}
	l4_put16(out + 2, (uint32_t)len);
	l4_put_ip_sum(out);
	if (out[9] == IPPROTO_UDP)
		l4_put16(out + 24, (uint32_t)len - 20);
	l4_put_sum(out, len, true);
	return len;
}

static size_t gather(const struct coalesced *p, uint8_t *out)
{
	size_t len = 0;

	for (unsigned int i = 0; i < p->n_slices; i++) {
		memcpy(out + len, p->slices[i].iov_base, p->slices[i].iov_len);
		len += p->slices[i].iov_len;
	}
	return len;
}

static void check_merged(const struct coalesced *p)
{
	static uint8_t want[65536 + ROOM], got[65536 + ROOM];
	size_t first = input_of(&p->slices[0]);
	bool tcp = rig.sent[first][9] == IPPROTO_TCP;
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = tcp ? 20 + (rig.sent[first][32] >> 4) * 4 : 28,
		.gso_size = rig.info[first].len - p->headers,
		.csum_start = 20,
		.csum_offset = tcp ? 16 : 6,
	};
	size_t len = merged(p, want);

	assert_int_equal(p->headers, vnet.hdr_len);
	assert_memory_equal(&p->vnet, &vnet, sizeof(vnet));
	assert_int_equal(gather(p, got), len);
	assert_int_equal(p->len, len);
	assert_memory_equal(got, want, len);
}

static void on_emit(const struct coalesced *p, void *arg)
{
	static const struct virtio_net_hdr none;
	uint64_t bytes = 0;
	char *end = rig.out + strlen(rig.out);

	assert_ptr_equal(arg, &rig);
	assert_int_equal(p->packets, p->n_slices);
	if (*rig.out)
		*end++ = ' ';
	for (unsigned int i = 0; i < p->n_slices; i++) {
		size_t input = input_of(&p->slices[i]);

		*end++ = (char)('a' + input % 26);
		bytes += rig.info[input].len;
	}
	*end = '\0';
	assert_int_equal(p->bytes, bytes);
	rig.sizes[rig.n_out++] = p->packets;
	if (p->packets > 1) {
		check_merged(p);
		return;
	}
	assert_memory_equal(&p->vnet, &none, sizeof(none));
	assert_int_equal(p->slices[0].iov_len, rig.info[input_of(&p->slices[0])].len);
	assert_memory_equal(p->slices[0].iov_base, rig.sent[input_of(&p->slices[0])],
			    p->slices[0].iov_len);
}

static void start(bool udp)
{
	rig.n = rig.n_out = 0;
	*rig.out = '\0';
	coalesce_init(&rig.c, on_emit, &rig);
	assert_false(rig.c.udp);
	rig.c.udp = udp;
}

/* As a packet whose bytes are in place. */
static size_t take(size_t len)
{
	size_t i = rig.n++;

	assert_int_equal(ip4_parse(rig.packets[i], len, &rig.info[i]), WEFT_R_OK);
	memcpy(rig.sent[i], rig.packets[i], len);
	return i;
}

static void feed(const struct l4_packet *p)
{
	size_t i = take(l4_packet_build(rig.packets[rig.n], p));

	coalesce_packet(&rig.c, rig.packets[i], &rig.info[i]);
}

/* After all is flushed */
static void expect(const char *name, const char *out)
{
	coalesce_flush(&rig.c);
	printf("# %s: %s\n", name, rig.out);
	assert_string_equal(rig.out, out);
}

/* The k-th packet of a flow. */
static struct l4_packet tcp(unsigned int k)
{
	return (struct l4_packet){
		.protocol = IPPROTO_TCP,
		.sport = 40000,
		.dport = 80,
		.id = (uint16_t)(65534 + k), /* past its end */
		.seq = 0xffffff80 + k * PAYLOAD, /* past its end, too */
		.from = (size_t)k * PAYLOAD,
		.ack = 77,
		.window = 500,
		.flags = TH_ACK,
		.payload = PAYLOAD,
	};
}

static struct l4_packet udp(unsigned int k)
{
	return (struct l4_packet){
		.protocol = IPPROTO_UDP,
		.sport = 40000,
		.dport = 53,
		.id = (uint16_t)(65534 + k),
		.from = (size_t)k * PAYLOAD,
		.payload = PAYLOAD,
	};
}

/* One field of one of four packets in a row is not as it would be. */
struct change {
	const char *name;
	unsigned int packet; /* 0 to 3 */
	size_t offset, size;
	uint64_t value;
	const char *out;
};

#define FIELD(name) offsetof(struct l4_packet, name), sizeof(((struct l4_packet *)0)->name)

static const struct change tcp_changes[] = {
	{"nothing", 0, FIELD(ack), 77, "abcd"},
	{"a byte is missing", 2, FIELD(seq), 0xffffff80 + 201, "ab c d"},
	{"a byte comes twice", 2, FIELD(seq), 0xffffff80 + 199, "ab c d"},
	{"it was there before", 2, FIELD(seq), 0xffffff80 + 100, "ab c d"},
	{"more is acknowledged", 2, FIELD(ack), 78, "ab c d"},
	{"the window moves", 2, FIELD(window), 501, "ab c d"},
	{"push", 1, FIELD(flags), TH_ACK | TH_PUSH, "ab cd"},
	{"push at once", 0, FIELD(flags), TH_ACK | TH_PUSH, "a bcd"},
	{"push at the end", 3, FIELD(flags), TH_ACK | TH_PUSH, "abcd"},
	{"the stream ends", 1, FIELD(flags), TH_ACK | TH_FIN, "ab cd"},
	{"the stream ends at once", 0, FIELD(flags), TH_ACK | TH_FIN, "a bcd"},
	{"reset", 1, FIELD(flags), TH_ACK | TH_RST, "a b cd"},
	{"synchronize", 0, FIELD(flags), TH_SYN, "a bcd"},
	{"urgent", 1, FIELD(flags), TH_ACK | TH_URG, "a b cd"},
	{"urgent pointer alone", 1, FIELD(urgent), 9, "a b cd"},
	{"no acknowledgement", 1, FIELD(flags), 0, "a b cd"},
	{"congestion seen", 2, FIELD(flags), TH_ACK | TCP_ECE, "ab c d"},
	{"congestion answered", 1, FIELD(flags), TH_ACK | TCP_CWR, "a b cd"},
	{"congestion answered at once", 0, FIELD(flags), TH_ACK | TCP_CWR, "a bcd"},
	{"a reserved bit", 1, FIELD(reserved), 1, "a b cd"},
	{"another class of service", 2, FIELD(tos), 0x20, "ab c d"},
	{"marked by a router", 2, FIELD(tos), 3, "ab c d"},
	{"another way", 2, FIELD(ttl), 63, "ab c d"},
	{"not to be fragmented", 2, FIELD(frag_off), IP_DF, "ab c d"},
	{"a fragment", 1, FIELD(frag_off), IP_MF, "a b cd"},
	{"a later fragment", 1, FIELD(frag_off), 2, "a b cd"},
	{"identification skips", 2, FIELD(id), 1, "ab c d"},
	{"identification stays", 2, FIELD(id), 65535, "ab c d"},
	{"identification stays at once", 1, FIELD(id), 65534, "a b cd"},
	{"shorter", 1, FIELD(payload), SMALLER, "ab cd"},
	{"shorter at once", 0, FIELD(payload), SMALLER, "a bcd"},
	{"longer", 1, FIELD(payload), LARGER, "a b cd"},
	{"empty", 1, FIELD(payload), 0, "a b cd"},
	{"another flow's port", 1, FIELD(sport), 40001, "a b cd"},
	{"another port there", 1, FIELD(dport), 81, "a b cd"},
	{"IP options", 1, FIELD(ip_options_len), sizeof(ip_options), "a b cd"},
	{"a checksum left out", 1, FIELD(pending), true, "a b cd"},
};

static const struct change udp_changes[] = {
	{"nothing", 0, FIELD(tos), 0, "abcd"},
	{"shorter", 1, FIELD(payload), SMALLER, "ab cd"},
	{"shorter at once", 0, FIELD(payload), SMALLER, "a bcd"},
	{"longer", 1, FIELD(payload), LARGER, "a bc d"},
	{"empty", 1, FIELD(payload), 0, "a b cd"},
	{"no checksum", 1, FIELD(no_sum), true, "a b cd"},
	{"another flow's port", 2, FIELD(sport), 40001, "ab c d"},
	{"another way", 2, FIELD(ttl), 63, "ab c d"},
	{"another class of service", 2, FIELD(tos), 0x20, "ab c d"},
	{"marked by a router", 2, FIELD(tos), 3, "ab c d"},
	{"not to be fragmented", 2, FIELD(frag_off), IP_DF, "ab c d"},
	{"a fragment", 1, FIELD(frag_off), IP_MF, "a b cd"},
	{"a later fragment", 1, FIELD(frag_off), 2, "a b cd"},
	{"another port there", 1, FIELD(dport), 54, "a b cd"},
	{"IP options", 1, FIELD(ip_options_len), sizeof(ip_options), "a b cd"},
	{"a checksum left out", 1, FIELD(pending), true, "a b cd"},
	{"identification skips", 2, FIELD(id), 1, "ab c d"},
};

static void set_field(struct l4_packet *p, const struct change *change)
{
	uint8_t *field = (uint8_t *)p + change->offset;
	uint16_t half = (uint16_t)change->value;
	uint32_t word = (uint32_t)change->value;
	uint8_t byte = (uint8_t)change->value;

	if (change->size == 1)
		*field = byte;
	else if (change->size == 2)
		memcpy(field, &half, 2);
	else if (change->size == 4)
		memcpy(field, &word, 4);
	else
		memcpy(field, &change->value, 8);
}

static void apply(const struct change *change, struct l4_packet (*packet)(unsigned int))
{
	start(true);
	for (unsigned int k = 0; k < 4; k++) {
		struct l4_packet p = packet(k);

		p.ip_options = ip_options;
		if (k == change->packet)
			set_field(&p, change);
		feed(&p);
	}
	expect(change->name, change->out);
}

static void the_rules_of_tcp(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(tcp_changes) / sizeof(tcp_changes[0]); i++)
		apply(&tcp_changes[i], tcp);
}

static void the_rules_of_udp(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(udp_changes) / sizeof(udp_changes[0]); i++)
		apply(&udp_changes[i], udp);
}

static void identifications(void **state)
{
	/* Of four packets with DF */
	const struct {
		const char *name;
		uint16_t ids[4];
		const char *out;
	} cases[] = {
		{"fixed", {5, 5, 5, 5}, "abcd"},
		{"zero", {0, 0, 0, 0}, "abcd"},
		{"counting", {5, 6, 7, 8}, "abcd"},
		{"fixed, then counting", {5, 5, 6, 7}, "ab cd"},
		{"counting, then fixed", {5, 6, 6, 6}, "ab cd"},
		{"counting, then back", {5, 6, 5, 6}, "ab cd"},
		{"down", {8, 7, 6, 5}, "a b c d"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(false);
		for (unsigned int k = 0; k < 4; k++) {
			struct l4_packet p = tcp(k);

			p.frag_off = IP_DF;
			p.id = cases[i].ids[k];
			feed(&p);
		}
		expect(cases[i].name, cases[i].out);
	}
}

static void stamped(unsigned int k, const uint8_t *options, size_t len)
{
	struct l4_packet p = tcp(k);

	p.tcp_options = options;
	p.tcp_options_len = len;
	feed(&p);
}

static void each_answers_congestion(void **state)
{
	(void)state;
	start(false);
	for (unsigned int k = 0; k < 3; k++) {
		struct l4_packet p = tcp(k);

		p.flags |= TCP_CWR;
		feed(&p);
	}
	expect("CWR in all", "a b c");
}

/* Of packets that have the same flags, all of them. */
static void flags_of_all(void **state)
{
	const struct {
		const char *name;
		uint8_t flags;
		const char *out;
	} cases[] = {
		{"ECE", TH_ACK | TCP_ECE, "abc"},
		{"SYN", TH_SYN, "a b c"},
		{"RST", TH_RST | TH_ACK, "a b c"},
		{"URG", TH_URG | TH_ACK, "a b c"},
		{"PSH", TH_PUSH | TH_ACK, "a b c"},
		{"FIN", TH_FIN | TH_ACK, "a b c"},
		{"none", 0, "abc"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(false);
		for (unsigned int k = 0; k < 3; k++) {
			struct l4_packet p = tcp(k);

			p.flags = cases[i].flags;
			feed(&p);
		}
		expect(cases[i].name, cases[i].out);
	}
}

static void options_must_be_the_same(void **state)
{
	(void)state;
	start(false);
	stamped(0, stamp, sizeof(stamp));
	stamped(1, stamp, sizeof(stamp));
	stamped(2, later_stamp, sizeof(stamp));
	stamped(3, later_stamp, sizeof(stamp));
	stamped(4, NULL, 0);
	stamped(5, NULL, 0);
	expect("timestamps", "ab cd ef");
}

static void a_wrong_checksum_is_passed_on_as_it_is(void **state)
{
	struct l4_packet p;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct l4_packet (*packet)(unsigned int) = i ? udp : tcp;

		start(true);
		p = packet(0);
		feed(&p);
		p = packet(1);
		l4_packet_build(rig.packets[rig.n], &p);
		rig.packets[rig.n][50] ^= 4;
		take(20 + (i ? 8 : 20) + PAYLOAD);
		coalesce_packet(&rig.c, rig.packets[1], &rig.info[1]);
		p = packet(2);
		feed(&p);
		p = packet(3);
		feed(&p);
		expect(i ? "UDP" : "TCP", "a b cd");
	}
}

static void udp_is_left_alone_unless_wanted(void **state)
{
	(void)state;
	start(false);
	for (unsigned int k = 0; k < 3; k++) {
		struct l4_packet p = udp(k);

		feed(&p);
	}
	expect("UDP, not wanted", "a b c");
}

static void other_protocols_in_between(void **state)
{
	struct l4_packet p;

	(void)state;
	start(false);
	p = tcp(0);
	feed(&p);
	p.protocol = IPPROTO_ICMP;
	feed(&p);
	p.protocol = IPPROTO_GRE;
	feed(&p);
	p = tcp(1);
	feed(&p);
	expect("ICMP and GRE do not hold up TCP", "b c ad");
}

/* Packet k of flow f */
static void feed_flow(unsigned int f, unsigned int k)
{
	struct l4_packet p = tcp(k);

	p.sport = (uint16_t)(1000 + f);
	feed(&p);
}

static void flows_in_turns(void **state)
{
	(void)state;
	start(false);
	for (unsigned int k = 0; k < 3; k++)
		for (unsigned int f = 0; f < COALESCE_FLOWS; f++)
			feed_flow(f, k);
	expect("as many as are held", "aiq bjr cks dlt emu fnv gow hpx");
}

static void the_oldest_makes_room(void **state)
{
	(void)state;
	start(false);
	for (unsigned int f = 0; f <= COALESCE_FLOWS; f++)
		feed_flow(f, 0);
	assert_string_equal(rig.out, "a");
	feed_flow(1, 1); /* does not make it younger */
	feed_flow(0, 1);
	expect("one too many", "a bj c d e f g h i k");
}

static void both_directions_are_two_flows(void **state)
{
	struct l4_packet p;

	(void)state;
	start(false);
	p = tcp(0);
	feed(&p);
	p.sport = 80;
	p.dport = 40000;
	feed(&p);
	p = tcp(1);
	feed(&p);
	expect("there and back", "ac b");
}

/* The last byte of each address is another one. */
static void feed_between(const struct l4_packet *p, uint8_t from, uint8_t to)
{
	size_t len = l4_packet_build(rig.packets[rig.n], p), i;
	uint8_t *packet = rig.packets[rig.n];

	packet[15] = from;
	packet[19] = to;
	l4_put_ip_sum(packet);
	l4_put_sum(packet, len, false);
	i = take(len);
	coalesce_packet(&rig.c, packet, &rig.info[i]);
}

static void a_flow_is_of_two_hosts_and_a_protocol(void **state)
{
	struct l4_packet t = tcp(0), u = udp(0), t1 = tcp(1), u1 = udp(1);

	(void)state;
	u.dport = u1.dport = t.dport;
	start(true);
	feed_between(&t, 1, 1);
	feed_between(&t, 2, 1);
	feed_between(&t, 1, 2);
	feed_between(&u, 1, 1);
	feed_between(&t1, 1, 2);
	feed_between(&t1, 1, 1);
	feed_between(&u1, 1, 1);
	feed_between(&t1, 2, 1);
	expect("same ports", "af bh ce dg");
}

/* What is held when a packet comes that may be of any flow of its hosts and protocol. */
static void releases(const char *name, const struct l4_packet *p, const char *out)
{
	struct l4_packet t = tcp(0), u = udp(0);

	start(true);
	feed_between(&t, 1, 1);
	feed_between(&t, 2, 1);
	feed_between(&t, 1, 2);
	feed_between(&u, 1, 1);
	t.sport = 2;
	feed_between(&t, 1, 1);
	t.sport = 3;
	feed_between(&t, 1, 1);
	feed_between(p, 1, 1);
	assert_string_equal(rig.out, out);
	feed_between(p, 1, 1);
	assert_int_equal(rig.n_out, 5);
	printf("# %s: %s\n", name, rig.out);
}

static void what_may_be_of_any_flow_is_not_held(void **state)
{
	struct l4_packet p = tcp(1), u = udp(1);

	(void)state;
	p.ip_options = ip_options;
	p.ip_options_len = sizeof(ip_options);
	releases("IP options", &p, "a e f g");
	p.ip_options_len = 0;
	p.frag_off = IP_MF;
	releases("first fragment", &p, "a e f g");
	p.frag_off = 7;
	releases("later fragment", &p, "a e f g");
	start(true);
	u.no_sum = true;
	feed(&u);
	p = tcp(0);
	p.payload = 0;
	feed(&p);
	feed(&p);
	assert_string_equal(rig.out, "a b c");
}

static void as_many_datagrams_as_one_can_be(void **state)
{
	(void)state;
	start(true);
	for (unsigned int k = 0; k < COALESCE_PACKETS + 1; k++) {
		struct l4_packet p = udp(k);

		feed(&p);
	}
	coalesce_flush(&rig.c);
	assert_int_equal(rig.n_out, 2);
	assert_int_equal(rig.sizes[0], COALESCE_PACKETS);
}

static void as_many_as_one_can_be(void **state)
{
	(void)state;
	start(false);
	for (unsigned int k = 0; k < COALESCE_PACKETS + 3; k++)
		feed_flow(0, k);
	coalesce_flush(&rig.c);
	assert_int_equal(rig.n_out, 2);
	assert_int_equal(rig.sizes[0], COALESCE_PACKETS);
	assert_int_equal(rig.sizes[1], 3);
}

/* Seven of 9,102 bytes and headers are 63,754; an eighth would need a longer length field. */
static void as_large_as_one_can_be(void **state)
{
	const size_t payloads[] = {9102, 65495 - 7 * 9102, 65496 - 7 * 9102};

	(void)state;
	for (int i = 1; i <= 2; i++) {
		start(false);
		for (unsigned int k = 0; k < 8; k++) {
			struct l4_packet p = tcp(k);

			p.payload = payloads[k < 7 ? 0 : i];
			p.from = k * payloads[0];
			p.seq = 5 + (uint32_t)p.from;
			feed(&p);
		}
		expect("64 KB", i == 1 ? "abcdefgh" : "abcdefg h");
	}
}

static void nothing_is_held_after_a_flush(void **state)
{
	(void)state;
	start(false);
	coalesce_flush(&rig.c);
	feed_flow(0, 0);
	feed_flow(0, 1);
	coalesce_flush(&rig.c);
	assert_string_equal(rig.out, "ab");
	feed_flow(0, 2);
	expect("goes on", "ab c");
}

/* What a peer's kernel has left to a device that never came. */

static struct coalesced seen;

static void note(const struct coalesced *p, void *arg)
{
	*(int *)arg += 1;
	seen = *p;
}

static bool pending_said(const struct l4_packet *p, uint32_t mtu, size_t datagram, int *emitted)
{
	*emitted = 0;
	rig.n = 0;
	coalesce_init(&rig.c, note, emitted);
	take(l4_packet_build(rig.packets[0], p));
	return coalesce_pending(&rig.c, rig.packets[0], &rig.info[0],
				segment_size(rig.packets[0], &rig.info[0], mtu, datagram));
}

static bool pending(const struct l4_packet *p, uint32_t mtu, int *emitted)
{
	return pending_said(p, mtu, 0, emitted);
}

static void unfinished_packets_are_left_to_the_kernel(void **state)
{
	const struct virtio_net_hdr whole = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = 52,
		.csum_start = 20,
		.csum_offset = 16,
	};
	struct virtio_net_hdr cut = whole;
	struct l4_packet p = tcp(0);
	int emitted;

	(void)state;
	p.pending = true;
	p.tcp_options = stamp;
	p.tcp_options_len = sizeof(stamp);
	p.payload = 9000;
	cut.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	cut.gso_size = 1472 - 52;
	assert_true(pending(&p, 1472, &emitted));
	assert_int_equal(emitted, 1);
	assert_memory_equal(&seen.vnet, &cut, sizeof(cut));
	assert_int_equal(seen.n_slices, 1);
	assert_int_equal(seen.packets, 1);
	assert_int_equal(seen.bytes, 9052);
	assert_memory_equal(seen.slices[0].iov_base, rig.sent[0], 9052);
	/* As large as may be, and no limit */
	for (uint32_t mtu = 0; mtu <= 9052; mtu += 9052) {
		assert_true(pending(&p, mtu, &emitted));
		assert_int_equal(emitted, 1);
		assert_memory_equal(&seen.vnet, &whole, sizeof(whole));
	}
	assert_true(pending(&p, 53, &emitted));
	assert_int_equal(seen.vnet.gso_size, 1);
	assert_false(pending(&p, 52, &emitted)); /* headers only */
	assert_int_equal(emitted, 0);
	p.flags |= TCP_CWR; /* belongs to the first segment alone */
	cut.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	assert_true(pending(&p, 1472, &emitted));
	assert_memory_equal(&seen.vnet, &cut, sizeof(cut));
}

static void unfinished_datagrams(void **state)
{
	const struct virtio_net_hdr whole = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = 28,
		.csum_start = 20,
		.csum_offset = 6,
	};
	struct virtio_net_hdr cut = whole;
	struct l4_packet p = udp(0);
	int emitted;

	(void)state;
	p.pending = true;
	p.payload = 1000;
	assert_true(pending(&p, 1028, &emitted));
	assert_int_equal(emitted, 1);
	assert_memory_equal(&seen.vnet, &whole, sizeof(whole));
	assert_memory_equal(seen.slices[0].iov_base, rig.sent[0], 1028);
	assert_false(pending(&p, 1027, &emitted)); /* nobody says into which pieces */
	cut.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	cut.gso_size = 300;
	assert_true(pending_said(&p, 1027, 300, &emitted));
	assert_int_equal(emitted, 1);
	assert_memory_equal(&seen.vnet, &cut, sizeof(cut));
	assert_memory_equal(seen.slices[0].iov_base, rig.sent[0], 1028);
	assert_true(pending_said(&p, 1500, 999, &emitted)); /* though it would fit */
	cut.gso_size = 999;
	assert_memory_equal(&seen.vnet, &cut, sizeof(cut));
	assert_true(pending_said(&p, 1500, 1000, &emitted));
	assert_memory_equal(&seen.vnet, &whole, sizeof(whole));
	emitted = 0;
	p.ip_options = ip_options;
	p.ip_options_len = 4;
	assert_false(pending(&p, 2000, &emitted));
	p.ip_options_len = 0;
	p.frag_off = IP_MF;
	assert_false(pending(&p, 2000, &emitted));
	assert_int_equal(emitted, 0);
}

static void an_unfinished_packet_overtakes_nothing(void **state)
{
	struct l4_packet p = tcp(0);

	(void)state;
	start(false);
	feed(&p);
	p = tcp(1);
	p.pending = true;
	take(l4_packet_build(rig.packets[1], &p));
	rig.c.emit = note;
	rig.c.arg = &(int){0};
	assert_true(coalesce_pending(&rig.c, rig.packets[1], &rig.info[1], 1460));
	assert_int_equal(*(int *)rig.c.arg, 2);
	assert_ptr_equal(seen.slices[0].iov_base, rig.packets[1]);
	assert_int_equal(rig.c.n_held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rules_of_tcp),
		cmocka_unit_test(the_rules_of_udp),
		cmocka_unit_test(identifications),
		cmocka_unit_test(each_answers_congestion),
		cmocka_unit_test(flags_of_all),
		cmocka_unit_test(options_must_be_the_same),
		cmocka_unit_test(a_wrong_checksum_is_passed_on_as_it_is),
		cmocka_unit_test(udp_is_left_alone_unless_wanted),
		cmocka_unit_test(other_protocols_in_between),
		cmocka_unit_test(flows_in_turns),
		cmocka_unit_test(the_oldest_makes_room),
		cmocka_unit_test(both_directions_are_two_flows),
		cmocka_unit_test(a_flow_is_of_two_hosts_and_a_protocol),
		cmocka_unit_test(what_may_be_of_any_flow_is_not_held),
		cmocka_unit_test(as_many_datagrams_as_one_can_be),
		cmocka_unit_test(as_many_as_one_can_be),
		cmocka_unit_test(as_large_as_one_can_be),
		cmocka_unit_test(nothing_is_held_after_a_flush),
		cmocka_unit_test(unfinished_packets_are_left_to_the_kernel),
		cmocka_unit_test(unfinished_datagrams),
		cmocka_unit_test(an_unfinished_packet_overtakes_nothing),
	};

	return cmocka_run_group_tests_name("coalesce", tests, NULL, NULL);
}
