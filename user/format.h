/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The wire formats as the slow path and the configuration see them; weft/format.h lists them. */
#ifndef WEFT_USER_FORMAT_H
#define WEFT_USER_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "weft/format.h"
#include "weft/reason.h"

/* An end of a VXLAN tunnel (RFC 7348). */
struct vtep {
	uint32_t vni; /* 24 bits */
	uint8_t mac[6];
};

/* Name in flannel's Backend.Type and on the command line. */
const char *format_name(enum weft_format format);
/* By its name, whatever its case. WEFT_FORMAT_MAX: there is none. */
enum weft_format format_find(const char *name);
/* Bytes of all outer headers from IPv4 on. */
uint32_t format_overhead(enum weft_format format);
/* Protocol of the outer IPv4 header. */
uint8_t format_protocol(enum weft_format format);

/* What stands between what a socket sends or receives as payload and the inner packet. */
#define FORMAT_HEADER_MAX (WEFT_VXLAN_HLEN + WEFT_ETH_HLEN)
/* Its length; out has FORMAT_HEADER_MAX bytes. peer: MAC of the receiving end. */
size_t format_write(enum weft_format format, const struct vtep *self, const uint8_t peer[6],
		    uint8_t *out);
/*
 * Payload that came in: WEFT_R_OK with *skip bytes in front of the inner packet, or why it is not
 * for this end.
 */
enum weft_reason format_read(enum weft_format format, const struct vtep *self,
			     const uint8_t *payload, size_t len, size_t *skip);

/*
 * The MAC of a node's end where its lease has none: locally administered, made of its address (host
 * byte order), so that it stays the same and all nodes know it.
 */
void format_vtep_mac(uint32_t public_ip, uint8_t mac[6]);
/* "0e:66:c0:00:02:01". -EINVAL: not a unicast MAC. */
int format_parse_mac(const char *text, uint8_t mac[6]);
#define MAC_STRLEN 18
const char *format_mac(const uint8_t mac[6], char *buf);

#endif
