/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cutting and merging, for libFuzzer. The first byte of the input chooses:
 *
 *  cut      the rest is a size and a packet: its segments are whole packets with right checksums
 *           and give back its payload; merged again they are the stream that they were
 *  merge    the rest describes packets of a few flows: each comes out once, in its flow's order,
 *           and what was merged gives back, cut, exactly the packets that went in
 *  bytes    the rest is packets as they are but for their checksums: likewise
 *
 * What is behind a packet may not be read. A packet whose checksum is left to a device goes the
 * way that it goes in forward_in.c.
 *
 * Anything else aborts.
 */
#include "fuzz.h"

#include "../unit/l4_packet.h"
#include "coalesce.h"
#include "segment.h"

#define PACKETS 100
#define ROOM 2048
#define LARGE 65536

/* Packets on their way through a struct coalesce. */
static struct {
	uint8_t bytes[PACKETS][ROOM]; /* as handed over */
	uint8_t sent[PACKETS][ROOM]; /* as they were */
	struct ip4_info info[PACKETS];
	bool out[PACKETS];
	size_t n, n_out;
	uint32_t mtu, datagram; /* for what is left to a device */
} run;

static uint8_t flat[LARGE + ROOM];

static size_t flatten(const struct coalesced *p)
{
	size_t len = 0;

	for (unsigned int i = 0; i < p->n_slices; i++) {
		CHECK(len + p->slices[i].iov_len <= IP4_MAX_LEN);
		memcpy(flat + len, p->slices[i].iov_base, p->slices[i].iov_len);
		len += p->slices[i].iov_len;
	}
	CHECK(len == p->len);
	return len;
}

static size_t index_of(const struct iovec *slice)
{
	size_t i = (size_t)((uint8_t *)slice->iov_base - run.bytes[0]) / ROOM;

	CHECK(i < run.n && !run.out[i]);
	return i;
}

static bool is_plain(size_t i)
{
	return run.info[i].hlen == IP4_MIN_HLEN && segment_l4_header(run.sent[i], &run.info[i]);
}

/* Must the second not overtake the first? A fragment may be of any flow. */
static bool are_related(size_t i, size_t j)
{
	const struct ip4_info *a = &run.info[i], *b = &run.info[j];

	if (a->saddr != b->saddr || a->daddr != b->daddr || a->protocol != b->protocol)
		return false;
	return !is_plain(j) || (is_plain(i) && memcmp(run.sent[i] + 20, run.sent[j] + 20, 4) == 0);
}

static void check_order(size_t i)
{
	for (size_t earlier = 0; earlier < i; earlier++)
		CHECK(run.out[earlier] || !are_related(earlier, i));
	run.out[i] = true;
	run.n_out++;
}

/*
 * The same but for the identification where those of the merged ones, with DF, were one: the
 * kernel will count it up.
 */
static void check_segment(const uint8_t *got, size_t i, bool fixed_id)
{
	const uint8_t *want = run.sent[i];

	CHECK(!fixed_id || (run.info[i].frag_off & IP_DF && memcmp(flat + 4, want + 4, 2) == 0));
	CHECK(memcmp(got, want, 4) == 0 && memcmp(got + 6, want + 6, 4) == 0);
	CHECK(fixed_id || memcmp(got, want, 20) == 0);
	CHECK(memcmp(got + 12, want + 12, run.info[i].len - 12U) == 0);
}

static void check_merged(const struct coalesced *p)
{
	static uint8_t segment[ROOM];
	size_t len = flatten(p), n;
	const uint8_t *payload;
	struct ip4_info info;
	struct segments s;

	CHECK(ip4_parse(flat, len, &info) == WEFT_R_OK && info.len == len);
	CHECK(segment_checksum_pending(flat, &info));
	CHECK(segments_start(&s, flat, &info, p->vnet.gso_size));
	CHECK(s.headers == p->vnet.hdr_len && p->vnet.csum_start == info.hlen);
	for (unsigned int k = 0; k < p->packets; k++) {
		size_t i = index_of(&p->slices[k]);

		n = segments_next(&s, segment, &payload);
		CHECK(n > 0);
		memcpy(segment + s.headers, payload, n);
		CHECK(s.headers + n == run.info[i].len);
		check_segment(segment, i, p->fixed_id);
		check_order(i);
	}
	CHECK(segments_next(&s, segment, &payload) == 0);
}

