/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line: each flag arrives where it belongs, each wrong value is a usage error. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "options.h"
#include "util.h"

#define MAX_ARGS 32

/* Parses "verb a b c", split at spaces. The words live in a static buffer, like argv. */
static int parse(const char *line, struct options *out)
{
	static char words[1024];
	char *argv[MAX_ARGS];
	int argc = 0;

	snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		argv[argc++] = strcmp(word, "EMPTY") ? word : word + strlen(word);
	argv[argc] = NULL;
	return options_parse(argv[0], argc, argv, out);
}

static void test_defaults(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse("run --store static:x", &o), 0);
	assert_string_equal(o.store, "static:x");
	assert_null(o.iface);
	assert_null(o.iface_regex);
	assert_null(o.iface_can_reach);
	assert_null(o.public_ip);
	assert_string_equal(o.bridge, "cni0");
	assert_string_equal(o.tun, "flannel0");
	assert_int_equal(o.datapath, DATAPATH_AUTO);
	assert_int_equal(o.attach, ATTACH_AUTO);
	assert_int_equal(o.tun_io, TUN_IO_BATCH);
	assert_true(o.peer_check);
	assert_true(o.entropy);
	assert_false(o.teardown_on_exit);
	assert_string_equal(o.subnet_file, "/run/flannel/subnet.env");
	assert_string_equal(o.state_dir, "/run/weft");
	assert_null(o.metrics);
	assert_false(o.json);
	assert_int_equal(o.log_level, LOG_LEVEL_INFO);
	assert_false(o.log_json);
}

static void test_names_and_addresses(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(
		parse("run --store=static:/etc/weft.json --iface eth1 --iface-regex ^10[.] "
		      "--iface-can-reach 192.0.2.1 --public-ip 192.0.2.7 --bridge br0 "
		      "--tun weft0 --subnet-file /x/subnet.env --state-dir /x/state "
		      "--metrics *:9100",
		      &o),
		0);
	assert_string_equal(o.store, "static:/etc/weft.json");
	assert_string_equal(o.iface, "eth1");
	assert_string_equal(o.iface_regex, "^10[.]");
	assert_string_equal(o.iface_can_reach, "192.0.2.1");
	assert_string_equal(o.public_ip, "192.0.2.7");
	assert_string_equal(o.bridge, "br0");
	assert_string_equal(o.tun, "weft0");
	assert_string_equal(o.subnet_file, "/x/subnet.env");
	assert_string_equal(o.state_dir, "/x/state");
	assert_string_equal(o.metrics, "*:9100");
}

static void test_flows(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse("flows", &o), 0);
	assert_false(o.flush);
	assert_null(o.flow_address);
	assert_null(o.flow_protocol);
	assert_int_equal(o.flow_port, 0);
	assert_int_equal(parse("flows -j --address 10.244.1.2 --port 443 --protocol tcp", &o), 0);
	assert_string_equal(o.flow_address, "10.244.1.2");
	assert_string_equal(o.flow_protocol, "tcp");
	assert_int_equal(o.flow_port, 443);
	assert_int_equal(parse("flows flush --state-dir /x", &o), 0);
	assert_true(o.flush);
}

static void test_modes_and_switches(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse("run --store static:x --datapath bpf --attach tcx --approve none "
			       "--format udp --peer-check off --source-port-entropy off "
			       "--teardown-on-exit --log-level debug --log-json -j",
			       &o),
			 0);
	assert_int_equal(o.datapath, DATAPATH_BPF);
	assert_int_equal(o.attach, ATTACH_TCX);
	assert_int_equal(o.approve, APPROVE_NONE);
	assert_false(o.peer_check);
	assert_false(o.entropy);
	assert_true(o.teardown_on_exit);
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
	assert_true(o.log_json);
	assert_true(o.json);
	assert_int_equal(parse("run --store static:x --datapath tun --tun-io plain --attach clsact "
			       "--peer-check on --source-port-entropy on",
			       &o),
			 0);
	assert_int_equal(o.datapath, DATAPATH_TUN);
	assert_int_equal(o.attach, ATTACH_CLSACT);
	assert_int_equal(o.tun_io, TUN_IO_PLAIN);
	assert_true(o.peer_check);
	assert_true(o.entropy);
	assert_int_equal(o.approve, APPROVE_HOST);
	assert_int_equal(o.approve_ttl, 30);
	assert_int_equal(o.approve_max, 262144);
	assert_int_equal(parse("run --store static:x --approve host --approve-ttl 86400 "
			       "--approve-max 1024",
			       &o),
			 0);
	assert_int_equal(o.approve, APPROVE_HOST);
	assert_int_equal(o.approve_ttl, 86400);
	assert_int_equal(o.approve_max, 1024);
	assert_int_equal(parse("run --store static:x --iface 255.255.255.255", &o), 0);
	assert_string_equal(o.iface, "255.255.255.255");
}

static void test_other_verbs(void **state)
{
	static const char *const lines[] = {
		"status --state-dir /x/state -j",  "peers --json --state-dir /x/state",
		"routes -j --state-dir /x/state",  "endpoints --state-dir=/x/state -j",
		"stats -j --state-dir /x/state",   "check --store static:x -j --state-dir /x/state",
		"cleanup --state-dir /x/state -j",
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_int_equal(parse(lines[i], &o), 0);
		assert_string_equal(o.state_dir, "/x/state");
		assert_true(o.json);
	}
	assert_int_equal(parse("cleanup --tun weft0 --subnet-file /x/env --log-json", &o), 0);
	assert_string_equal(o.tun, "weft0");
	assert_string_equal(o.subnet_file, "/x/env");
	assert_int_equal(parse("status", &o), 0);
	assert_false(o.json);
}

