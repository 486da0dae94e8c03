/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent cannot do any more once it has confined itself, each tried in a child. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "privilege.h"
#include "util.h"

#define KEPT \
	(1ULL << CAP_NET_ADMIN | 1ULL << CAP_NET_RAW | 1ULL << CAP_NET_BIND_SERVICE | \
	 1ULL << CAP_BPF | 1ULL << CAP_PERFMON)

/* 0 if fn() says so in a child of its own. */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* The exit status of a child in which some of these are true: as bits, to say which. */
#define ANY(...) any((const bool[]){__VA_ARGS__}, ARRAY_SIZE(((const bool[]){__VA_ARGS__})))

static int any(const bool *bad, size_t n)
{
	int bits = 0;

	assert_true(n <= 8);
	for (size_t i = 0; i < n; i++)
		bits |= bad[i] << i;
	return bits;
}

static bool works(long result)
{
	return result != -1 || errno != ENOSYS;
}

/* The leak checker of a sanitized build may do these. */
#ifdef __SANITIZE_ADDRESS__
#define works_plain(result) false
#else
#define works_plain(result) works(result)
#endif

static int filtered_processes(void)
{
	char *const argv[] = {"/bin/false", NULL};

	syscall_filter_start();
	return ANY(works(execve(argv[0], argv, NULL)),
		   works(syscall(SYS_execveat, AT_FDCWD, argv[0], argv, NULL, 0)),
		   works_plain(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)),
		   works(syscall(SYS_clone3, NULL, 0)),
		   works_plain(ptrace(PTRACE_TRACEME, 0, NULL, NULL)),
		   works(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0)),
		   works(kill(getppid(), 0)), works_plain(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)));
}

static int filtered_system(void)
{
	syscall_filter_start();
	return ANY(works(mount("none", "/nowhere", "tmpfs", 0, NULL)),
		   works(umount2("/nowhere", MNT_DETACH)), works(unshare(CLONE_NEWUSER)),
		   works(chroot("/nowhere")), works(syscall(SYS_init_module, NULL, 0, "")),
		   works(syscall(SYS_reboot, 0, 0, 0, NULL)),
		   works(syscall(SYS_keyctl, 0, 0, 0, 0, 0)),
		   works(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0)));
}

static int filtered_arguments(void)
{
	const int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
	void *page;

	syscall_filter_start();
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Of an ioctl() the kernel looks at 32 bits only. */
	return ANY(page == MAP_FAILED, works(mprotect(page, 4096, PROT_READ | PROT_EXEC)),
		   works((long)mmap(NULL, 4096, rwx, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
		   works(socket(AF_PACKET, SOCK_RAW, 0)), works(socket(AF_ALG, SOCK_SEQPACKET, 0)),
		   works(syscall(SYS_ioctl, -1, TIOCSTI, "x")),
		   works(syscall(SYS_ioctl, -1, TIOCSTI | 1ULL << 32, "x")),
		   works(syscall(SYS_prlimit64, getppid(), RLIMIT_CORE, NULL, NULL)));
}

static bool schedules(long policy)
{
	const struct sched_param param = {};

	return works(syscall(SYS_sched_setscheduler, 0, policy, &param));
}

static int filtered_scheduling(void)
{
	syscall_filter_start();
	return ANY(schedules(SCHED_FIFO), schedules(SCHED_RR), schedules(SCHED_DEADLINE),
		   schedules(SCHED_IDLE), schedules(SCHED_BATCH | SCHED_RESET_ON_FORK));
}

static void test_filter_refuses(void **state)
{
	(void)state;
	assert_int_equal(in_child(filtered_processes), 0);
	assert_int_equal(in_child(filtered_system), 0);
	assert_int_equal(in_child(filtered_arguments), 0);
	assert_int_equal(in_child(filtered_scheduling), 0);
}

static void *also_filtered(void *arg)
{
	return works(syscall(SYS_keyctl, 0, 0, 0, 0, 0)) ? arg : NULL;
}

/* Threads work and are filtered; names are resolved, for which libraries are loaded. */
static int filtered_work(void)
{
	struct addrinfo *found = NULL;
	void *result = NULL;
	pthread_t thread;

	syscall_filter_start();
	if (pthread_create(&thread, NULL, also_filtered, "") || pthread_join(thread, &result))
		return 1;
	return ANY(false, result, getaddrinfo("localhost", "80", NULL, &found),
		   socket(AF_NETLINK, SOCK_RAW, 0) < 0, socket(AF_INET6, SOCK_DGRAM, 0) < 0);
}

static bool is_scheduled(int policy)
{
	const struct sched_param param = {};

	return pthread_setschedparam(pthread_self(), policy, &param) == 0 &&
	       sched_getscheduler(0) == policy;
}

/* As be_patient() of user/forward_out.c asks for it, by a thread that is not the first. */
static void *there_and_back(void *arg)
{
	return is_scheduled(SCHED_BATCH) && is_scheduled(SCHED_OTHER) ? NULL : arg;
}

static int filtered_patience(void)
{
	void *result = NULL;
	pthread_t thread;

	syscall_filter_start();
	return pthread_create(&thread, NULL, there_and_back, "") || pthread_join(thread, &result) ||
	       result;
}

static void test_filter_lets_work(void **state)
{
	(void)state;
	assert_int_equal(in_child(filtered_work), 0);
	assert_int_equal(in_child(filtered_patience), 0);
}

static uint64_t caps_of(const char *set)
{
	_fclose_ FILE *status = fopen("/proc/self/status", "re");
	unsigned long long caps;
	char line[128];

	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, set, strlen(set)) && sscanf(line + 7, "%llx", &caps) == 1)
			return caps;
	return UINT64_MAX;
}

static int dropped(void)
{
	const gid_t group = 4711;
	struct rlimit core;
	gid_t groups[8];

	if (setgroups(2, (gid_t[]){1, 2}) || privilege_drop(group, false))
		return 1;
	return ANY(caps_of("CapEff:") & ~KEPT, caps_of("CapPrm:") & ~KEPT,
		   caps_of("CapBnd:") & ~KEPT, caps_of("CapInh:") || caps_of("CapAmb:"),
		   !(caps_of("CapEff:") & 1ULL << CAP_NET_ADMIN),
		   getgroups(8, groups) != 1 || groups[0] != group,
		   prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ||
			   prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0,
		   getrlimit(RLIMIT_CORE, &core) || core.rlim_max);
}

static int dropped_but_one(void)
{
	if (privilege_drop(PRIVILEGE_NO_GROUP, true))
		return 1;
	return ANY(false, (caps_of("CapEff:") & ~KEPT) != 1ULL << CAP_SYS_PTRACE,
		   getgroups(0, NULL) != 0, !privilege_any());
}

/* A user without any has nothing to lose, and that is no failure. */
static int powerless(void)
{
	if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
		return 1;
	return ANY(false, privilege_any(), privilege_drop(PRIVILEGE_NO_GROUP, false),
		   caps_of("CapPrm:"));
}

static void test_drop(void **state)
{
	(void)state;
	if (geteuid())
		return;
	assert_int_equal(in_child(dropped), 0);
	assert_int_equal(in_child(dropped_but_one), 0);
	assert_int_equal(in_child(powerless), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter_refuses),
		cmocka_unit_test(test_filter_lets_work),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests_name("privilege", tests, NULL, NULL);
}
