/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Text of addresses and prefixes; declared in netconf.h. */
#include "netconf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "prefix4.h"

int prefix4_parse_addr(const char *text, uint32_t *out)
{
	struct in_addr addr;

	/* inet_pton and not inet_aton: no octal, no missing octets, nothing behind. */
	if (inet_pton(AF_INET, text, &addr) != 1)
		return -EINVAL;
	*out = ntohl(addr.s_addr);
	return 0;
}

/* One or two digits, no sign, no leading zero, at most 32. */
static int parse_len(const char *text, uint8_t *out)
{
	size_t n = strspn(text, "0123456789");
	unsigned int len = 0;

	if (n < 1 || n > 2 || text[n] || (n == 2 && text[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		len = len * 10 + (text[i] - '0');
	if (len > 32)
		return -EINVAL;
	*out = len;
	return 0;
}

int prefix4_split(const char *text, uint32_t *addr, uint8_t *len)
{
	const char *slash = strchr(text, '/');
	char host[INET_ADDRSTRLEN];
	uint32_t parsed_addr;
	uint8_t parsed_len;

	if (!slash || (size_t)(slash - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, slash - text);
	host[slash - text] = '\0';
	if (prefix4_parse_addr(host, &parsed_addr) || parse_len(slash + 1, &parsed_len))
		return -EINVAL;
	*addr = parsed_addr;
	*len = parsed_len;
	return 0;
}

int prefix4_parse(const char *text, struct prefix4 *out)
{
	uint32_t addr;
	uint8_t len;

	if (prefix4_split(text, &addr, &len))
		return -EINVAL;
	*out = (struct prefix4){.addr = addr & prefix4_mask(len), .len = len};
	return 0;
}

const char *ip4_format(uint32_t addr, char *buf)
{
	snprintf(buf, INET_ADDRSTRLEN, "%u.%u.%u.%u", addr >> 24, addr >> 16 & 0xff,
		 addr >> 8 & 0xff, addr & 0xff);
	return buf;
}

const char *prefix4_format(struct prefix4 p, char *buf)
{
	char addr[INET_ADDRSTRLEN];

	/* The mask tells the compiler that two digits are enough. */
	snprintf(buf, PREFIX4_STRLEN, "%s/%u", ip4_format(p.addr, addr), p.len & 0x3f);
	return buf;
}
