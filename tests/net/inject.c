/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: inject dev=NAME src=ADDR dst=ADDR [KEY=VALUE...]
 *
 * Sends crafted frames through a packet socket, evenly paced so that no queue on the way overflows,
 * and prints "sent N". The inner packet is UDP with right checksums, unless said otherwise:
 *
 *   count=1 pps=20000     how many, and packets a second
 *   sports=1000           so many source ports in turns, from 40000 on (past 65535 from 0 on)
 *   mark=0                of the socket (SO_MARK)
 *   eth_src= eth_dst=     MAC addresses; the device's own and broadcast
 *   src= dst=             of the inner packet
 *   dport=7777 ttl=64 tos=0 len=32   port; length of the UDP payload
 *   tos_step=0            added to tos from packet to packet
 *   id=1                  identification of the first packet, the next have the next
 *   frag=0                the word of flags and fragment offset, 0x4000 is DF, 0x2000 MF
 *   options=0             1: four bytes of IP options (NOP)
 *   proto=17              anything else: the payload follows the IP header at once
 *   bad_sum=0             1: the UDP checksum is wrong
 *   outer_src= outer_dst= with both, the packet travels in UDP as the overlay does it
 *   port=8285             outer destination port
 *   outer_options=0       1: four bytes of options in the outer header
 *   outer_tos=0           of the outer header
 *   outer_frag=0x4000     as frag, of the outer header
 *   outer_proto=17        anything else: the inner packet follows the outer IP header at once
 *   tags=0                so many VLAN tags that tell a priority alone
 *   pad=0                 bytes behind the packet
 *   print=0               1: the inner packets in hex, one a line, instead of "sent N"
 *
 * Exit status: 0 all sent, 1 failure, 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BURST 16
#define NSEC 1000000000ULL
#define OUTER_SPORT 50000
#define INNER_SPORT 40000
#define MAX_PAYLOAD 9000
#define OPTIONS_LEN 4

struct spec {
	const char *dev;
	unsigned long count, pps, dport, ttl, tos, len, id, frag, options, proto, port;
	unsigned long sports, mark;
	unsigned long bad_sum, outer_options, outer_tos, outer_proto, outer_frag, tos_step, print,
		tags, pad;
	uint8_t eth_src[6], eth_dst[6];
	struct in_addr src, dst, outer_src, outer_dst;
};

struct frame {
	size_t len;
	uint8_t data[MAX_PAYLOAD + 256];
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void usage(const char *what)
{
	fprintf(stderr, "inject: %s; see the head of inject.c\n", what);
	exit(2);
}

static void parse_mac(const char *text, uint8_t mac[6])
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6)
		usage(text);
}

static void parse_addr(const char *text, struct in_addr *addr)
{
	if (!inet_aton(text, addr))
		usage(text);
}

static void parse(struct spec *s, const char *arg)
{
	const struct {
		const char *key;
		unsigned long *to;
	} numbers[] = {
		{"count", &s->count},
		{"pps", &s->pps},
		{"dport", &s->dport},
		{"ttl", &s->ttl},
		{"tos", &s->tos},
		{"len", &s->len},
		{"id", &s->id},
		{"frag", &s->frag},
		{"options", &s->options},
		{"proto", &s->proto},
		{"port", &s->port},
		{"outer_options", &s->outer_options},
		{"bad_sum", &s->bad_sum},
		{"sports", &s->sports},
		{"mark", &s->mark},
		{"print", &s->print},
		{"outer_tos", &s->outer_tos},
		{"outer_proto", &s->outer_proto},
		{"outer_frag", &s->outer_frag},
		{"tos_step", &s->tos_step},
		{"tags", &s->tags},
		{"pad", &s->pad},
	};
	const struct {
		const char *key;
		struct in_addr *to;
	} addrs[] = {
		{"src", &s->src},
		{"dst", &s->dst},
		{"outer_src", &s->outer_src},
		{"outer_dst", &s->outer_dst},
	};
	const char *value = strchr(arg, '=');
	size_t len = value ? (size_t)(value++ - arg) : 0;
	char key[32] = "";

	if (!len || len >= sizeof(key))
		usage(arg);
	memcpy(key, arg, len);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!strcmp(key, numbers[i].key)) {
			*numbers[i].to = strtoul(value, NULL, 0);
			return;
		}
	for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++)
		if (!strcmp(key, addrs[i].key)) {
			parse_addr(value, addrs[i].to);
			return;
		}
	if (!strcmp(key, "dev"))
		s->dev = value;
	else if (!strcmp(key, "eth_src"))
		parse_mac(value, s->eth_src);
	else if (!strcmp(key, "eth_dst"))
		parse_mac(value, s->eth_dst);
	else
		usage(arg);
}

