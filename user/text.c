/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "text.h"

#include "util.h"

/* RFC 3629 section 4, without U+0000 to U+001F and U+007F to U+009F. */
size_t text_char_len(const char *text)
{
	static const struct {
		unsigned char first, last, min, max; /* lead byte; bounds of the second byte */
		size_t len;
	} forms[] = {
		{0x20, 0x7e, 0x00, 0xff, 1}, {0xc2, 0xc2, 0xa0, 0xbf, 2},
		{0xc3, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	const unsigned char *c = (const unsigned char *)text;
	size_t form = 0;

	while (form < ARRAY_SIZE(forms) && c[0] > forms[form].last)
		form++;
	if (form == ARRAY_SIZE(forms) || c[0] < forms[form].first || c[1] < forms[form].min ||
	    c[1] > forms[form].max)
		return 0;
	for (size_t i = 2; i < forms[form].len; i++) {
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	}
	return forms[form].len;
}

char *text_clean(char *text)
{
	for (char *c = text; *c;) {
		size_t len = text_char_len(c);

		if (len == 0)
			*c = '?';
		c += len ? len : 1;
	}
	return text;
}
