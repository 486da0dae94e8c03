/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket: answers of any size, and clients that stall, flood or talk nonsense. */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "ctl.h"
#include "privilege.h"
#include "util.h"

#define CLIENTS 16
#define PROMPT_MS 1000 /* generous: the sanitizers run here too */
#define LARGE_ROWS 100000 /* 10 MB as text */
#define MEDIUM_ROWS 5000 /* more than a socket holds */

struct server {
	char dir[64];
	struct loop *loop;
	struct ctl *ctl;
	pthread_t thread;
	int stop_fd;
	json_t *large, *medium;
};

static json_t *answer(const char *verb, void *arg)
{
	struct server *server = arg;

	if (!strcmp(verb, "small"))
		return json_pack("{s:s, s:[i, i]}", "verb", verb, "list", 1, 2);
	if (!strcmp(verb, "large"))
		return json_incref(server->large);
	if (!strcmp(verb, "medium"))
		return json_incref(server->medium);
	return NULL;
}

/* Two bytes, and the connection is ours to close; "busy" and "bad" are refused. */
static int pour(const char *verb, const char *words, int fd, void *arg)
{
	(void)arg;
	if (strcmp(verb, "pour"))
		return -ENOENT;
	if (!strcmp(words, "busy") || !strcmp(words, "bad"))
		return *words == 'b' && words[1] == 'u' ? -EBUSY : -EINVAL;
	if (!strcmp(words, "none"))
		return -ENOMEM;
	assert_int_equal(send(fd, *words ? words : "-", *words ? strlen(words) : 1, 0),
			 *words ? strlen(words) : 1);
	close(fd);
	return 0;
}

static bool reads(const char *verb)
{
	return !strcmp(verb, "small");
}

static int listen_for(struct server *server, gid_t group, struct ctl **out)
{
	const struct ctl_config config = {
		.state_dir = server->dir,
		.group = group,
		.fn = answer,
		.stream = pour,
		.reads = reads,
		.arg = server,
	};

	return ctl_listen(server->loop, &config, out);
}

static void on_stop(void *arg)
{
	struct server *server = arg;
	eventfd_t count;

	eventfd_read(server->stop_fd, &count);
	loop_stop(server->loop);
}

static void *serve(void *arg)
{
	struct server *server = arg;

	loop_run(server->loop);
	return NULL;
}

static void server_start(struct server *server)
{
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
	eventfd_write(server->stop_fd, 1);
	pthread_join(server->thread, NULL);
}

static json_t *make_rows(int n)
{
	json_t *rows = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(rows, json_pack("{s:i, s:s}", "index", i, "text",
						      "a row of about a hundred bytes, like a "
						      "route with its address and its next hop"));
	return rows;
}

static int setup(void **state)
{
	struct server *server = calloc(1, sizeof(*server));

	assert_non_null(server);
	strcpy(server->dir, "/tmp/weft-ctl-XXXXXX");
	assert_non_null(mkdtemp(server->dir));
	server->large = make_rows(LARGE_ROWS);
	server->medium = make_rows(MEDIUM_ROWS);
	server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(loop_new(&server->loop), 0);
	assert_int_equal(loop_add(server->loop, server->stop_fd, on_stop, server), 0);
	assert_int_equal(listen_for(server, PRIVILEGE_NO_GROUP, &server->ctl), 0);
	server_start(server);
	*state = server;
	return 0;
}

