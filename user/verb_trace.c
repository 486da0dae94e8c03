/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "verb_trace.h"

#include <errno.h>
#include <string.h>

#include "ctl.h"
#include "show.h"
#include "text.h"
#include "trace.h"
#include "util.h"

static void write_request(const struct options *options, char *out, size_t len)
{
	const struct {
		const char *key, *value;
	} words[] = {
		{"hook", options->trace_hook},
		{"verdict", options->trace_verdict},
		{"reason", options->trace_reason},
		{"host", options->trace_host},
	};
	int n = snprintf(out, len, "trace sample=%u", options->trace_sample);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].value && (size_t)n < len)
			n += snprintf(out + n, len - (size_t)n, " %s=%s", words[i].key,
				      words[i].value);
}

/* 1: a packet; 0: something else was said; or -errno. */
static int show_line(const struct options *options, const char *line)
{
	json_t *object = json_loads(line, 0, NULL);
	const json_t *lost = json_object_get(object, "lost");
	const char *error = json_string_value(json_object_get(object, "error"));
	bool packet = json_object_get(object, "hook");
	char text[TRACE_TEXT_LEN];
	int err = 0;

	if (!object)
		return -EPROTO;
	if (error) {
		show_refusal(error);
		err = -ECANCELED;
	} else if (json_object_size(object) == 0) {
		fprintf(stderr, "weft: tracing\n");
	} else if (options->json) {
		fputs(line, stdout);
	} else if (packet) {
		trace_text(object, text);
		puts(text_clean(text));
	} else if (lost) {
		fprintf(stderr, "weft: %lld lost\n", (long long)json_integer_value(lost));
	}
	json_decref(object);
	if (fflush(stdout) || ferror(stdout))
		err = -EPIPE;
	return err ? err : packet;
}

/* Until so many packets were shown, 0 for no end; or until the agent or the reader ends it. */
static int show_lines(const struct options *options, FILE *in)
{
	_free_ char *line = NULL;
	unsigned int left = options->trace_count;
	size_t len = 0;
	int shown = 0;

	while (getline(&line, &len, in) > 0) {
		shown = show_line(options, line);
		if (shown < 0)
			return shown;
		if (shown && left && --left == 0)
			return 0;
	}
	return -ESHUTDOWN;
}

enum weft_exit verb_trace(const struct options *options)
{
	char request[sizeof("trace ") + TRACE_FILTER_LEN];
	_fclose_ FILE *in = NULL;
	_close_ int fd = -1;
	int err;

	write_request(options, request, sizeof(request));
	fd = ctl_stream(options->state_dir, request);
	if (fd < 0)
		return show_failure(options, fd);
	in = fdopen(fd, "r");
	if (!in)
		return show_failure(options, -errno);
	take_fd(&fd);
	err = show_lines(options, in);
	if (err == -ESHUTDOWN)
		fprintf(stderr, "weft: the agent ended\n");
	else if (err && err != -ECANCELED && err != -EPIPE)
		return show_failure(options, err);
	return err && err != -EPIPE ? EXIT_RUNTIME : EXIT_STOPPED;
}