/* Left to the kernel to finish: told so, and cut to no more than the MTU. */
static void check_pending(const struct virtio_net_hdr *vnet, size_t i)
{
	const struct ip4_info *info = &run.info[i];
	bool tcp = info->protocol == IPPROTO_TCP, said = !tcp && run.datagram;
	size_t payload = info->len - vnet->hdr_len;
	bool cut = said ? payload > run.datagram : run.mtu && info->len > run.mtu;
	size_t size = said ? run.datagram : run.mtu - vnet->hdr_len;
	uint8_t ecn = tcp && run.sent[i][33] & TCP_CWR ? VIRTIO_NET_HDR_GSO_ECN : 0;

	CHECK(vnet->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && is_plain(i));
	CHECK(vnet->csum_start == 20 && vnet->csum_offset == (tcp ? 16 : 6));
	CHECK(vnet->hdr_len == 20 + segment_l4_header(run.sent[i], info));
	CHECK(vnet->gso_type == (!cut  ? VIRTIO_NET_HDR_GSO_NONE
				 : tcp ? VIRTIO_NET_HDR_GSO_TCPV4 | ecn
				       : VIRTIO_NET_HDR_GSO_UDP_L4));
	CHECK(vnet->gso_size == (cut ? size : 0) && (tcp || said || !cut));
}

static void on_emit(const struct coalesced *p, void *arg)
{
	size_t i = index_of(&p->slices[0]);

	(void)arg;
	if (p->packets > 1) {
		check_merged(p);
		return;
	}
	CHECK(p->n_slices == 1 && p->len == run.info[i].len && p->bytes == run.info[i].len);
	if (segment_checksum_pending(run.sent[i], &run.info[i]))
		check_pending(&p->vnet, i);
	else
		CHECK(p->vnet.flags == 0 && p->vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE);
	CHECK(memcmp(p->slices[0].iov_base, run.sent[i], run.info[i].len) == 0);
	check_order(i);
}

static void feed_pending(struct coalesce *c, size_t i)
{
	size_t size = segment_size(run.bytes[i], &run.info[i], run.mtu, run.datagram);

	if (coalesce_pending(c, run.bytes[i], &run.info[i], size)) {
		CHECK(run.out[i]);
		return;
	}
	coalesce_flush(c);
	check_order(i);
}

static void feed(struct coalesce *c, size_t len)
{
	size_t i = run.n;

	if (ip4_parse(run.bytes[i], len, &run.info[i]) != WEFT_R_OK)
		return;
	run.n++;
	run.out[i] = false;
	memcpy(run.sent[i], run.bytes[i], run.info[i].len);
	ASAN_POISON_MEMORY_REGION(run.bytes[i] + run.info[i].len, ROOM - run.info[i].len);
	if (segment_checksum_pending(run.bytes[i], &run.info[i]))
		feed_pending(c, i);
	else
		coalesce_packet(c, run.bytes[i], &run.info[i]);
}

static void begin(struct coalesce *c, bool udp)
{
	run.n = run.n_out = 0;
	run.mtu = run.datagram = 0;
	ASAN_UNPOISON_MEMORY_REGION(run.bytes, sizeof(run.bytes));
	coalesce_init(c, on_emit, NULL);
	c->udp = udp;
}

static void end(struct coalesce *c)
{
	coalesce_flush(c);
	CHECK(run.n_out == run.n && c->n_held == 0);
}

/* Cut. */

static void check_cut(const uint8_t *packet, const struct ip4_info *info, size_t size)
{
	static struct coalesce c;
	const uint8_t *payload;
	struct segments s;
	size_t done = 0, n;

	if (!segments_start(&s, packet, info, size))
		return;
	begin(&c, true);
	while (run.n < PACKETS && s.headers + size < ROOM) {
		uint8_t *out = run.bytes[run.n];
		struct ip4_info cut;

		out[s.headers] = 0xa5;
		n = segments_next(&s, out, &payload);
		if (!n)
			break;
		CHECK(out[s.headers] == 0xa5);
		CHECK(payload == packet + s.headers + done);
		done += n;
		CHECK(n == size || (n < size && done == info->len - s.headers));
		memcpy(out + s.headers, payload, n);
		CHECK(ip4_parse(out, s.headers + n, &cut) == WEFT_R_OK);
		CHECK(cut.len == s.headers + n && segment_checksum_holds(out, &cut));
		feed(&c, cut.len);
	}
	end(&c);
}

