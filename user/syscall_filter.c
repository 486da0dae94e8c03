/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "log.h"
#include "privilege.h"
#include "util.h"

/* The leak checker looks at all threads from a process of its own. */
#ifdef __SANITIZE_ADDRESS__
#define LEAK_CHECKER , "clone", "getdents", "prctl", "ptrace", "wait4"
#else
#define LEAK_CHECKER
#endif

/* Of the agent, libc, libbpf, libmnl, libnftables, libcurl, libmicrohttpd and what these use. */
static const char *const allowed[] = {
	/* Files */
	"access", "chmod", "chown", "close", "close_range", "dup", "dup2", "dup3", "faccessat",
	"faccessat2", "fadvise64", "fchmod", "fchmodat", "fchown", "fchownat", "fcntl", "fdatasync",
	"flock", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd", "getdents64", "lchown",
	"lseek", "lstat", "mkdir", "mkdirat", "newfstatat", "open", "openat", "openat2", "pipe",
	"pipe2", "pread64", "preadv", "pwrite64", "pwritev", "read", "readlink", "readlinkat",
	"readv", "rename", "renameat", "renameat2", "rmdir", "stat", "statfs", "statx", "umask",
	"unlink", "unlinkat", "write", "writev",
	/* Events and time */
	"clock_getres", "clock_gettime", "clock_nanosleep", "epoll_create1", "epoll_ctl",
	"epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "gettimeofday",
	"inotify_add_watch", "inotify_init1", "inotify_rm_watch", "nanosleep", "poll", "ppoll",
	"pselect6", "select", "signalfd4", "time", "timerfd_create", "timerfd_gettime",
	"timerfd_settime",
	/* Network */
	"accept", "accept4", "bind", "bpf", "connect", "getpeername", "getsockname", "getsockopt",
	"listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt",
	"shutdown", "socketpair",
	/* This process */
	"arch_prctl", "brk", "capget", "exit", "exit_group", "futex", "getegid", "geteuid",
	"getgid", "getgroups", "getpid", "getppid", "getrandom", "getresgid", "getresuid",
	"getrusage", "gettid", "getuid", "madvise", "membarrier", "memfd_create", "mremap",
	"munmap", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
	"rt_sigreturn", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
	"sched_setaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack",
	"sysinfo", "tgkill", "times", "uname" LEAK_CHECKER};

/* These only with one argument in a certain way: number & mask is value. */
static const struct conditional {
	const char *name;
	struct scmp_arg_cmp arg;
} conditional[] = {
	{"socket", {0, SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_UNIX}},
	{"socket", {0, SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_INET}},
	{"socket", {0, SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_INET6}},
	{"socket", {0, SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_NETLINK}},
	/* A thread; with clone3() libc falls back to this, whose arguments can be seen. */
	{"clone", {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD}},
	/* Memory is for code or for data; the libraries of the name service are loaded late. */
	{"mmap", {2, SCMP_CMP_MASKED_EQ, PROT_WRITE, 0}},
	{"mmap", {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
	{"mprotect", {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
	{"prctl", {0, SCMP_CMP_MASKED_EQ, UINT32_MAX, PR_SET_NAME}},
	{"prlimit64", {0, SCMP_CMP_MASKED_EQ, UINT32_MAX, 0}},
	/* Of a thread that forwards, in and out of a flood; none that keeps others from running. */
	{"sched_setscheduler", {1, SCMP_CMP_MASKED_EQ, UINT32_MAX, SCHED_OTHER}},
	{"sched_setscheduler", {1, SCMP_CMP_MASKED_EQ, UINT32_MAX, SCHED_BATCH}},
	/* Network devices, TUN devices, is it a terminal; none that types into one. */
	{"ioctl", {1, SCMP_CMP_MASKED_EQ, 0xff00, SIOCGIFNAME & 0xff00}},
	{"ioctl", {1, SCMP_CMP_MASKED_EQ, 0xffc0, TUNSETIFF & 0xffc0}},
	{"ioctl", {1, SCMP_CMP_MASKED_EQ, UINT32_MAX, FIONBIO}},
	{"ioctl", {1, SCMP_CMP_MASKED_EQ, UINT32_MAX, FIONREAD}},
	{"ioctl", {1, SCMP_CMP_MASKED_EQ, UINT32_MAX, TCGETS}},
};

/* A name that this architecture lacks is none that could be called. */
static int allow(scmp_filter_ctx filter, const char *name, const struct scmp_arg_cmp *arg)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, nr, arg ? 1 : 0, arg);
}

static int fill(scmp_filter_ctx filter)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(allowed) && err == 0; i++)
		err = allow(filter, allowed[i], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(conditional) && err == 0; i++)
		err = allow(filter, conditional[i].name, &conditional[i].arg);
	/* Kernels before 5.16 would slow all of us down for want of trust in filtered code. */
	if (err == 0)
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	if (err == 0)
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return err;
}

void syscall_filter_start(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int err = filter ? fill(filter) : -ENOMEM;

	if (err == 0)
		err = seccomp_load(filter);
	if (err)
		log_warn("system calls are not filtered: %s", strerror(-err));
	seccomp_release(filter);
}
