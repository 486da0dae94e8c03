/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Questions to peers: a few packets to each, to lease holders only, to all of them at a time. Those
 * that answer a small ping through the overlay are asked with larger ones, and whether checksums
 * arrive finished; of the others the way outside is looked at. The first cause found is named.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "doctor_priv.h"
#include "format.h"
#include "ip4.h"
#include "sysctl.h"
#include "util.h"

#define ROUND_MS 1000 /* for the answers of one round */
#define AGAIN_MS 400 /* who has not answered by then is asked again, once */
#define SMALL 84 /* bytes of an IPv4 packet; what ping sends */
#define CLOSED_PORT 33435 /* of traceroute: nobody listens there */
#define ICMP_RATE_MS 1100 /* the kernel gives a host one error a second, after a first few */
#define PING_MAX 65535

struct probe {
	struct doctor_peer *peer;
	bool asked, answered, damaged; /* in this round */
	bool small; /* the overlay works at all */
	bool blamed; /* a cause is named */
};

struct prober {
	struct doctor *d;
	struct probe probes[DOCTOR_PEERS];
	size_t n;
	int overlay, underlay; /* raw ICMP sockets with our address of either */
	uint16_t id, round;
	uint8_t packet[PING_MAX];
};

/* False when the time is up first. */
static bool wait_readable(int fd, uint64_t until)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int left = clock_left_ms(until);

	return left > 0 && poll(&poll_fd, 1, left) > 0;
}

static struct sockaddr_in at(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};
}

static int open_from(int type, int protocol, uint32_t addr)
{
	_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	struct sockaddr_in self = at(addr, 0);
	/* DF, and what the kernel has learnt of the path does not count. */
	int probe = IP_PMTUDISC_PROBE;

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) ||
	    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe)))
		return -errno;
	return take_fd(&fd);
}

/* Pings. */

static uint8_t pattern(size_t i, uint16_t round)
{
	return (uint8_t)(i * 7 + round);
}

static void ask(struct prober *p, int fd, uint32_t addr, size_t size)
{
	size_t len = size - WEFT_IP4_HLEN;
	struct icmphdr icmp = {.type = ICMP_ECHO};
	struct sockaddr_in to = at(addr, 0);

	icmp.un.echo.id = p->id;
	icmp.un.echo.sequence = htons(p->round);
	memcpy(p->packet, &icmp, sizeof(icmp));
	for (size_t i = sizeof(icmp); i < len; i++)
		p->packet[i] = pattern(i, p->round);
	icmp.checksum = ip4_checksum(p->packet, len);
	memcpy(p->packet, &icmp, sizeof(icmp));
	sendto(fd, p->packet, len, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

static struct probe *probe_of(struct prober *p, int fd, uint32_t addr)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct doctor_peer *peer = p->probes[i].peer;

		if (addr == (fd == p->overlay ? peer->overlay : peer->public_ip))
			return &p->probes[i];
	}
	return NULL;
}

static void take_answer(struct prober *p, int fd, size_t size)
{
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	struct icmphdr icmp;
	struct probe *probe;
	ssize_t n = recvfrom(fd, p->packet, sizeof(p->packet), MSG_DONTWAIT,
			     (struct sockaddr *)&from, &from_len);
	size_t hlen = n > 0 ? (p->packet[0] & 0xfU) * 4 : 0;

	if (n < 0 || (size_t)n < hlen + sizeof(icmp))
		return;
	memcpy(&icmp, p->packet + hlen, sizeof(icmp));
	probe = probe_of(p, fd, ntohl(from.sin_addr.s_addr));
	if (!probe || icmp.type != ICMP_ECHOREPLY || icmp.un.echo.id != p->id ||
	    icmp.un.echo.sequence != htons(p->round))
		return;
	probe->answered = true;
	probe->damaged = (size_t)n != hlen + size - WEFT_IP4_HLEN;
	for (size_t i = sizeof(icmp); i < (size_t)n - hlen; i++)
		probe->damaged |= p->packet[hlen + i] != pattern(i, p->round);
}

