/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The complete slow path: threads that move packets between the TUN device and UDP sockets. Routes
 * reach them as whole immutable tables that they read without a lock; control never waits for
 * traffic.
 */
#ifndef WEFT_USER_FORWARD_H
#define WEFT_USER_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ip4.h"
#include "netconf.h"
#include "trace.h"
#include "weft/abi.h"

/* Sorted by subnet address, no overlaps; looked up by binary search. */
struct forward_route {
	struct prefix4 subnet;
	uint32_t public_ip; /* host byte order */
	uint32_t mtu; /* outer bytes towards this peer */
	enum weft_format format; /* that it is sent */
	uint8_t vtep_mac[6]; /* of format vxlan */
};

struct forward_table {
	struct prefix4 network;
	struct prefix4 subnet; /* own */
	uint16_t port, vxlan_port; /* that peers receive at; host byte order */
	struct vtep vtep; /* own end of format vxlan */
	bool peer_check;
	bool dscp_inherited; /* outer DSCP from the inner packet */
	uint8_t tos; /* of outer packets if not */
	uint32_t mtu; /* that every pod has at least; 0: deliver whatever size comes */
	uint32_t *members; /* sorted public IPs of all leases, host byte order */
	size_t n_members;
	size_t n_routes; /* peers only, own subnet excluded */
	struct forward_table *next; /* the slow path's own */
	struct forward_route routes[];
};

/*
 * Caller fills it and hands it over with forward_set_table(). The counts are set, all else is zero.
 * NULL when there is no memory.
 */
struct forward_table *forward_table_new(size_t n_routes, size_t n_members);
void forward_table_free(struct forward_table *table);
/* The route of addr (host byte order), or NULL. */
const struct forward_route *forward_lookup(const struct forward_table *table, uint32_t addr);
/* Does public_ip (host byte order) hold a lease? */
bool forward_is_member(const struct forward_table *table, uint32_t public_ip);

/*
 * What the table says of a packet, WEFT_R_OK or why it is refused; pure, nothing is sent.
 * On any reason but SHORT, NOT_IPV4 and BAD_IP4 *info is valid; *route only on WEFT_R_OK.
 * Out: read from the TUN device. Size is not judged here, as the kernel has a say in it.
 * In: what a format has in it from outer_src (host byte order).
 */
enum weft_reason forward_check_out(const struct forward_table *table, const void *packet,
				   size_t len, struct ip4_info *info,
				   const struct forward_route **route);
enum weft_reason forward_check_in(const struct forward_table *table, uint32_t outer_src,
				  const void *packet, size_t len, struct ip4_info *info);
/*
 * Source address (host byte order) of the ICMP errors written to the TUN device. Not our own: the
 * kernel refuses a packet that arrives with one of its own addresses as source (martian) unless
 * accept_local is set on the device. The network's base address is no host's, and its route points
 * to the TUN device, so that rp_filter accepts it too; if the own subnet holds it, the first
 * address behind the own subnet serves.
 */
uint32_t forward_icmp_source(const struct forward_table *table);

struct forward;

#define FORWARD_QUEUES_MAX 16

struct forward_config {
	uint32_t addr; /* to bind to, host byte order; need not be on an interface (yet) */
	enum weft_format format; /* that most will come in */
	uint16_t port; /* of format udp, host byte order */
	uint16_t vxlan_port; /* 0: format vxlan is received by somebody else, or by nobody */
	bool ipip; /* format ipip is received; takes CAP_NET_RAW */
	bool fou; /* formats udp and ipip are sent only: the kernel receives them (fou_dev.h) */
	bool plain; /* one packet per system call in one thread, the first queue only */
	/* Queues of the device; they stay the caller's and must outlive this. */
	int tun_fds[FORWARD_QUEUES_MAX];
	size_t n_queues;
	bool vnet; /* each packet has a struct virtio_net_hdr in front */
	bool uso; /* UDP may be large, too */
	bool entropy; /* source ports by flow, not the one port for all */
	struct trace_tap *tap; /* of who traces; NULL: nobody ever does */
};

/*
 * Bind the sockets and start the threads: a worker for each queue, with a socket of its own; or one
 * thread in all. The other formats are the first thread's. -EADDRINUSE if another program owns a
 * port.
 */
int forward_start(const struct forward_config *config, struct forward **out);
/* Joins the threads and frees fwd with all it owns. NULL is allowed. */
void forward_stop(struct forward *fwd);
/*
 * Ownership of table passes; it takes effect with the next burst of packets. Never blocks. Any
 * thread may call it, NULL is ignored.
 */
void forward_set_table(struct forward *fwd, struct forward_table *table);
/*
 * May the kernel merge datagrams of a peer before the sockets get them (UDP_GRO)? Not where BPF
 * programs at the uplink are to see each. Off at first.
 */
void forward_set_merging(struct forward *fwd, bool on);
/*
 * Snapshot; counters indexed by WEFT_COUNTER(). Writes the entries of the hooks tunfd and socket
 * and leaves those of the other hooks as they are. Any thread may call it.
 */
void forward_counters(const struct forward *fwd, struct weft_counter out[WEFT_COUNTER_MAX]);

#endif
