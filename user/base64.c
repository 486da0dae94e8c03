/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *in = data;
	char *text = malloc((len + 2) / 3 * 4 + 1), *out = text;

	for (size_t i = 0; text && i < len; i += 3) {
		uint32_t bits = (uint32_t)in[i] << 16;

		bits |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
		bits |= i + 2 < len ? in[i + 2] : 0;
		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = i + 1 < len ? alphabet[bits >> 6 & 63] : '=';
		*out++ = i + 2 < len ? alphabet[bits & 63] : '=';
	}
	if (text)
		*out = '\0';
	return text;
}

static int digit(char c)
{
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

char *base64_decode(const char *text, size_t *len)
{
	size_t n = strlen(text), digits = n, used = 0;
	uint32_t bits = 0;
	char *out;

	while (digits && n - digits < 2 && text[digits - 1] == '=')
		digits--;
	if (n % 4)
		return NULL;
	out = malloc(n / 4 * 3 + 1);
	for (size_t i = 0; out && i < digits; i++) {
		int value = digit(text[i]);

		if (value < 0) {
			free(out);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)value;
		if (i % 4)
			out[used++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	if (out)
		out[used] = '\0';
	*len = used;
	return out;
}