static bool all_answered(const struct prober *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->probes[i].asked && !p->probes[i].answered)
			return false;
	return true;
}

/* Those marked as asked: who answers a ping of so many bytes? */
static void ask_all(struct prober *p, int fd, size_t size)
{
	uint64_t begin = clock_ms();

	p->round++;
	for (size_t i = 0; i < p->n; i++)
		p->probes[i].answered = p->probes[i].damaged = false;
	for (int turn = 0; turn < 2 && !all_answered(p); turn++) {
		for (size_t i = 0; i < p->n; i++)
			if (p->probes[i].asked && !p->probes[i].answered)
				ask(p, fd,
				    fd == p->overlay ? p->probes[i].peer->overlay
						     : p->probes[i].peer->public_ip,
				    size);
		while (!all_answered(p) && wait_readable(fd, begin + (turn ? ROUND_MS : AGAIN_MS)))
			take_answer(p, fd, size);
	}
}

/* Larger ones, of those that answer small ones: what size does not come through? */
static void probe_sizes(struct prober *p)
{
	const size_t full = p->d->mtu, sizes[] = {576, 1200, full};

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (size_t i = 0; i < p->n; i++) {
			struct probe *probe = &p->probes[i];
			uint32_t way = probe->peer->mtu;

			/* What is known not to fit is said already. */
			probe->asked =
				probe->small && !probe->blamed && sizes[s] <= full &&
				(!way || sizes[s] + format_overhead(probe->peer->format) <= way);
		}
		ask_all(p, p->overlay, sizes[s]);
		for (size_t i = 0; i < p->n; i++) {
			struct probe *probe = &p->probes[i];

			if (!probe->asked || (probe->answered && !probe->damaged))
				continue;
			probe->blamed = true;
			if (probe->damaged)
				doctor_fail(p->d, "damage", doctor_ip(probe->peer->public_ip),
					    "look for a device on the way that rewrites packets",
					    "%zu bytes through the overlay come back changed",
					    sizes[s]);
			else
				doctor_fail(
					p->d, "mtu", doctor_ip(probe->peer->public_ip),
					"look for a link on the way with a smaller MTU, or a "
					"firewall that drops large packets or the ICMP about them",
					"packets of %zu bytes vanish in the overlay, smaller "
					"ones are answered; the way takes %u, it is said",
					sizes[s], probe->peer->mtu);
		}
	}
}

/* Checksums. */

/* Does the peer's kernel refuse a datagram to a closed port? It does if it finds it whole. */
static bool is_refused(const struct prober *p, const struct probe *probe, bool checksum)
{
	struct sockaddr_in to = at(probe->peer->overlay, CLOSED_PORT);
	_close_ int fd = open_from(SOCK_DGRAM, 0, p->d->subnet);
	uint64_t until = clock_ms() + AGAIN_MS;
	int off = !checksum;
	char byte;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &off, sizeof(off)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) || send(fd, "weft", 4, 0) != 4)
		return false;
	while (wait_readable(fd, until))
		if (recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNREFUSED)
			return true;
	return false;
}

/* After a rest in which the peer's kernel may answer again (icmp(7), icmp_ratelimit). */
static bool is_refused_later(const struct prober *p, const struct probe *probe, bool checksum)
{
	usleep(ICMP_RATE_MS * 1000);
	return is_refused(p, probe, checksum);
}

/* A question is asked twice before silence counts; the other kind of silence says nothing. */
static bool loses_checksums(const struct prober *p, const struct probe *probe)
{
	return !is_refused(p, probe, true) && is_refused_later(p, probe, false) &&
	       !is_refused_later(p, probe, true) && is_refused_later(p, probe, false);
}

static void probe_checksums(struct prober *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct probe *probe = &p->probes[i];

		if (!probe->small || probe->blamed || !loses_checksums(p, probe))
			continue;
		probe->blamed = true;
		doctor_fail(p->d, "checksum", doctor_ip(probe->peer->public_ip),
			    "ethtool -K UPLINK tx off, here: the device claims to finish checksums "
			    "and hands them on unfinished",
			    "a datagram with a checksum is dropped there, one without is not (%s)",
			    p->d->uplink);
	}
}

