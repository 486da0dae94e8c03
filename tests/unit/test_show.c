/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an agent answers, as people see it: whatever it is, it never drives their terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "show.h"
#include "util.h"

struct shown {
	enum weft_exit exit_status;
	char *out, *err;
};

static int listen_in(const char *dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/ctl.sock", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* The agent: one answer. */
static pid_t answer(int listener, const char *text)
{
	pid_t pid = fork();
	char request[64];
	int fd;

	if (pid)
		return pid;
	fd = accept(listener, NULL, NULL);
	if (recv(fd, request, sizeof(request), 0) > 0)
		send(fd, text, strlen(text), 0);
	_exit(0);
}

static void show(enum weft_exit (*verb)(const struct options *), const char *text,
		 struct shown *shown)
{
	char dir[] = "/tmp/weft-show-XXXXXX", path[64];
	struct options options = {.state_dir = mkdtemp(dir)};
	FILE *out = stdout, *err = stderr;
	size_t len;
	int fd;
	pid_t pid;

	assert_non_null(options.state_dir);
	fd = listen_in(dir);
	pid = answer(fd, text);
	stdout = open_memstream(&shown->out, &len);
	stderr = open_memstream(&shown->err, &len);
	shown->exit_status = verb(&options);
	fclose(stdout);
	fclose(stderr);
	stdout = out;
	stderr = err;
	close(fd);
	waitpid(pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/ctl.sock", dir);
	unlink(path);
	rmdir(dir);
}

static void expect(enum weft_exit (*verb)(const struct options *), const char *text,
		   const char *out, const char *err)
{
	struct shown shown;

	show(verb, text, &shown);
	assert_string_equal(shown.out, out);
	assert_string_equal(shown.err, err);
	assert_int_equal(shown.exit_status, *err ? EXIT_RUNTIME : EXIT_STOPPED);
	free(shown.out);
	free(shown.err);
}

static void documents_are_shown(void **state)
{
	(void)state;
	expect(show_status, "{\"mtu\":1472,\"ready\":true,\"hooks\":[{\"hook\":\"port\",\"n\":7}]}",
	       "mtu: 1472\nready: yes\n\nhooks:\nhook  n\nport  7\n", "");
	expect(show_peers, "[]", "no peers\n", "");
}

static void no_text_drives_the_terminal(void **state)
{
	(void)state;
	expect(show_status, "{\"a\\u001b[2J\":\"b\\u0007\"}", "a?[2J: b?\n", "");
	expect(show_status, "{\"t\\u009b\":[{\"k\\u007f\":\"v\\u009b31m\"}]}",
	       "\nt??:\nk?\nv??31m\n", "");
	expect(show_status, "{\"error\":\"no\\u001b]0;x\\u0007\"}", "",
	       "weft: the agent refused: no?]0;x?\n");
	expect(show_status, "{\"name\":\"\\u00e4\\u00c2\"}", "name: \xc3\xa4\xc3\x82\n", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_shown),
		cmocka_unit_test(no_text_drives_the_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
