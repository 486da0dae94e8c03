/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * `weft trace`, by the first byte of the input:
 *
 *  0  a client's filter: refused with the output as it was, or each word of it counts
 *  1  a record: no byte behind the packet's head is read, and what it says is one line for people
 *  2  an agent's lines: shown or refused, and as text nothing of them can drive the terminal
 */
#include "fuzz.h"

#include <arpa/inet.h>

/* The agent is the input. */
#define ctl_stream(dir, request) fuzz_stream(request)
static int fuzz_stream(const char *request);
#include "verb_trace.c"
#include "state_dir.h"
#undef ctl_stream

static int lines_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	setenv("TZ", "UTC", 1);
	return 0;
}

/* In place of state_dir.c: no agent is starting. */
pid_t state_dir_holder(const char *dir)
{
	(void)dir;
	return 0;
}

static int fuzz_stream(const char *request)
{
	CHECK(strcmp(request, "trace sample=1") == 0);
	return dup(lines_fd);
}

static int bits(uint64_t n)
{
	return __builtin_popcountll(n);
}

static void parse_filter(struct input in)
{
	struct trace_filter filter, before;
	_free_ char *text = strndup((const char *)in.at, in.left);

	memset(&before, 0xa5, sizeof(before));
	filter = before;
	CHECK(text);
	if (trace_filter_parse(text, &filter)) {
		CHECK(memcmp(&filter, &before, sizeof(filter)) == 0);
		return;
	}
	CHECK(strlen(text) < TRACE_FILTER_LEN);
	CHECK(bits(filter.hooks) == (strstr(text, "hook=") ? 1 : 32));
	CHECK(bits(filter.verdicts) == (strstr(text, "verdict=") ? 1 : 32));
	CHECK(bits(filter.reasons) == (strstr(text, "reason=") ? 1 : 64));
	CHECK(!filter.host == !strstr(text, "host="));
	CHECK(filter.sample >= 1 && filter.sample <= TRACE_SAMPLE_MAX);
	CHECK(strstr(text, "sample=") || filter.sample == 1);
}

static void show_record(struct input in)
{
	struct trace_wire wire = {0xc0000201, 8285, 8472, false};
	struct weft_trace *record = calloc(1, sizeof(*record));
	const struct trace_filter all = {UINT32_MAX, UINT32_MAX, UINT64_MAX, 0, 1};
	struct trace_packet packet;
	char text[TRACE_TEXT_LEN];
	json_t *object;

	CHECK(record);
	record->hook = take8(&in) % WEFT_HOOK_MAX;
	record->verdict = take8(&in) % WEFT_VERDICT_MAX;
	record->reason = take8(&in) % WEFT_REASON_MAX;
	record->protocol = htons(take8(&in) & 1 ? 0x86dd : 0x0800);
	record->outer = htonl(take8(&in));
	record->len = take16(&in);
	wire.vtep_bare = record->len & 1;
	record->head_len = (uint8_t)(in.left < WEFT_TRACE_HEAD ? in.left : WEFT_TRACE_HEAD);
	memcpy(record->head, in.at, record->head_len);
	ASAN_POISON_MEMORY_REGION(record->head + record->head_len,
				  (size_t)(WEFT_TRACE_HEAD - record->head_len));
	trace_decode(record, &wire, &packet);
	CHECK(trace_matches(&all, &packet));
	CHECK(!packet.ip4 || packet.record->protocol == htons(0x0800));
	object = trace_json(&packet, "veth1", 1.5);
	CHECK(object && (size_t)json_object_size(object) >= 7);
	trace_text(object, text);
	CHECK(strncmp(text, "00:00:01.500000 ", 16) == 0 && strstr(text, " length "));
	check_text(text_clean(text));
	CHECK(!strchr(text, '\n'));
	json_decref(object);
	ASAN_UNPOISON_MEMORY_REGION(record->head, WEFT_TRACE_HEAD);
	free(record);
}

static int trace_lines(void *options)
{
	return verb_trace(options);
}

static void show_answers(struct input in)
{
	uint8_t how = take8(&in);
	struct options options = {
		.state_dir = "/nowhere",
		.trace_sample = 1,
		.trace_count = how & 7,
		.json = how & 8,
	};
	_free_ char *out = NULL, *err = NULL;
	FILE *lines = tmpfile();
	int status;

	CHECK(lines && fwrite(in.at, 1, in.left, lines) == in.left && fflush(lines) == 0);
	rewind(lines);
	lines_fd = fileno(lines);
	status = captured(trace_lines, &options, &out, &err);
	fclose(lines);
	CHECK(status == EXIT_STOPPED || (status == EXIT_RUNTIME && *err));
	check_text(err);
	if (!options.json)
		check_text(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	switch (take8(&in) % 3) {
	case 0:
		parse_filter(in);
		break;
	case 1:
		show_record(in);
		break;
	default:
		show_answers(in);
	}
	return 0;
}
