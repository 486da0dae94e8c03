/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text.h"
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

/* RFC 8259 section 7: quotes, backslashes and control characters are escaped. */
static void put_json_string(FILE *out, const char *text)
{
	size_t n;

	fputc('"', out);
	for (; *text; text += n ? n : 1) {
		unsigned char c = (unsigned char)*text;

		n = text_char_len(text);
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (n == 0 && c < 0x80)
			fprintf(out, "\\u%04x", c);
		else if (n == 0)
			fputs("\\ufffd", out);
		else
			fwrite(text, 1, n, out);
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

/* One write a line: stderr is unbuffered, and may be shared with other processes. */
static void put_line(enum log_level level, char *text)
{
	_free_ char *line = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&line, &len);

	if (!out)
		return;
	if (as_json)
		put_json(out, level, text);
	else
		fprintf(out, "weft: %s: %s\n", names[level], text_clean(text));
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
