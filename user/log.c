/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "util.h"

static const char *const names[] = {"error", "warn", "info", "debug"};
static enum log_level threshold = LOG_LEVEL_INFO;
static bool as_json;

int log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*level = i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_setup(enum log_level level, bool json)
{
	threshold = level;
	as_json = json;
}

/* Bytes of the UTF-8 character at text, 0 if it is none (RFC 3629 section 4). */
static size_t utf8_len(const unsigned char *text)
{
	static const struct {
		unsigned char first, last, min, max; /* lead byte; bounds of the second byte */
		size_t len;
	} forms[] = {
		{0x00, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	size_t form = 0;

	while (form < ARRAY_SIZE(forms) && text[0] > forms[form].last)
		form++;
	if (form == ARRAY_SIZE(forms) || text[0] < forms[form].first || text[1] < forms[form].min ||
	    text[1] > forms[form].max)
		return 0;
	for (size_t i = 2; i < forms[form].len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	return forms[form].len;
}

/* RFC 8259 section 7: quotes, backslashes and control characters are escaped. */
static void put_json_string(FILE *out, const char *text)
{
	const unsigned char *c = (const unsigned char *)text;
	size_t n;

	fputc('"', out);
	for (; *c; c += n ? n : 1) {
		n = utf8_len(c);
		if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if (*c < 0x20 || *c == 0x7f)
			fprintf(out, "\\u%04x", *c);
		else if (n == 0)
			fputs("\\ufffd", out);
		else
			fwrite(c, 1, n, out);
	}
	fputc('"', out);
}

static void put_json(FILE *out, enum log_level level, const char *text)
{
	struct timespec now;
	char stamp[32];
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(out, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"message\":", stamp,
		now.tv_nsec / 1000000, names[level]);
	put_json_string(out, text);
	fputs("}\n", out);
}

/* Text from a store or a packet must not be able to forge a line or drive a terminal. */
static void put_plain(FILE *out, enum log_level level, const char *text)
{
	fprintf(out, "weft: %s: ", names[level]);
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
	fputc('\n', out);
}

/* One write a line: stderr is unbuffered, and may be shared with other processes. */
static void put_line(enum log_level level, const char *text)
{
	_free_ char *line = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&line, &len);

	if (!out)
		return;
	if (as_json)
		put_json(out, level, text);
	else
		put_plain(out, level, text);
	if (fclose(out) == 0)
		fwrite(line, 1, len, stderr);
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	if (level > threshold)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	put_line(level, text);
}

int log_error(int err, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof(text))
		snprintf(text + n, sizeof(text) - n, ": %s", strerror(-err));
	put_line(LOG_LEVEL_ERROR, text);
	return err;
}
