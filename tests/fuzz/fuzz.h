/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * For libFuzzer targets. A target includes the sources whose inside it drives and is built with the
 * others; what the code under test prints goes nowhere. Anything that CHECK() finds aborts.
 */
#ifndef WEFT_TESTS_FUZZ_H
#define WEFT_TESTS_FUZZ_H

#include <sanitizer/asan_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			dprintf(STDERR_FILENO, "%s:%d: %s\n", __func__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What is freed is kept in sight for a while: less of it than usual, as it costs most time. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:malloc_context_size=4";
}

/* libFuzzer keeps the streams that it began with. */
static inline void fuzz_quiet(void)
{
	stdout = fopen("/dev/null", "w");
	stderr = fopen("/dev/null", "w");
	CHECK(stdout && stderr);
}

/* What is left of an input; where nothing is, zeros come. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t take8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint16_t take16(struct input *in)
{
	uint16_t high = take8(in);

	return (uint16_t)(high << 8 | take8(in));
}

/* A heap copy of the next len bytes, or of what there is, so that its end is guarded. */
static inline uint8_t *take_copy(struct input *in, size_t *len)
{
	uint8_t *copy;

	if (*len > in->left)
		*len = in->left;
	copy = malloc(*len ? *len : 1);
	CHECK(copy);
	if (*len)
		memcpy(copy, in->at, *len);
	in->at += *len;
	in->left -= *len;
	return copy;
}

/* The next line without its end, 0-terminated, on the heap; NULL when there is none. */
static inline char *take_line(struct input *in, size_t *len)
{
	const uint8_t *end;
	char *line;

	if (!in->left)
		return NULL;
	end = memchr(in->at, '\n', in->left);
	*len = end ? (size_t)(end - in->at) : in->left;
	line = malloc(*len + 1);
	CHECK(line);
	memcpy(line, in->at, *len);
	line[*len] = '\0';
	in->at += *len + (end ? 1 : 0);
	in->left -= *len + (end ? 1 : 0);
	return line;
}

/* What fn prints, on the heap; returns what it does. */
static inline int captured(int (*fn)(void *arg), void *arg, char **out, char **err)
{
	FILE *was_out = stdout, *was_err = stderr;
	size_t out_len, err_len;
	int rc;

	stdout = open_memstream(out, &out_len);
	stderr = open_memstream(err, &err_len);
	CHECK(stdout && stderr);
	rc = fn(arg);
	fclose(stdout);
	fclose(stderr);
	stdout = was_out;
	stderr = was_err;
	return rc;
}

/* Lines for people: nothing in them drives a terminal, not by UTF-8's C1 controls either. */
static inline void check_text(const char *text)
{
	for (const unsigned char *c = (const void *)text; *c; c++) {
		CHECK((*c >= 0x20 && *c != 0x7f) || *c == '\n');
		CHECK(*c != 0xc2 || c[1] < 0x80 || c[1] > 0x9f);
	}
}

/* An explanation for people: there is one, on one line, and nothing in it drives a terminal. */
static inline void check_reason(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	CHECK(len > 0 && len < size);
	for (size_t i = 0; i < len; i++)
		CHECK(text[i] >= 0x20 && text[i] <= 0x7e);
}

#endif