/* What is wrong with the way outside. */

struct arp {
	struct arphdr head;
	uint8_t sender_mac[6], sender[4], target_mac[6], target[4];
} __attribute__((packed));

/* Who answers for addr on the wire, whatever the kernel believes? -ETIMEDOUT: nobody. */
static int ask_arp(const struct rtnl_link *link, uint32_t self, uint32_t addr, uint8_t mac[6])
{
	_close_ int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = (int)link->ifindex,
				 .sll_halen = 6,
				 .sll_addr = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	struct arp arp = {.head = {.ar_hrd = htons(ARPHRD_ETHER),
				   .ar_pro = htons(ETH_P_IP),
				   .ar_hln = 6,
				   .ar_pln = 4,
				   .ar_op = htons(ARPOP_REQUEST)}};
	uint32_t sender = htonl(self), target = htonl(addr);
	uint64_t until = clock_ms() + AGAIN_MS;

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)))
		return -errno;
	memcpy(arp.sender_mac, link->mac, 6);
	memcpy(arp.sender, &sender, 4);
	memcpy(arp.target, &target, 4);
	if (sendto(fd, &arp, sizeof(arp), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	while (wait_readable(fd, until)) {
		if (recv(fd, &arp, sizeof(arp), MSG_DONTWAIT) != sizeof(arp) ||
		    arp.head.ar_op != htons(ARPOP_REPLY) || memcmp(arp.sender, &target, 4))
			continue;
		memcpy(mac, arp.sender_mac, 6);
		return 0;
	}
	return -ETIMEDOUT;
}

/* 0: nothing is wrong with the next hop's MAC; else the cause is named, or cannot be. */
static int judge_next_hop(struct doctor *d, const struct doctor_peer *peer, const char *ip)
{
	static const uint8_t none[6];
	char said[MAC_STRLEN], real[MAC_STRLEN];
	struct rtnl_neigh neigh = {};
	struct rtnl_route route;
	struct rtnl_link link;
	uint8_t mac[6];
	int err = rtnl_route_lookup(d->nl, peer->public_ip, 0, &route);

	if (err) {
		doctor_fail(d, "peer", ip, "set a route", "no route there: %s", strerror(-err));
		return err;
	}
	if (rtnl_link_get(d->nl, route.ifindex, NULL, &link) || !link.ethernet)
		return 0;
	err = ask_arp(&link, route.prefsrc, route.gateway, mac);
	if (err == -ETIMEDOUT) {
		doctor_fail(d, "peer", ip, "see whether the node is up and on this network",
			    "%s on %s does not answer ARP", doctor_ip(route.gateway), link.ifname);
		return err;
	}
	rtnl_neigh_get(d->nl, route.ifindex, route.gateway, &neigh);
	if (err || !memcmp(neigh.has_mac ? neigh.mac : mac, mac, 6))
		neigh.has_mac = false;
	if (!err && !neigh.has_mac && memcmp(peer->mac, none, 6) && memcmp(peer->mac, mac, 6)) {
		neigh.has_mac = true;
		memcpy(neigh.mac, peer->mac, 6);
	}
	if (!neigh.has_mac)
		return 0;
	doctor_fail(d, "stale_mac", ip, "ip neigh del ADDRESS dev DEVICE, if nobody needs it",
		    "%s is sent to %s, but answers from %s (%s)", doctor_ip(route.gateway),
		    format_mac(neigh.mac, said), format_mac(mac, real), link.ifname);
	return -ESTALE;
}

/* The underlay carries pings, the overlay does not: is its port closed, or silent? */
static void judge_port(struct doctor *d, const struct doctor_peer *peer, const char *ip)
{
	uint16_t port = peer->format == WEFT_FORMAT_VXLAN ? d->vxlan_port : d->port;
	struct sockaddr_in to = at(peer->public_ip, port);
	_close_ int fd = open_from(SOCK_DGRAM, 0, d->local);
	uint64_t until = clock_ms() + AGAIN_MS;
	bool closed = false;
	char byte;

	if (peer->format == WEFT_FORMAT_IPIP) {
		doctor_fail(d, "port", ip, "let IP protocol 4 pass, both ways",
			    "answers on the underlay, and nothing through the overlay");
		return;
	}
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    send(fd, "", 1, 0) == 1)
		while (!closed && wait_readable(fd, until))
			closed = recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNREFUSED;
	doctor_fail(d, "port", ip,
		    closed ? "start the agent there, with the same port"
			   : "let this port pass at both nodes and between them, both ways",
		    "answers on the underlay, but not through the overlay: UDP port %u is %s", port,
		    closed ? "closed" : "silent");
}

