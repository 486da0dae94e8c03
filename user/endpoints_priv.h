/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside the endpoints: the tables and their keeper (endpoints_table.c), and who feeds them. */
#ifndef WEFT_USER_ENDPOINTS_PRIV_H
#define WEFT_USER_ENDPOINTS_PRIV_H

#include "endpoints.h"

#include <stddef.h>
#include <sys/queue.h>

#include "bridge.h"
#include "netlink.h"

/* A bridge takes 1024 ports. */
#define PORT_BUCKETS 256
#define MAC_BUCKETS 4096

struct port {
	uint32_t ifindex;
	char ifname[IF_NAMESIZE];
	bool running;
	bool orphaned; /* endpoints were lost when it stopped running */
	uint32_t seen; /* last resync that found it */
	LIST_HEAD(, mac) macs;
	LIST_ENTRY(port) in_bucket;
};

/* In use by at least one slot. */
struct mac {
	uint8_t addr[6];
	bool learnt; /* the bridge has it on port; false: port is only where it last was */
	struct port *port; /* NULL: nowhere yet */
	LIST_HEAD(, slot) slots;
	LIST_ENTRY(mac) on_port;
	LIST_ENTRY(mac) in_bucket;
};

/* One address; the index is its host part. */
struct slot {
	struct mac *mac; /* NULL: not resolved */
	uint32_t ifindex; /* as last reported; 0: not an endpoint */
	uint8_t reported_mac[6];
	bool fixed; /* a permanent neighbour, which a probe would spoil */
	bool local; /* this host's own address */
	bool queued;
	bool hint; /* queued because of a hint */
	uint32_t last_port; /* the last ifindex that was not 0 */
	uint32_t seen; /* last resync that found the neighbour */
	uint32_t seen_local; /* last resync that found the own address */
	uint64_t hint_ms; /* when a hint was last followed */
	LIST_ENTRY(slot) of_mac;
	TAILQ_ENTRY(slot) in_queue;
};

struct endpoints {
	struct loop *loop;
	struct endpoints_events events;
	struct nl *watch;
	struct nl *nl;
	char name[IF_NAMESIZE];
	uint32_t bridge; /* ifindex, 0: there is none */
	uint8_t bridge_mac[6];
	bool vlan_filtering;
	struct prefix4 subnet;
	struct slot *slots;
	uint32_t n_slots;
	uint32_t cursor; /* where the next slice of keepalives starts */
	uint32_t turn; /* which slice of KEEPALIVE_S it is */
	uint32_t resync; /* serial number of the last resync */
	bool syncing;
	bool resync_due;
	bool fdb_due; /* a VLAN's entry has to be found by a dump */
	uint64_t resync_ms;
	size_t n_hints; /* queued ones */
	uint64_t seed;
	TAILQ_HEAD(, slot) queue;
	bool probing; /* probe_timer is armed */
	struct loop_timer *probe_timer;
	struct loop_timer *keepalive_timer;
	struct loop_timer *resync_timer;
	LIST_HEAD(, port) ports[PORT_BUCKETS];
	LIST_HEAD(, mac) macs[MAC_BUCKETS];
};

/* NULL when addr cannot be a pod's: outside the subnet, or the network's own. */
struct slot *eps_find_slot(const struct endpoints *e, uint32_t addr);
uint32_t eps_slot_addr(const struct endpoints *e, const struct slot *s);
bool eps_is_complete(const struct slot *s);
void eps_describe(const struct endpoints *e, const struct slot *s, struct endpoint *out);
/* Report the slot if it is not what was reported last. */
void eps_evaluate(struct endpoints *e, struct slot *s);
/* The neighbour table has this MAC, or none, for the slot's address. */
int eps_set_mac(struct endpoints *e, struct slot *s, const uint8_t addr[6]);
void eps_forget_mac(struct endpoints *e, struct slot *s);

struct mac *eps_find_mac(const struct endpoints *e, const uint8_t addr[6]);
struct port *eps_find_port(const struct endpoints *e, uint32_t ifindex);
/* The bridge has m on p; or, p being NULL, m's port is no more. */
void eps_place(struct endpoints *e, struct mac *m, struct port *p);
/* Ask the bridge where a MAC is: it reports only what it learns from now on. */
void eps_locate(struct endpoints *e, struct mac *m);

/* The bridge is as link says, or is no more. */
void eps_update_bridge(struct endpoints *e, const struct bridge_link *link);
void eps_lose_bridge(struct endpoints *e);
/* Any link is as link says, or was before its deletion. */
int eps_take_link(struct endpoints *e, const struct bridge_link *link, bool deleted);
/* Ports that the last resync has not seen. */
void eps_sweep_ports(struct endpoints *e);

/* The probe queue. Doubts go first: a hint is only a hope for a better path. */
void eps_enqueue(struct endpoints *e, struct slot *s, bool hint);
void eps_enqueue_mac(struct endpoints *e, struct mac *m);
/* NULL when it is empty. */
struct slot *eps_dequeue(struct endpoints *e);

void eps_free_tables(struct endpoints *e);

#endif
