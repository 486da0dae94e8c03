/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The BPF programs compiled for this machine, with maps and helpers of our own: what the kernel
 * does for them is done on a buffer. No headers of the kernel or libc, as either side includes it.
 */
#ifndef WEFT_TESTS_NATIVE_H
#define WEFT_TESTS_NATIVE_H

enum native_program {
	NATIVE_PORT,
	NATIVE_BRIDGE,
	NATIVE_TUN,
	NATIVE_UPLINK,
	NATIVE_STRIP,
	NATIVE_AGGREGATE,
	NATIVE_VTEP,
	NATIVE_ENTER,
	NATIVE_DELIVER,
	NATIVE_PROGRAMS,
};

/* Helpers that refuse, by bit. */
enum native_refusal {
	NATIVE_NO_PULL = 1,
	NATIVE_NO_ROOM = 2,
	NATIVE_NO_L2 = 4, /* as kernels before 5.13: not the flag for an inner frame */
	NATIVE_NO_HEAD = 8,
	NATIVE_NO_META = 16,
	NATIVE_NO_HINT = 32,
	NATIVE_NO_KEY = 64,
};

/* What is known of every flow. */
enum native_approval {
	NATIVE_UNAPPROVED,
	NATIVE_APPROVED,
	NATIVE_OLD_RULES,
	NATIVE_STALE,
	NATIVE_OTHER_WAY, /* the other direction alone */
};

#define NATIVE_FRAME_MAX 4096
#define NATIVE_HEADROOM 256
#define NATIVE_ROOM (NATIVE_HEADROOM + NATIVE_FRAME_MAX)

struct native_run {
	/* In: a frame, so much of which is readable at first, and what the kernel says of it. */
	const unsigned char *data;
	unsigned int len, linear;
	unsigned int protocol; /* host order */
	unsigned int pkt_type, vlan_present, vlan_tci, ifindex, gso_size, hash, tc_index;
	unsigned int marked; /* by the strip program */
	unsigned int verified; /* the outer checksum */
	unsigned int vni, remote, local; /* of the tunnel key, host order; local 0: an old kernel */
	unsigned int refusals;
	enum native_approval approval;
	unsigned int tracing; /* somebody does */
	/* Out */
	int act;
	unsigned char out[NATIVE_FRAME_MAX];
	unsigned int out_len;
	enum { NATIVE_NOWHERE, NATIVE_DEVICE, NATIVE_NEIGHBOUR, NATIVE_PEER_NS } redirect;
	unsigned int redirect_ifindex;
	unsigned int redirect_ingress;
	unsigned int out_hash, out_tc_index, out_marked;
	unsigned int counters, counter, hints, approvals_made, approvals_lost;
	unsigned long long counted_bytes;
	unsigned int traces, traced_len; /* records, and what the last one shows of the packet */
	unsigned char traced[256];
};

/* Two rooms of NATIVE_ROOM bytes below 4 GiB: a context holds addresses in 32 bits. */
void native_open(unsigned char *first, unsigned char *second);
void native_run(enum native_program program, struct native_run *run);
/* map: as in cluster.h. Members and prefixes are added, the others replaced. */
void native_put(int map, const void *key, const void *value);

#endif
