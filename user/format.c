/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "format.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "util.h"

/* Behind UDP in format vxlan. */
struct vxlan_headers {
	uint32_t flags, vni; /* network byte order */
	uint8_t dst[6], src[6];
	uint16_t proto; /* network byte order */
} __attribute__((packed));
_Static_assert(sizeof(struct vxlan_headers) == FORMAT_HEADER_MAX, "RFC 7348 section 5");

static size_t write_vxlan(const struct vtep *self, const uint8_t peer[6], uint8_t *out)
{
	struct vxlan_headers headers = {
		.flags = htonl(WEFT_VXLAN_FLAGS),
		.vni = htonl(self->vni << 8),
		.proto = htons(ETH_P_IP),
	};

	memcpy(headers.dst, peer, sizeof(headers.dst));
	memcpy(headers.src, self->mac, sizeof(headers.src));
	memcpy(out, &headers, sizeof(headers));
	return sizeof(headers);
}

/* The order of bpf/vxlan.h. */
static enum weft_reason read_vxlan(const struct vtep *self, const uint8_t *payload, size_t len,
				   size_t *skip)
{
	struct vxlan_headers headers;

	if (len < sizeof(headers))
		return WEFT_R_SHORT;
	memcpy(&headers, payload, sizeof(headers));
	if (headers.flags != htonl(WEFT_VXLAN_FLAGS) || headers.vni & htonl(0xff))
		return WEFT_R_BAD_VXLAN;
	if (headers.vni != htonl(self->vni << 8))
		return WEFT_R_VNI;
	if (memcmp(headers.dst, self->mac, sizeof(headers.dst)) != 0)
		return WEFT_R_NOT_VTEP;
	if (headers.proto != htons(ETH_P_IP))
		return WEFT_R_NOT_IPV4;
	*skip = sizeof(headers);
	return WEFT_R_OK;
}

/* The inner packet is the payload. */
static size_t write_nothing(const struct vtep *self, const uint8_t peer[6], uint8_t *out)
{
	(void)self;
	(void)peer;
	(void)out;
	return 0;
}

static enum weft_reason read_nothing(const struct vtep *self, const uint8_t *payload, size_t len,
				     size_t *skip)
{
	(void)self;
	(void)payload;
	(void)len;
	*skip = 0;
	return WEFT_R_OK;
}

static const struct format {
	uint8_t protocol;
	size_t (*write)(const struct vtep *self, const uint8_t peer[6], uint8_t *out);
	enum weft_reason (*read)(const struct vtep *self, const uint8_t *payload, size_t len,
				 size_t *skip);
} formats[] = {
	[WEFT_FORMAT_UDP] = {IPPROTO_UDP, write_nothing, read_nothing},
	[WEFT_FORMAT_VXLAN] = {IPPROTO_UDP, write_vxlan, read_vxlan},
	[WEFT_FORMAT_IPIP] = {IPPROTO_IPIP, write_nothing, read_nothing},
};
_Static_assert(ARRAY_SIZE(formats) == WEFT_FORMAT_MAX, "every format has an entry");

static const char *const names[] = {
#define X(id, name, overhead) name,
	WEFT_FORMATS(X)
#undef X
};

static const uint32_t overheads[] = {
#define X(id, name, overhead) overhead,
	WEFT_FORMATS(X)
#undef X
};

const char *format_name(enum weft_format format)
{
	return names[format];
}

enum weft_format format_find(const char *name)
{
	size_t i = 0;

	while (i < WEFT_FORMAT_MAX && strcasecmp(names[i], name) != 0)
		i++;
	return i;
}

uint32_t format_overhead(enum weft_format format)
{
	return overheads[format];
}

uint8_t format_protocol(enum weft_format format)
{
	return formats[format].protocol;
}

size_t format_write(enum weft_format format, const struct vtep *self, const uint8_t peer[6],
		    uint8_t *out)
{
	return formats[format].write(self, peer, out);
}

enum weft_reason format_read(enum weft_format format, const struct vtep *self,
			     const uint8_t *payload, size_t len, size_t *skip)
{
	return formats[format].read(self, payload, len, skip);
}

void format_vtep_mac(uint32_t public_ip, uint8_t mac[6])
{
	const uint8_t made[6] = {0x0e,
				 0x66,
				 (uint8_t)(public_ip >> 24),
				 (uint8_t)(public_ip >> 16),
				 (uint8_t)(public_ip >> 8),
				 (uint8_t)public_ip};

	memcpy(mac, made, sizeof(made));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 'a' ^ 'A';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Not by sscanf(), which takes signs and spaces for digits. */
int format_parse_mac(const char *text, uint8_t mac[6])
{
	static const uint8_t none[6];
	uint8_t read[6];

	if (strlen(text) != MAC_STRLEN - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(read); i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i + 1 < sizeof(read) ? ':' : '\0'))
			return -EINVAL;
		read[i] = (uint8_t)(high << 4 | low);
	}
	if (read[0] & 1 || !memcmp(read, none, sizeof(read)))
		return -EINVAL;
	memcpy(mac, read, sizeof(read));
	return 0;
}

const char *format_mac(const uint8_t mac[6], char *buf)
{
	snprintf(buf, MAC_STRLEN, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
	return buf;
}
