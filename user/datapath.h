/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The BPF tier: programs, maps, pins and links. Adopts what an earlier agent left pinned and
 * replaces programs in place; nothing is ever detached in order to attach again.
 */
#ifndef WEFT_USER_DATAPATH_H
#define WEFT_USER_DATAPATH_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "options.h"
#include "weft/abi.h"
#include "weft/trace.h"

struct datapath;

struct datapath_hook { /* one attached program */
	enum weft_hook hook;
	uint32_t ifindex;
	char ifname[IF_NAMESIZE];
	const char *attach; /* "tcx", "clsact" or "xdp" */
	uint32_t prog_id;
};

/*
 * Open the pins below pin_dir (created with mode 0700) or make new ones, and load the programs.
 * mode: auto tries TCX, then clsact. approvals: entries of that table; one of another size that is
 * found is replaced, and all flows are approved anew. Maps of an older ABI version are left to the
 * programs that run, with new ones beside them. -EPROTO: maps of a newer version (exit status 3);
 * -EPERM / -EOPNOTSUPP: no privilege or no kernel support (exit status 4).
 */
int datapath_open(const char *pin_dir, enum attach_mode mode, uint32_t approvals,
		  struct datapath **out);
/*
 * Frees the handle; pins, links and programs stay and keep forwarding. An older version's state is
 * as it was before, unless datapath_complete() was called.
 */
void datapath_close(struct datapath *dp);

/*
 * Make hook's program run on ifindex; idempotent, replaces an older program of ours in place: at
 * once when the maps are complete, else with datapath_complete(). Where that fails it is a fault
 * that datapath_maintain() tries to mend, until datapath_detach().
 */
int datapath_attach(struct datapath *dp, enum weft_hook hook, uint32_t ifindex);
/* Configuration, routes and peers are in the maps. */
int datapath_complete(struct datapath *dp);
/* -ENODEV is success: the device is gone and took the program along. */
int datapath_detach(struct datapath *dp, enum weft_hook hook, uint32_t ifindex);
/*
 * Drop what an earlier agent attached and this one did not ask for, and older versions' maps; call
 * once after start.
 */
void datapath_prune(struct datapath *dp);

/* Publish a whole configuration at once. */
int datapath_set_config(struct datapath *dp, const struct weft_config *config);

/* How long an approval lasts, in seconds; 0: for ever. */
void datapath_set_lifetimes(struct datapath *dp, uint32_t tcp_s, uint32_t other_s);
/* The host's rules have changed: every flow must be approved anew. Returns the new generation. */
uint32_t datapath_new_generation(struct datapath *dp);

struct datapath_route { /* a lease as the maps see it; host byte order */
	uint32_t addr;
	uint8_t len;
	bool local;
	uint32_t public_ip;
};
/*
 * routes: no overlaps, in any order; those of one public_ip share its header. cell_shift as in
 * weft_config. Applies the difference only. A peer that stays keeps its header; a new one starts
 * unresolved. 1: the configuration in force is of another network or cell_shift; they suit both, so
 * call again when the one that comes next is in force.
 */
int datapath_set_routes(struct datapath *dp, uint32_t network, uint8_t cell_shift,
			const struct datapath_route *routes, size_t n);
/* Has the peer's header got MACs? */
bool datapath_peer_is_resolved(const struct datapath *dp, uint32_t public_ip);
/* Replace the prebuilt header of one peer (see abi.h for what it holds). */
int datapath_set_peer(struct datapath *dp, uint32_t public_ip, const struct weft_peer *peer);
/* index: address minus subnet base. ep->ifindex 0 removes. */
int datapath_set_endpoint(struct datapath *dp, uint32_t index, const struct weft_endpoint *ep);

/* fn is called from the loop for each hint of the programs. */
int datapath_on_hint(struct datapath *dp, struct loop *loop,
		     void (*fn)(const struct weft_hint *hint, void *arg), void *arg);

/* Where packets are asked for and recorded; valid until datapath_close(). */
struct datapath_trace {
	int ring_fd;
	struct weft_trace_wish *wish; /* the caller's to write */
	const __u64 *lost; /* records that found the ring full, since the programs were loaded */
};
void datapath_trace(const struct datapath *dp, struct datapath_trace *out);

/* Sums over CPUs; indexed by WEFT_COUNTER(), BPF hooks only. */
int datapath_counters(const struct datapath *dp, struct weft_counter out[WEFT_COUNTER_MAX]);
/* Number of attached programs; fills up to max. */
size_t datapath_hooks(const struct datapath *dp, struct datapath_hook *out, size_t max);

struct datapath_fill { /* entries in use */
	uint32_t routes; /* cells, of WEFT_MAX_ROUTES */
	uint32_t peers; /* of WEFT_MAX_PEERS - 1 */
	uint32_t endpoints; /* of WEFT_MAX_ENDPOINTS */
};
void datapath_fill(const struct datapath *dp, struct datapath_fill *out);
/* Descriptor of the table of approvals; stays dp's. */
int datapath_approvals(const struct datapath *dp);

/*
 * Calls fn with a line of text for every hook asked for that does not hold exactly our program
 * (uplink and tun are always asked for), and for every map whose pin is not the one that the
 * programs have. None means ready.
 */
void datapath_each_fault(const struct datapath *dp, void (*fn)(const char *fault, void *arg),
			 void *arg);
/* From now on attach and pin again whatever each_fault() would tell of, within a second. */
int datapath_maintain(struct datapath *dp, struct loop *loop);

/*
 * Detach every program of weft's in this netns, pinned or not, and remove every pin below pin_dir.
 * NULL: no such directory was found.
 */
int datapath_cleanup(const char *pin_dir);

#endif
