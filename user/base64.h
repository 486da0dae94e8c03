/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Base64 (RFC 4648 section 4) with padding. */
#ifndef WEFT_USER_BASE64_H
#define WEFT_USER_BASE64_H

#include <stddef.h>

/* The caller's to free; NULL: out of memory. */
char *base64_encode(const void *data, size_t len);
/* 0-terminated, *len without the zero; the caller's to free. NULL: not base64, or no memory. */
char *base64_decode(const char *text, size_t *len);

#endif
