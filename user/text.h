/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text of others, made fit to be shown: names of devices, files and tables may hold nearly any
 * byte, a message may have been cut in the middle of a character, and none may drive a terminal,
 * forge a line or be what no JSON string can be.
 */
#ifndef WEFT_USER_TEXT_H
#define WEFT_USER_TEXT_H

#include <stddef.h>

/*
 * Bytes of the UTF-8 character at text, 1 to 4. 0: there is none to be shown, but a byte that is no
 * part of UTF-8, the end, or a control character, those of Unicode (U+0080 to U+009F) included.
 */
size_t text_char_len(const char *text);

/* In place: UTF-8 without control characters, each byte of anything else a '?'. Returns text. */
char *text_clean(char *text);

#endif
