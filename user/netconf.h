/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The network configuration and its leases: flannel's JSON, validated.
 * Rules: flannel's etcd-mode validation (keys case-insensitive, unknown keys ignored).
 */
#ifndef WEFT_USER_NETCONF_H
#define WEFT_USER_NETCONF_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

#define NETCONF_ERROR_LEN 512
/* 65,536 leases take 4 MiB; what is larger is no configuration. */
#define NETCONF_MAX_SIZE (16u << 20)
#define NETCONF_MAX_SIZE_TEXT "16 MiB"

/* An IPv4 prefix; host bits of addr are zero. Host byte order. */
struct prefix4 {
	uint32_t addr;
	uint8_t len;
};

#define LEASE_BACKEND_LEN 16

struct lease {
	struct prefix4 subnet;
	uint32_t public_ip; /* host byte order */
	enum weft_format format; /* that its node is to be sent; WEFT_FORMAT_MAX: none of ours */
	bool announced; /* by the lease itself; if not, it is the network's */
	char backend[LEASE_BACKEND_LEN]; /* BackendType; "" for none and for udp */
	struct vtep vtep; /* of format vxlan; made up where the lease tells nothing */
};

bool lease_equal(const struct lease *a, const struct lease *b);

struct netconf {
	struct prefix4 network;
	uint8_t subnet_len;
	uint32_t subnet_min; /* host byte order, inclusive */
	uint32_t subnet_max;
	enum weft_format format; /* of this network, by its Backend.Type */
	uint16_t port; /* UDP port of format udp, host byte order */
	uint16_t vxlan_port; /* host byte order */
	uint32_t vni; /* of format vxlan */
	struct lease *leases; /* owned; sorted by subnet address, no two overlap */
	size_t n_leases;
	struct prefix4 own; /* this node's lease; len 0: the one that its address holds */
};

static inline uint32_t prefix4_mask(uint8_t len)
{
	return len ? UINT32_MAX << (32 - len) : 0;
}

static inline bool prefix4_contains(struct prefix4 p, uint32_t addr)
{
	return (addr & prefix4_mask(p.len)) == p.addr;
}

/* "a.b.c.d/len" with zero host bits masked off; strict syntax. -EINVAL otherwise. */
int prefix4_parse(const char *text, struct prefix4 *out);
/* buf must hold INET_ADDRSTRLEN + 3 bytes. Returns buf. */
#define PREFIX4_STRLEN (INET_ADDRSTRLEN + 3)
const char *prefix4_format(struct prefix4 p, char *buf);
/* Dotted quad of a host order address; buf of INET_ADDRSTRLEN. Returns buf. */
const char *ip4_format(uint32_t addr, char *buf);

/*
 * Parse and validate a whole document (network configuration plus "Leases").
 * On failure returns -EINVAL (or -ENOMEM), leaves *out untouched and fills error with
 * "$.Leases[3].Subnet: reason" (JSON path first; "line L, column C: reason" for bad syntax).
 */
int netconf_parse(const char *text, size_t len, struct netconf *out, char error[NETCONF_ERROR_LEN]);
/* The network alone: "Leases" is ignored like every unknown key. */
int netconf_parse_network(const char *text, size_t len, struct netconf *out,
			  char error[NETCONF_ERROR_LEN]);
void netconf_free(struct netconf *conf);
bool netconf_equal(const struct netconf *a, const struct netconf *b);
/* Format, ports and VNI. */
bool netconf_same_backend(const struct netconf *a, const struct netconf *b);
/* Another format than the network's own, also of leases that announce none. */
void netconf_set_format(struct netconf *conf, enum weft_format format);
/* Can the lease's node be sent to? */
static inline bool netconf_is_routed(const struct netconf *conf, const struct lease *lease)
{
	return lease->format < WEFT_FORMAT_VXLAN || lease->format == WEFT_FORMAT_IPIP ||
	       (lease->format == WEFT_FORMAT_VXLAN && lease->vtep.vni == conf->vni);
}
/* The lease held by public_ip, or NULL. Host byte order. */
const struct lease *netconf_lease_of(const struct netconf *conf, uint32_t public_ip);
/* The lease of exactly this subnet, or NULL. */
const struct lease *netconf_find_lease(const struct netconf *conf, struct prefix4 subnet);
/* Can it be the address of a node, as far as can be told? Host byte order. */
bool netconf_is_node_address(uint32_t addr);

#endif