/* Each line is one mistake; "EMPTY" stands for an empty argument. */
static const char *const refused[] = {
	"run",
	"check",
	"run --store",
	"run --store EMPTY",
	"run --store x.json",
	"run --store static:",
	"run --store etcd:",
	"run --store static:x --etcd-prefix EMPTY",
	"run --store static:x --etcd-prefix //",
	"run --store static:x --lease-ttl 4",
	"run --store static:x --lease-ttl 1h",
	"run --store static:x --lease-renew-margin 0",
	"run --store static:x --forward-rules maybe",
	"run --store kube",
	"run --store kube:",
	"run --store static:x stray",
	"run --store static:x --unknown",
	"run --store static:x -x",
	"run --store static:x --iface EMPTY",
	"run --store static:x --iface sixteen-letters-",
	"run --store static:x --iface a/b",
	"run --store static:x --iface-regex EMPTY",
	"run --store static:x --iface-regex (",
	"run --store static:x --iface-can-reach host",
	"run --store static:x --iface-can-reach 192.0.2",
	"run --store static:x --public-ip ::1",
	"run --store static:x --public-ip 192.0.2.1/24",
	"run --store static:x --public-ip 0.0.0.0",
	"run --store static:x --public-ip 127.0.0.1",
	"run --store static:x --public-ip 224.0.0.1",
	"run --store static:x --bridge ..",
	"run --store static:x --bridge a:b",
	"run --store static:x --tun .",
	"run --store static:x --datapath xdp",
	"run --store static:x --datapath EMPTY",
	"run --store static:x --attach xdp",
	"run --store static:x --tun-io fast",
	"run --store static:x --approve all",
	"run --store static:x --approve-ttl 0",
	"run --store static:x --approve-ttl 86401",
	"run --store static:x --approve-ttl 30s",
	"run --store static:x --approve-ttl -1",
	"run --store static:x --approve-ttl EMPTY",
	"run --store static:x --approve-max 1023",
	"run --store static:x --approve-max 16777217",
	"run --store static:x --approve-max 99999999999999999999",
	"flows list",
	"flows flush flush2",
	"flows --address 10.244",
	"flows --port 0",
	"flows --port 65536",
	"flows --protocol sctp",
	"flows --tun flannel0",
	"stats flush",
	"run --store static:x --port 80",
	"run --store static:x --format gre",
	"run --store static:x --outer-dscp 64",
	"run --store static:x --outer-dscp -1",
	"run --store static:x --outer-dscp ef",
	"run --store static:x --metrics EMPTY",
	"run --store static:x --metrics 9100",
	"run --store static:x --metrics localhost:9100",
	"run --store static:x --metrics [::]:9100",
	"run --store static:x --metrics 127.0.0.1:0",
	"run --store static:x --metrics :65536",
	"status --metrics :9100",
	"run --store static:x --peer-check maybe",
	"run --store static:x --source-port-entropy 1",
	"run --store static:x --subnet-file EMPTY",
	"run --store static:x --state-dir EMPTY",
	"run --store static:x --log-level loud",
	"run --store static:x --teardown-on-exit=yes",
	"check --store static:x --iface eth0",
	"status --store static:x",
	"status --tun weft0",
	"cleanup --store static:x",
	"cleanup --bridge cni0",
};

/* The parser explains each refusal on stderr: keep the test's output readable. */
static int mute_stderr(void)
{
	int saved = dup(STDERR_FILENO);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	assert_true(saved >= 0 && null >= 0);
	fflush(stderr);
	dup2(null, STDERR_FILENO);
	close(null);
	return saved;
}

static void restore_stderr(int saved)
{
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
}

static void test_refused(void **state)
{
	static const struct options untouched = {.store = "untouched"};
	int results[ARRAY_SIZE(refused)];
	int saved = mute_stderr();
	struct options o = untouched;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		results[i] = parse(refused[i], &o);
	restore_stderr(saved);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (results[i] != -EINVAL)
			fail_msg("not refused: weft %s", refused[i]);
	}
	assert_memory_equal(&o, &untouched, sizeof(o));
}

static void test_state_dir_length(void **state)
{
	char line[256] = "status --state-dir ";
	size_t prefix = strlen(line);
	struct options o;
	int saved;

	(void)state;
	memset(line + prefix, 'd', 98);
	assert_int_equal(parse(line, &o), 0);
	line[prefix + 98] = 'd';
	saved = mute_stderr();
	assert_int_equal(parse(line, &o), -EINVAL);
	restore_stderr(saved);
}

/* --help leaves the process: status 0, the text on stdout. */
static void help_in_child(const char *line, char *text, size_t size)
{
	int fds[2], status;
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct options o;

		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		parse(line, &o);
		_exit(99);
	}
	close(fds[1]);
	while ((n = read(fds[0], text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_help(void **state)
{
	char text[8192];

	(void)state;
	help_in_child("run --help", text, sizeof(text));
	assert_non_null(strstr(text, "Usage: weft run"));
	assert_non_null(strstr(text, "--source-port-entropy=on|off"));
	help_in_child("status -h", text, sizeof(text));
	assert_non_null(strstr(text, "--state-dir=DIR"));
	assert_null(strstr(text, "--store"));
	help_in_child("cleanup --usage", text, sizeof(text));
	assert_non_null(strstr(text, "--tun=NAME"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_names_and_addresses),
		cmocka_unit_test(test_modes_and_switches),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_other_verbs),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_state_dir_length),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