static int teardown(void **state)
{
	struct server *server = *state;

	server_stop(server);
	ctl_close(server->ctl);
	loop_remove(server->loop, server->stop_fd);
	loop_free(server->loop);
	close(server->stop_fd);
	json_decref(server->large);
	json_decref(server->medium);
	/* Fails if the socket was left behind. */
	assert_int_equal(rmdir(server->dir), 0);
	free(server);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct sockaddr_un address(const char *dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/ctl.sock", dir);
	return addr;
}

static int connect_to(const char *dir)
{
	struct sockaddr_un addr = address(dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Send len raw bytes and return what comes back, as text. */
static const char *exchange(const struct server *server, const void *request, size_t len)
{
	static char text[256];
	_close_ int fd = connect_to(server->dir);
	size_t used = 0;
	ssize_t n;

	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
	while ((n = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	return text;
}

static void expect_small(const struct server *server)
{
	int64_t start = now_ms();
	json_t *got, *want = json_pack("{s:s, s:[i, i]}", "verb", "small", "list", 1, 2);

	assert_int_equal(ctl_query(server->dir, "small", &got), 0);
	assert_true(json_equal(got, want));
	assert_true(now_ms() - start < PROMPT_MS);
	json_decref(got);
	json_decref(want);
}

static void expect_error(const struct server *server, const char *verb, const char *text)
{
	json_t *got;

	assert_int_equal(ctl_query(server->dir, verb, &got), 0);
	assert_string_equal(json_string_value(json_object_get(got, "error")), text);
	json_decref(got);
}

static void test_round_trip(void **state)
{
	const struct server *server = *state;

	for (int i = 0; i < 100; i++)
		expect_small(server);
}

static void test_large_answer(void **state)
{
	const struct server *server = *state;
	json_t *got;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(ctl_query(server->dir, "large", &got), 0);
		assert_true(json_equal(got, server->large));
		json_decref(got);
	}
}

static void test_unknown_verb(void **state)
{
	expect_error(*state, "nosuch", "unknown verb");
}

static void test_request_in_pieces(void **state)
{
	const struct server *server = *state;
	_close_ int fd = connect_to(server->dir);
	char text[64] = "";

	assert_int_equal(send(fd, "sma", 3, 0), 3);
	expect_small(server);
	assert_int_equal(send(fd, "ll\n", 3, 0), 3);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, "{\"verb\":\"small\",\"list\":[1,2]}");
}

static void test_request_too_long(void **state)
{
	char request[129];

	memset(request, 'a', sizeof(request));
	assert_string_equal(exchange(*state, request, 129), "{\"error\":\"request too long\"}");
	request[127] = '\n';
	assert_string_equal(exchange(*state, request, 128), "{\"error\":\"unknown verb\"}");
	request[127] = 'a';
	request[128] = '\0';
	assert_int_equal(ctl_query(((struct server *)*state)->dir, request, &(json_t *){NULL}),
			 -EINVAL);
}

static void test_malformed_requests(void **state)
{
	static const char *const requests[] = {
		"\n",	   " small\n",	 "small \n",   "SMALL\n",     "small\r\n",
		"../x\n",  "%s%n\n",	 "\xff\n",     "small x=1\n", "pour X=1\n",
		"pour \n", "pour x=/\n", "pour bad\n", "pour a\tb\n",
	};
	static const char malformed[] = "{\"error\":\"malformed request\"}";

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		assert_string_equal(exchange(*state, requests[i], strlen(requests[i])), malformed);
	assert_string_equal(exchange(*state, "small\0\n", 7), malformed);
}

/* A stream has no slot: any number of them leaves all for others. */
static void test_streams(void **state)
{
	for (int i = 0; i < 2 * CLIENTS; i++)
		assert_string_equal(exchange(*state, "pour a=1 b=2.3_x\n", 17), "a=1 b=2.3_x");
	assert_string_equal(exchange(*state, "pour\n", 5), "-");
	assert_string_equal(exchange(*state, "pour busy\n", 10),
			    "{\"error\":\"too many of these\"}");
	assert_string_equal(exchange(*state, "pour none\n", 10),
			    "{\"error\":\"out of resources\"}");
	expect_small(*state);
}

/* Anything may come, in any length, and stop anywhere. Seeded: a failure can be repeated. */
static void test_garbage(void **state)
{
	const struct server *server = *state;
	unsigned int seed = 8285;

	for (int i = 0; i < 3000; i++) {
		_close_ int fd = connect_to(server->dir);
		size_t len = (size_t)rand_r(&seed) % 200;
		unsigned char bytes[200];

		for (size_t j = 0; j < len; j++)
			bytes[j] = (unsigned char)rand_r(&seed);
		send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	expect_small(server);
}

/* More that never ask than there are slots: the oldest ones make way, the latest is served. */
static void test_too_many_clients(void **state)
{
	const struct server *server = *state;
	int fds[2 * CLIENTS];
	char byte;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = connect_to(server->dir);
	for (int i = 0; i < 100; i++)
		expect_small(server);
	assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
	assert_int_equal(recv(fds[2 * CLIENTS - 1], &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	expect_small(server);
}

/* More than there are slots that do not read their answers: the oldest make way. */
static void test_too_many_answers(void **state)
{
	const struct server *server = *state;
	int fds[2 * CLIENTS];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(server->dir);
		assert_int_equal(send(fds[i], "medium\n", 7, 0), 7);
	}
	for (int i = 0; i < 100; i++)
		expect_small(server);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

/* Half of them never ask, half never read a 10 MB answer: others are served, then time is up. */
static void test_stalled_clients(void **state)
{
	const struct server *server = *state;
	int64_t start = now_ms();
	int fds[CLIENTS - 1];
	json_t *got;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(server->dir);
		if (i % 2)
			assert_int_equal(send(fds[i], "large\n", 6, 0), 6);
	}
	/* The first waits until the large answers are built. */
	assert_int_equal(ctl_query(server->dir, "small", &got), 0);
	json_decref(got);
	expect_small(server);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		struct pollfd hung_up = {.fd = fds[i], .events = POLLRDHUP};

		assert_int_equal(poll(&hung_up, 1, 20000), 1);
		assert_true(now_ms() - start >= 4900);
		close(fds[i]);
	}
	expect_small(server);
}

/* The agent may stop while answers are under way: teardown() must not wait for the readers. */
static void test_close_while_answering(void **state)
{
	struct server *server = *state;
	int64_t start;
	int fds[4];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		struct pollfd answered = {.events = POLLIN};

		fds[i] = connect_to(server->dir);
		answered.fd = fds[i];
		assert_int_equal(send(fds[i], "large\n", 6, 0), 6);
		assert_int_equal(poll(&answered, 1, 20000), 1);
	}
	server_stop(server);
	start = now_ms();
	ctl_close(server->ctl);
	assert_true(now_ms() - start < PROMPT_MS);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	/* For teardown(), and proof that a directory can be served again. */
	assert_int_equal(listen_for(server, PRIVILEGE_NO_GROUP, &server->ctl), 0);
	server_start(server);
	expect_small(server);
}

/* What a stranger is told, who is a member of groups[0..n) and of no other. 0: this, else 1. */
static int stranger_hears(const char *dir, const char *verb, const char *want, size_t n,
			  const gid_t *groups)
{
	const char *error;
	json_t *got = NULL;
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgroups(n, groups) || setgid(65534) || setuid(65534) ||
		    ctl_query(dir, verb, &got))
			_exit(2);
		error = json_string_value(json_object_get(got, "error"));
		_exit(strcmp(error ? error : "", want) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode;
}

static void test_private(void **state)
{
	const struct server *server = *state;
	struct sockaddr_un addr = address(server->dir);

	assert_true(S_ISSOCK(mode_of(addr.sun_path)));
	assert_int_equal(mode_of(addr.sun_path) & 07777, 0600);
	if (geteuid())
		return;
	/* Even with the door open, a stranger is turned away. */
	assert_int_equal(chmod(server->dir, 0755), 0);
	assert_int_equal(chmod(addr.sun_path, 0666), 0);
	assert_int_equal(stranger_hears(server->dir, "small", "permission denied", 0, NULL), 0);
}

static void test_group(void **state)
{
	struct server *server = *state;
	struct sockaddr_un addr = address(server->dir);
	const gid_t group = 4711, other = 4712;
	struct stat st;

	if (geteuid())
		return;
	server_stop(server);
	ctl_close(server->ctl);
	assert_int_equal(listen_for(server, group, &server->ctl), 0);
	server_start(server);
	assert_int_equal(mode_of(addr.sun_path) & 07777, 0660);
	assert_int_equal(mode_of(server->dir) & 07777, 0710);
	assert_int_equal(stat(addr.sun_path, &st), 0);
	assert_int_equal(st.st_gid, group);
	/* A member reads, and does nothing else. */
	assert_int_equal(stranger_hears(server->dir, "small", "", 1, &group), 0);
	assert_int_equal(stranger_hears(server->dir, "large", "permission denied", 1, &group), 0);
	assert_int_equal(stranger_hears(server->dir, "pour", "permission denied", 1, &group), 0);
	/* Another group's does neither, not even through an open door. */
	assert_int_not_equal(stranger_hears(server->dir, "small", "", 1, &other), 0);
	assert_int_equal(chmod(server->dir, 0755), 0);
	assert_int_equal(chmod(addr.sun_path, 0666), 0);
	assert_int_equal(stranger_hears(server->dir, "small", "permission denied", 1, &other), 0);
	expect_small(server);
}

static void test_no_agent(void **state)
{
	char dir[] = "/tmp/weft-ctl-XXXXXX";
	char deep[200];
	struct sockaddr_un addr;
	json_t *got = NULL;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	addr = address(dir);
	assert_int_equal(ctl_query(dir, "small", &got), -ENOENT);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(ctl_query(dir, "small", &got), -ECONNREFUSED);
	memset(deep, 'd', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(ctl_query(deep, "small", &got), -ENAMETOOLONG);
	assert_null(got);
	unlink(addr.sun_path);
	rmdir(dir);
}

static void test_stale_socket_is_replaced(void **state)
{
	struct server *server = *state;
	struct ctl *second;

	/* The lock, not the socket, keeps two agents apart: what lies there is stale. */
	server_stop(server);
	assert_int_equal(listen_for(server, PRIVILEGE_NO_GROUP, &second), 0);
	server_start(server);
	expect_small(server);
	server_stop(server);
	ctl_close(second);
	server_start(server);
	assert_int_equal(ctl_query(server->dir, "small", &(json_t *){NULL}), -ENOENT);
}

/* What is at the other end of the socket need not be weft. */
static void test_bad_answers(void **state)
{
	static const char *const answers[] = {"", "{", "{}}", "nonsense", "[1,2", "\xff\xfe"};
	char dir[] = "/tmp/weft-ctl-XXXXXX";
	struct sockaddr_un addr;
	json_t *got = NULL;
	pid_t pid;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	addr = address(dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 8), 0);
	pid = fork();
	if (!pid) {
		for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
			int client = accept(fd, NULL, NULL);
			char request[64];

			recv(client, request, sizeof(request), 0);
			send(client, answers[i], strlen(answers[i]), MSG_NOSIGNAL);
			close(client);
		}
		_exit(0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		assert_int_equal(ctl_query(dir, "small", &got), -EPROTO);
	assert_null(got);
	waitpid(pid, NULL, 0);
	close(fd);
	unlink(addr.sun_path);
	rmdir(dir);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_round_trip),
		WITH_SERVER(test_large_answer),
		WITH_SERVER(test_unknown_verb),
		WITH_SERVER(test_request_in_pieces),
		WITH_SERVER(test_request_too_long),
		WITH_SERVER(test_malformed_requests),
		WITH_SERVER(test_streams),
		WITH_SERVER(test_garbage),
		WITH_SERVER(test_too_many_clients),
		WITH_SERVER(test_too_many_answers),
		WITH_SERVER(test_stalled_clients),
		WITH_SERVER(test_close_while_answering),
		WITH_SERVER(test_group),
		WITH_SERVER(test_private),
		WITH_SERVER(test_stale_socket_is_replaced),
		cmocka_unit_test(test_no_agent),
		cmocka_unit_test(test_bad_answers),
	};

	return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
