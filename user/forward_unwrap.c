/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the sockets receive, up to the inner packet. No system calls. */
#include <netinet/ip.h>
#include <string.h>
#include <sys/socket.h>

#include "checksum.h"
#include "forward_priv.h"

const struct cmsghdr *control_find(struct msghdr *msg, int level, int type)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	while (cmsg && (cmsg->cmsg_level != level || cmsg->cmsg_type != type))
		cmsg = CMSG_NXTHDR(msg, cmsg);
	return cmsg;
}

uint8_t control_tos(struct msghdr *msg)
{
	const struct cmsghdr *cmsg = control_find(msg, IPPROTO_IP, IP_TOS);

	return cmsg ? *CMSG_DATA(cmsg) : 0;
}

/* A raw socket shows the outer header, which the kernel has checked (raw(7)). */
static enum weft_reason skip_outer(uint8_t **data, size_t *len, uint8_t *tos)
{
	size_t hlen = *len ? (size_t)(**data & 0xf) * 4 : 0;

	if (hlen < WEFT_IP4_HLEN || *len < hlen)
		return WEFT_R_SHORT;
	*tos = (*data)[1];
	*data += hlen;
	*len -= hlen;
	return WEFT_R_OK;
}

enum weft_reason unwrap(const struct forward_table *table, enum weft_format format, uint8_t **data,
			size_t *len, uint8_t *tos)
{
	enum weft_reason reason = WEFT_R_OK;
	size_t skip = 0;

	if (format_protocol(format) != IPPROTO_UDP)
		reason = skip_outer(data, len, tos);
	if (reason == WEFT_R_OK)
		reason = format_read(format, &table->vtep, *data, *len, &skip);
	*data += skip;
	*len -= skip;
	return reason;
}

/* RFC 1624, equation 3, in network byte order all along. */
static void set_tos(uint8_t *packet, uint8_t tos)
{
	uint8_t was[2] = {packet[0], packet[1]}, is[2] = {packet[0], tos};
	uint16_t check, from, to;
	uint32_t sum;

	memcpy(&check, packet + 10, sizeof(check));
	memcpy(&from, was, sizeof(from));
	memcpy(&to, is, sizeof(to));
	sum = (uint16_t)~check + (uint16_t)~from + to;
	sum = (sum & 0xffff) + (sum >> 16);
	check = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
	memcpy(packet + 10, &check, sizeof(check));
	packet[1] = tos;
}

enum weft_reason take_ecn(uint8_t *packet, uint8_t tos)
{
	uint8_t outer = tos & IPTOS_ECN_MASK, inner = packet[1] & IPTOS_ECN_MASK;

	if (outer == IPTOS_ECN_CE && inner == IPTOS_ECN_NOT_ECT)
		return WEFT_R_ECN;
	if (outer == IPTOS_ECN_CE && inner != IPTOS_ECN_CE)
		set_tos(packet, packet[1] | IPTOS_ECN_CE);
	else if (outer == IPTOS_ECN_ECT1 && inner == IPTOS_ECN_ECT0)
		set_tos(packet, (packet[1] & ~IPTOS_ECN_MASK) | IPTOS_ECN_ECT1);
	return WEFT_R_OK;
}
