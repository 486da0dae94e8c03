/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The complete slow path: a thread that moves packets between the TUN device and the UDP socket.
 * Routes reach it as whole immutable tables through a one-element mailbox, so control never waits
 * for traffic and traffic never takes a lock.
 */
#ifndef WEFT_USER_FORWARD_H
#define WEFT_USER_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ip4.h"
#include "netconf.h"
#include "weft/abi.h"

/* Sorted by subnet address, no overlaps; looked up by binary search. */
struct forward_route {
	struct prefix4 subnet;
	uint32_t public_ip; /* host byte order */
	uint32_t mtu; /* outer bytes towards this peer */
};

struct forward_table {
	struct prefix4 network;
	struct prefix4 subnet; /* own */
	uint16_t port; /* host byte order */
	bool peer_check;
	uint32_t mtu; /* of the overlay device; 0: deliver whatever size comes */
	uint32_t *members; /* sorted public IPs of all leases, host byte order */
	size_t n_members;
	size_t n_routes; /* peers only, own subnet excluded */
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
 * In: payload of a datagram from outer_src (host byte order).
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

/*
 * Bind the socket to addr:port (host byte order) and start the thread. tun_fd stays the caller's
 * and must outlive this; -EINVAL if it is not non-blocking. -EADDRINUSE if another program owns
 * the port. addr need not be on an interface (yet): the socket survives its coming and going.
 */
int forward_start(int tun_fd, uint32_t addr, uint16_t port, struct forward **out);
/* Joins the thread and frees fwd with all it owns; within one burst of packets. NULL is allowed. */
void forward_stop(struct forward *fwd);
/*
 * Ownership of table passes; it takes effect before the next packet is looked up. Never blocks.
 * Any thread may call it, NULL is ignored.
 */
void forward_set_table(struct forward *fwd, struct forward_table *table);
/*
 * Snapshot; counters indexed by WEFT_COUNTER(). Writes the entries of the hooks tunfd and socket
 * and leaves those of the other hooks as they are. Any thread may call it.
 */
void forward_counters(const struct forward *fwd, struct weft_counter out[WEFT_COUNTER_MAX]);

#endif