static void cut(const uint8_t *data, size_t size)
{
	struct ip4_info info;
	uint8_t *packet;

	if (size < 2 + IP4_MIN_HLEN || size - 2 > IP4_MAX_LEN)
		return;
	packet = malloc(size - 2); /* so that its end is guarded */
	CHECK(packet);
	memcpy(packet, data + 2, size - 2);
	/* What no input would have by chance */
	packet[0] = (uint8_t)(0x40 | (packet[0] & 15));
	l4_put16(packet + 2, (uint32_t)size - 2);
	if (packet[9] == IPPROTO_UDP && (packet[0] & 15) * 4U + 8 <= size - 2)
		l4_put16(packet + (packet[0] & 15) * 4 + 4,
			 (uint32_t)size - 2 - (packet[0] & 15) * 4U);
	if ((packet[0] & 15) * 4U <= size - 2)
		l4_put_ip_sum(packet);
	if (ip4_parse(packet, size - 2, &info) == WEFT_R_OK)
		check_cut(packet, &info, (size_t)(data[0] << 8 | data[1]));
	free(packet);
}

/* Merge. */

static const uint8_t options[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 1, 1, 1, 1, 1, 1};

/* What the next packet of a flow has unless the input says otherwise. */
struct flow {
	uint32_t seq;
	uint16_t id;
};

/* Eight bytes of the input; mostly zeros make a stream that can be merged. */
static struct l4_packet describe(const uint8_t *d, struct flow flows[4])
{
	struct flow *flow = &flows[d[0] & 3];
	struct l4_packet p = {
		.protocol = d[0] & 4 ? IPPROTO_UDP : IPPROTO_TCP,
		.sport = (uint16_t)(1000 + (d[0] & 3)),
		.frag_off = d[0] & 8 ? IP_DF : 0,
		.pending = d[0] & 16,
		.no_sum = (d[0] & 36) == 36,
		.ip_options = options,
		.ip_options_len = (d[0] & 192) == 192 ? 8 : 0,
		.tcp_options = options,
		.tcp_options_len = (d[1] & 7) > 5 ? 0 : (d[1] & 4) * 3U,
		.flags = TH_ACK ^ d[2],
		.seq = flow->seq + (uint32_t)(int8_t)d[3],
		.id = (uint16_t)(flow->id + (int8_t)d[4]),
		.tos = d[1] >> 5,
		.ttl = (uint8_t)(64 + (d[1] >> 3 & 3)),
		.window = d[5] & 1,
		.ack = d[5] >> 1 & 1,
		.urgent = d[5] >> 2 & 1,
		.payload = d[6] * 5U,
		.from = flow->seq,
	};

	if (d[5] >> 3 & 1)
		p.frag_off |= d[5] >> 4;
	flow->seq += (uint32_t)p.payload;
	flow->id = (uint16_t)(flow->id + !(d[7] & 1));
	return p;
}

static void merge(const uint8_t *data, size_t size)
{
	struct flow flows[4] = {{0}};
	static struct coalesce c;

	begin(&c, size % 2);
	run.mtu = size & 2 ? 576 : 0;
	run.datagram = size & 4 ? 400 : 0;
	for (; size >= 8 && run.n < PACKETS; size -= 8, data += 8) {
		struct l4_packet p = describe(data, flows);

		feed(&c, l4_packet_build(run.bytes[run.n], &p));
	}
	end(&c);
}

/* As the type of service says: right, left to a device, or as they are. */
static void put_sums(uint8_t *packet, size_t len)
{
	struct ip4_info info;

	if (len < IP4_MIN_HLEN || (packet[0] & 15) * 4U > len)
		return;
	l4_put_ip_sum(packet);
	if (ip4_parse(packet, len, &info) == WEFT_R_OK && segment_l4_header(packet, &info) &&
	    (packet[1] & 3) < 2)
		l4_put_sum(packet, info.len, packet[1] & 1);
}

static void bytes(const uint8_t *data, size_t size)
{
	static struct coalesce c;

	begin(&c, true);
	run.mtu = size & 1 ? 600 : 0;
	run.datagram = size & 4 ? 400 : 0;
	while (size > 2 && run.n < PACKETS) {
		size_t len = (size_t)(data[0] << 8 | data[1]) % ROOM;

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		memcpy(run.bytes[run.n], data, len);
		put_sums(run.bytes[run.n], len);
		feed(&c, len);
		data += len;
		size -= len;
	}
	end(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(const uint8_t *, size_t) = {cut, merge, bytes};

	if (size)
		targets[data[0] % 3](data + 1, size - 1);
	return 0;
}