static uint32_t sum16(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Pseudo header and datagram; never zero, which would mean "no checksum". */
static uint16_t udp_checksum(const struct spec *s, const void *datagram, size_t len)
{
	uint32_t sum = sum16(&s->src, 4, sum16(&s->dst, 4, IPPROTO_UDP + (uint32_t)len));
	uint16_t check = fold(sum16(datagram, len, sum));

	return check ? check : 0xffff;
}

/* Writes an IPv4 header in front of payload bytes that follow; returns its length. */
static size_t put_ip(uint8_t *to, const struct iphdr *fields, size_t payload, unsigned long options)
{
	size_t hlen = sizeof(*fields) + (options ? OPTIONS_LEN : 0);
	struct iphdr ip = *fields;

	ip.version = 4;
	ip.ihl = hlen / 4 & 0xf;
	ip.tot_len = htons((uint16_t)(hlen + payload));
	ip.check = 0;
	memset(to + sizeof(ip), 1, hlen - sizeof(ip));
	memcpy(to, &ip, sizeof(ip));
	ip.check = fold(sum16(to, hlen, 0));
	memcpy(to, &ip, sizeof(ip));
	return hlen;
}

static size_t put_inner(uint8_t *to, const struct spec *s, unsigned long number)
{
	size_t udp_len = s->proto == IPPROTO_UDP ? sizeof(struct udphdr) : 0;
	size_t payload = udp_len + s->len;
	struct iphdr fields = {
		.tos = (uint8_t)(s->tos + number * s->tos_step),
		.id = htons((uint16_t)(s->id + number)),
		.frag_off = htons((uint16_t)s->frag),
		.ttl = (uint8_t)s->ttl,
		.protocol = (uint8_t)s->proto,
		.saddr = s->src.s_addr,
		.daddr = s->dst.s_addr,
	};
	size_t hlen = put_ip(to, &fields, payload, s->options);
	struct udphdr udp = {
		.source = htons((uint16_t)(INNER_SPORT + number % s->sports)),
		.dest = htons((uint16_t)s->dport),
		.len = htons((uint16_t)payload),
	};

	for (size_t i = 0; i < s->len; i++)
		to[hlen + udp_len + i] = (uint8_t)(number + i * 7);
	if (!udp_len)
		return hlen + payload;
	memcpy(to + hlen, &udp, sizeof(udp));
	udp.check = udp_checksum(s, to + hlen, payload) ^ (s->bad_sum ? 0x5555 : 0);
	memcpy(to + hlen, &udp, sizeof(udp));
	return hlen + payload;
}

/* The outer headers as a node of the overlay writes them: no UDP checksum. */
static size_t put_outer(uint8_t *to, const struct spec *s, size_t inner_len)
{
	size_t hlen, udp_len = s->outer_proto == IPPROTO_UDP ? sizeof(struct udphdr) : 0;
	struct iphdr fields = {
		.tos = (uint8_t)s->outer_tos,
		.frag_off = htons((uint16_t)s->outer_frag),
		.ttl = 64,
		.protocol = (uint8_t)s->outer_proto,
		.saddr = s->outer_src.s_addr,
		.daddr = s->outer_dst.s_addr,
	};
	struct udphdr udp = {
		.source = htons(OUTER_SPORT),
		.dest = htons((uint16_t)s->port),
		.len = htons((uint16_t)(sizeof(udp) + inner_len)),
	};

	hlen = put_ip(to, &fields, udp_len + inner_len, s->outer_options);
	memcpy(to + hlen, &udp, udp_len);
	return hlen + udp_len;
}

/* IEEE 802.1Q: priority 1, no identifier. */
static size_t put_tags(uint8_t *to, unsigned long n)
{
	static const uint8_t tag[] = {0x81, 0x00, 0x20, 0x00};

	for (size_t i = 0; i < n; i++)
		memcpy(to + i * sizeof(tag), tag, sizeof(tag));
	return n * sizeof(tag);
}

/* Returns where the inner packet begins. */
static size_t build(struct frame *f, const struct spec *s, unsigned long number)
{
	const uint16_t type = htons(ETHERTYPE_IP);
	uint8_t inner[MAX_PAYLOAD + 64];
	size_t inner_len = put_inner(inner, s, number), at = 2 * ETH_ALEN;

	memcpy(f->data, s->eth_dst, ETH_ALEN);
	memcpy(f->data + ETH_ALEN, s->eth_src, ETH_ALEN);
	at += put_tags(f->data + at, s->tags);
	memcpy(f->data + at, &type, sizeof(type));
	at += sizeof(type);
	if (s->outer_src.s_addr && s->outer_dst.s_addr)
		at += put_outer(f->data + at, s, inner_len);
	memcpy(f->data + at, inner, inner_len);
	memset(f->data + at + inner_len, 0, s->pad);
	f->len = at + inner_len + s->pad;
	return at;
}

static int socket_open(struct spec *s)
{
	static const uint8_t none[6];
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct ifreq req = {0};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), mark = (int)s->mark;

	if (!s->dev || strlen(s->dev) >= sizeof(req.ifr_name))
		usage("dev=NAME is missing");
	memcpy(req.ifr_name, s->dev, strlen(s->dev));
	ll.sll_ifindex = (int)if_nametoindex(s->dev);
	if (fd < 0 || !ll.sll_ifindex || ioctl(fd, SIOCGIFHWADDR, &req) < 0)
		die(s->dev);
	if (s->mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		die("mark");
	/* Protocol 0 at creation, bound for sending only: nothing is received here. */
	ll.sll_protocol = 0;
	if (bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0)
		die("bind");
	if (!memcmp(s->eth_src, none, 6))
		memcpy(s->eth_src, req.ifr_hwaddr.sa_data, 6);
	return fd;
}

static void frame_send(int fd, const struct frame *f)
{
	while (send(fd, f->data, f->len, 0) != (ssize_t)f->len)
		if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			die("send");
}

static void frame_print(const struct frame *f, size_t at)
{
	for (size_t i = at; i < f->len; i++)
		printf("%02x", f->data[i]);
	putchar('\n');
}

/* Sleeps until packet number is due, counted from start: the mean rate holds whatever happens. */
static void pace(const struct spec *s, const struct timespec *start, unsigned long number)
{
	uint64_t ns = (uint64_t)start->tv_nsec + number * NSEC / s->pps;
	struct timespec due = {
		.tv_sec = start->tv_sec + (time_t)(ns / NSEC),
		.tv_nsec = (long)(ns % NSEC),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
		;
}

int main(int argc, char **argv)
{
	struct spec s = {.count = 1,
			 .pps = 20000,
			 .dport = 7777,
			 .ttl = 64,
			 .len = 32,
			 .id = 1,
			 .proto = IPPROTO_UDP,
			 .outer_proto = IPPROTO_UDP,
			 .outer_frag = IP_DF,
			 .port = 8285,
			 .sports = 1000};
	static struct frame f;
	struct timespec start;
	int fd;

	memset(s.eth_dst, 0xff, 6);
	for (int i = 1; i < argc; i++)
		parse(&s, argv[i]);
	if (s.tags > 4 || s.pad > 64)
		usage("so many tags, so much padding");
	if (s.len > MAX_PAYLOAD || !s.pps || !s.sports)
		usage("len=, pps= or sports= out of range");
	fd = socket_open(&s);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0; i < s.count; i++) {
		size_t at = build(&f, &s, i);

		if (i % BURST == 0)
			pace(&s, &start, i);
		frame_send(fd, &f);
		if (s.print)
			frame_print(&f, at);
	}
	if (!s.print)
		printf("sent %lu\n", s.count);
	return 0;
}
