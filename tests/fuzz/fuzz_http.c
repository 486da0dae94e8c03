/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The body of an answer as it comes in pieces: an endless one is cut into its lines whatever the
 * pieces, and none gets longer than was asked for.
 */
#include "fuzz.h"

#include "http.c"

#define MOST 40

static struct {
	const uint8_t *at; /* of the whole text: where the next line begins */
	int until; /* so many lines from here on one is refused */
} expected;

static int take(char *line, size_t len, void *arg)
{
	(void)arg;
	CHECK(memcmp(line, expected.at, len) == 0 && expected.at[len] == '\n' && !line[len]);
	CHECK(len <= MOST && !memchr(line, '\n', len));
	expected.at += len + 1;
	return expected.until-- == 0 ? -EPROTO : 0;
}

static void check_rest(const struct text *text, const uint8_t *end)
{
	CHECK(text->len <= text->most && text->len == (size_t)(end - expected.at));
	CHECK(!text->data ||
	      (text->len < text->room && memcmp(text->data, expected.at, text->len) == 0));
}

/* The first byte: which line is refused; each piece: its length, which is not part of the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http http = {.fn = take, .stream.text.most = MOST};
	struct input in = {data, size};
	_free_ uint8_t *whole = malloc(size + 1);
	struct text *text = &http.stream.text;
	uint8_t *end = whole;
	int lines = 0;

	expected.at = whole;
	expected.until = take8(&in);
	while (lines >= 0 && in.left) {
		size_t n = take8(&in) % 64;
		_free_ char *piece = (char *)take_copy(&in, &n);

		memcpy(end, piece, n);
		if (on_data(piece, 1, n, text) != n) {
			CHECK(text->overflow && text->len + n > MOST);
			break;
		}
		end += n;
		lines = hand_over_lines(&http);
		CHECK(lines == 0 || lines == 1 || lines == -EPROTO);
		check_rest(text, end);
		CHECK(lines < 0 || !text->len || !memchr(text->data, '\n', text->len));
	}
	free(text->data);
	return 0;
}