static void probe_underlay(struct prober *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->probes[i].asked = !p->probes[i].small;
	ask_all(p, p->underlay, SMALL);
	for (size_t i = 0; i < p->n; i++) {
		const struct doctor_peer *peer = p->probes[i].peer;
		char ip[INET_ADDRSTRLEN];

		if (!p->probes[i].asked)
			continue;
		snprintf(ip, sizeof(ip), "%s", doctor_ip(peer->public_ip));
		/* No agent here: what takes the slow path ends here, which is said already. */
		if (p->probes[i].answered && !p->d->status)
			continue;
		if (p->probes[i].answered)
			judge_port(p->d, peer, ip);
		else if (judge_next_hop(p->d, peer, ip) == 0)
			doctor_fail(p->d, "peer", ip,
				    "see whether the node is up, and what filters",
				    "answers neither on the underlay nor through the overlay");
	}
}

/* Beginning. */

static bool can_probe(struct doctor *d, struct prober *p)
{
	if (!d->known || (!d->bpf && !d->status)) {
		doctor_warn(d, "probes", "peers", "start the agent",
			    "peers are not known or cannot be reached without an agent");
		return false;
	}
	p->overlay = open_from(SOCK_RAW, IPPROTO_ICMP, d->subnet);
	p->underlay = open_from(SOCK_RAW, IPPROTO_ICMP, d->local);
	if (p->overlay == -EPERM || p->underlay == -EPERM)
		doctor_warn(d, "probes", "peers", "run weft doctor as root, or with CAP_NET_RAW",
			    "without privilege no ping can be sent");
	else if (p->underlay < 0)
		doctor_warn(d, "probes", "peers", "",
			    "%s is not an address of this node: peers are not probed",
			    doctor_ip(d->local));
	/* That the overlay's own address is missing is said elsewhere. */
	return p->overlay >= 0 && p->underlay >= 0;
}

static void probe_peers(struct prober *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->probes[i].asked = true;
	ask_all(p, p->overlay, SMALL);
	for (size_t i = 0; i < p->n; i++)
		p->probes[i].small = p->probes[i].answered;
	probe_underlay(p);
	probe_sizes(p);
	probe_checksums(p);
}

void doctor_probe(struct doctor *d)
{
	static const char *const checks[] = {"peer",   "stale_mac", "port",  "mtu",
					     "damage", "checksum",  "probes"};
	_free_ struct prober *p = calloc(1, sizeof(*p));

	if (!p)
		return;
	p->d = d;
	p->id = (uint16_t)getpid();
	p->n = d->n_peers < DOCTOR_PEERS ? d->n_peers : DOCTOR_PEERS;
	p->overlay = p->underlay = -1;
	for (size_t i = 0; i < p->n; i++)
		p->probes[i].peer = &d->peers[i];
	if (can_probe(d, p)) {
		probe_peers(p);
		if (p->n < d->n_peers)
			doctor_say(d, DOCTOR_OK, "probes", "peers", "",
				   "%zu of %zu peers were probed", p->n, d->n_peers);
	}
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		doctor_done(d, checks[i]);
	cleanup_close(&p->overlay);
	cleanup_close(&p->underlay);
}
