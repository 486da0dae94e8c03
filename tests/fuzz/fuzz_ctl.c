/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket, by the first byte of the input:
 *
 *  even  a client's bytes in pieces: a verb reaches the agent only as a short lower-case word, the
 *        client gets one JSON document or nothing, and its slot is free afterwards
 *  odd   an agent's answer: shown or refused, and as text nothing of it can drive the terminal
 */
#include "fuzz.h"

#include <sys/socket.h>

/* The agent is the input. */
#define connect(fd, addr, len) fuzz_connect(fd)
static int fuzz_connect(int fd);
#include "ctl.c"
#undef connect

#include "show.h"
#include "state_dir.h"

static int answer_fd;
static char asked[CTL_REQUEST_MAX + 1];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

/* In place of loop.c: the target knows when a descriptor is ready. */
int loop_add(struct loop *loop, int fd, loop_fn fn, void *arg)
{
	(void)loop;
	(void)fn;
	(void)arg;
	return fd < 0 ? -EBADF : 0;
}

void loop_remove(struct loop *loop, int fd)
{
	(void)loop;
	(void)fd;
}

/* In place of state_dir.c: no agent is starting. */
pid_t state_dir_holder(const char *dir)
{
	(void)dir;
	return 0;
}

/* Requests */

static json_t *on_verb(const char *verb, void *arg)
{
	(void)arg;
	CHECK(strlen(verb) > 0 && strlen(verb) < CTL_REQUEST_MAX);
	CHECK(verb[strspn(verb, "abcdefghijklmnopqrstuvwxyz")] == '\0');
	CHECK(!asked[0]);
	strcpy(asked, verb);
	return verb[0] == 'x' ? NULL : json_pack("{s:s}", "verb", verb);
}

static void check_answer(int fd, const char *sent)
{
	char text[512];
	ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
	const char *error, *verb;
	json_t *json;

	if (n <= 0) {
		CHECK(!asked[0]);
		return;
	}
	json = json_loadb(text, (size_t)n, 0, NULL);
	error = json_string_value(json_object_get(json, "error"));
	verb = json_string_value(json_object_get(json, "verb"));
	CHECK(json_object_size(json) == 1 && (error || verb));
	if (asked[0])
		CHECK(strncmp(sent, asked, strlen(asked)) == 0 && sent[strlen(asked)] == '\n');
	if (verb)
		CHECK(strcmp(verb, asked) == 0);
	else
		CHECK(!asked[0] || asked[0] == 'x');
	json_decref(json);
}

static void serve(struct input in)
{
	struct ctl ctl = {.config.fn = on_verb, .fd = -1, .done_fd = -1, .spare_fd = -1};
	struct client *client = &ctl.clients[0];
	_free_ char *sent = calloc(1, in.left + 1);
	size_t used = 0;
	int ends[2];

	asked[0] = '\0';
	*client = (struct client){.ctl = &ctl, .fd = -1, .timer_fd = -1};
	CHECK(sent && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	CHECK(client_open(client, ends[0], true) == 0);
	while (client->state == CLIENT_READING && in.left) {
		size_t n = 1 + take8(&in) % 70;
		_free_ char *piece = (char *)take_copy(&in, &n);

		memcpy(sent + used, piece, n);
		used += n;
		CHECK(n == 0 || send(ends[1], piece, n, 0) == (ssize_t)n);
		on_client(client);
	}
	check_answer(ends[1], sent);
	shutdown(ends[1], SHUT_WR);
	on_client(client);
	on_client(client);
	CHECK(client->state == CLIENT_FREE && client->fd == -1 && client->timer_fd == -1);
	close(ends[1]);
}

/* Answers */

static int fuzz_connect(int fd)
{
	return dup2(answer_fd, fd) < 0 ? -1 : 0;
}

struct question {
	struct input in;
	struct options options;
};

static int ask(void *arg)
{
	static enum weft_exit (*const verbs[])(const struct options *) = {
		show_status, show_peers, show_routes, show_endpoints, show_stats};
	struct question *q = arg;
	uint8_t verb = take8(&q->in);
	int ends[2], room = 1 << 20;
	enum weft_exit exit_status;

	q->options = (struct options){.state_dir = "/nowhere", .json = verb & 0x80};
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	CHECK(send(ends[1], q->in.at, q->in.left, MSG_DONTWAIT) == (ssize_t)q->in.left);
	shutdown(ends[1], SHUT_WR);
	answer_fd = ends[0];
	exit_status = verbs[verb % ARRAY_SIZE(verbs)](&q->options);
	close(ends[0]);
	close(ends[1]);
	return exit_status;
}

static void show_answer(struct input in)
{
	struct question question = {.in = in};
	_free_ char *out = NULL, *err = NULL;
	int status = captured(ask, &question, &out, &err);

	CHECK(status == EXIT_STOPPED || status == EXIT_RUNTIME);
	CHECK((status == EXIT_STOPPED) == !*err);
	check_text(err);
	if (!question.options.json)
		check_text(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (take8(&in) & 1)
		show_answer(in);
	else
		serve(in);
	return 0;
}
