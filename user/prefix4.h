/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parts of address parsing that the configuration needs beyond netconf.h's prefix4_parse(). */
#ifndef WEFT_USER_PREFIX4_H
#define WEFT_USER_PREFIX4_H

#include <stdint.h>

/* Strict dotted quad to host byte order; -EINVAL otherwise. */
int prefix4_parse_addr(const char *text, uint32_t *out);
/* "a.b.c.d/len" with the host bits as written: for those who must refuse them. */
int prefix4_split(const char *text, uint32_t *addr, uint8_t *len);

#endif
