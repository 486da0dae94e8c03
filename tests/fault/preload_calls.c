/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Preloaded into the agent: gives every call into the kernel a name and a number, and ends the
 * process before one of them or makes it fail. Only calls of the main thread count.
 *
 *   FAULT_LOG=FILE      a line for each call that counts: number, name, that of the map or program
 *                       which it makes, and "lasting" if it changes what outlives the process
 *   FAULT_LASTING=1     only those count
 *   FAULT_CALL=NAME     only these count
 *   FAULT_ARM=FILE      no call counts before FILE exists
 *   FAULT_AT=N          what happens, happens at the N-th
 *   FAULT_DO=kill|ERRNO the process ends before the call as by SIGKILL, or the call fails by that
 *                       number
 *
 * A call that is not named here has no failure of its own (close(), read() of a file).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

static pid_t owner;
static long count;
static bool armed;
static __thread char object[BPF_OBJ_NAME_LEN + 1]; /* of the call that is being made */

__attribute__((constructor)) static void start(void)
{
	owner = getpid();
}

#define REAL(fn) ((__typeof__(&(fn)))dlsym(RTLD_NEXT, #fn))

static bool counts(const char *name, bool lasting)
{
	const char *only = getenv("FAULT_CALL"), *arm = getenv("FAULT_ARM");

	if (!owner || getpid() != owner || gettid() != owner)
		return false;
	if (!armed)
		armed = !arm || access(arm, F_OK) == 0;
	return armed && (lasting || !getenv("FAULT_LASTING")) && (!only || !strcmp(only, name));
}

static void note(const char *name, bool lasting)
{
	const char *path = getenv("FAULT_LOG");
	int fd;

	if (!path)
		return;
	fd = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dprintf(fd, "%ld %s%s%s%s\n", count, name, *object ? " " : "", object,
		lasting ? " lasting" : "");
	close(fd);
}

/* Is this the one? Then errno says what is to become of it, or it is the last. */
static bool at(const char *name, bool lasting)
{
	const char *when = getenv("FAULT_AT"), *what = getenv("FAULT_DO");

	if (!counts(name, lasting))
		return false;
	count++;
	note(name, lasting);
	if (!when || !what || atol(when) != count)
		return false;
	if (!strcmp(what, "kill"))
		_exit(128 + SIGKILL); /* the agent's filter of system calls knows no kill() */
	errno = atoi(what);
	return true;
}

/* bpf() and others that libc has no name for */

static const struct {
	const char *name;
	bool lasting;
} commands[] = {
	[BPF_MAP_CREATE] = {"bpf.map_create", false},
	[BPF_MAP_LOOKUP_ELEM] = {"bpf.map_lookup", false},
	[BPF_MAP_UPDATE_ELEM] = {"bpf.map_update", true},
	[BPF_MAP_DELETE_ELEM] = {"bpf.map_delete", true},
	[BPF_MAP_GET_NEXT_KEY] = {"bpf.map_next", false},
	[BPF_PROG_LOAD] = {"bpf.prog_load", false},
	[BPF_OBJ_PIN] = {"bpf.obj_pin", true},
	[BPF_OBJ_GET] = {"bpf.obj_get", false},
	[BPF_OBJ_GET_INFO_BY_FD] = {"bpf.info", false},
	[BPF_PROG_QUERY] = {"bpf.prog_query", false},
	[BPF_BTF_LOAD] = {"bpf.btf_load", false},
	[BPF_MAP_FREEZE] = {"bpf.map_freeze", true},
	[BPF_LINK_CREATE] = {"bpf.link_create", true},
	[BPF_LINK_UPDATE] = {"bpf.link_update", true},
	[BPF_LINK_DETACH] = {"bpf.link_detach", true},
	[BPF_LINK_GET_FD_BY_ID] = {"bpf.link_by_id", false},
};

static const char *command_name(unsigned long cmd, bool *lasting)
{
	*lasting = false;
	if (cmd >= sizeof(commands) / sizeof(commands[0]) || !commands[cmd].name)
		return "bpf.other";
	*lasting = commands[cmd].lasting;
	return commands[cmd].name;
}

static void name_object(unsigned long cmd, const union bpf_attr *attr, unsigned long len)
{
	const char *name = NULL;

	if (cmd == BPF_MAP_CREATE && len >= offsetof(union bpf_attr, map_ifindex))
		name = attr->map_name;
	else if (cmd == BPF_PROG_LOAD && len >= offsetof(union bpf_attr, prog_ifindex))
		name = attr->prog_name;
	snprintf(object, sizeof(object), "%.*s", BPF_OBJ_NAME_LEN, name ? name : "");
}

long syscall(long nr, ...)
{
	const char *name = nr == __NR_membarrier ? "membarrier" : NULL;
	bool lasting = false, fails;
	long a[6];
	va_list args;

	va_start(args, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (nr == __NR_bpf) {
		name = command_name((unsigned long)a[0], &lasting);
		name_object((unsigned long)a[0], (const union bpf_attr *)a[1], (unsigned long)a[2]);
	}
	fails = name && at(name, lasting);
	*object = '\0';
	if (fails)
		return -1;
	return REAL(syscall)(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Netlink */

static int protocol_of(int fd)
{
	int domain = 0, protocol = -1;
	socklen_t len = sizeof(domain);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	if (domain == AF_NETLINK)
		getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len);
	return protocol;
}

static bool at_request(int fd, const struct nlmsghdr *nlh)
{
	static const char *const verbs[] = {"new", "del", "get", "set"};
	static const char *const nouns[] = {"link", "addr",  "route",  "neigh",
					    "rule", "qdisc", "tclass", "tfilter"};
	int protocol = protocol_of(fd), kind = nlh->nlmsg_type - RTM_BASE;
	const char *noun = kind / 4 < 8 ? nouns[kind / 4] : "other";
	char name[32];

	if (protocol == NETLINK_NETFILTER)
		return nlh->nlmsg_type == NFNL_MSG_BATCH_BEGIN ? at("nft.change", true)
							       : at("nft.get", false);
	if (protocol != NETLINK_ROUTE || kind < 0)
		return false;
	snprintf(name, sizeof(name), "netlink.%s%s", verbs[kind % 4], noun);
	return at(name, kind % 4 != 2);
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
	       socklen_t to_len)
{
	if (len >= sizeof(struct nlmsghdr) && protocol_of(fd) >= 0 && at_request(fd, buf))
		return -1;
	return REAL(sendto)(fd, buf, len, flags, to, to_len);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	if (len >= sizeof(struct nlmsghdr) && protocol_of(fd) >= 0 && at_request(fd, buf))
		return -1;
	return REAL(send)(fd, buf, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (protocol_of(fd) >= 0 && at_request(fd, msg->msg_iov[0].iov_base))
		return -1;
	return REAL(sendmsg)(fd, msg, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (protocol_of(fd) >= 0 && at("netlink.receive", false))
		return -1;
	return REAL(recvmsg)(fd, msg, flags);
}

/* Files */

static const char *open_name(int flags)
{
	return flags & O_CREAT ? "file.create" : "file.open";
}

static int mode_of(int flags, va_list args)
{
	return flags & O_CREAT ? va_arg(args, int) : 0;
}

#define WRAP_OPEN(fn) \
	int fn(const char *path, int flags, ...) \
	{ \
		va_list args; \
		int mode; \
		va_start(args, flags); \
		mode = mode_of(flags, args); \
		va_end(args); \
		if (at(open_name(flags), flags & O_CREAT)) \
			return -1; \
		return REAL(fn)(path, flags, mode); \
	}
WRAP_OPEN(open)
WRAP_OPEN(open64)

FILE *fopen(const char *path, const char *mode)
{
	return at("file.fopen", false) ? NULL : REAL(fopen)(path, mode);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	struct stat st;

	if (fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    at("file.write", true))
		return -1;
	return REAL(write)(fd, buf, len);
}

/* A call without further meaning: its name, whether it lasts, what it returns on failure. */
#define WRAP(type, fn, name, lasting, failed, params, args) \
	type fn params \
	{ \
		return at(name, lasting) ? (failed) : REAL(fn) args; \
	}
WRAP(int, rename, "file.rename", true, -1, (const char *from, const char *to), (from, to))
WRAP(int, unlink, "file.unlink", true, -1, (const char *path), (path))
WRAP(int, unlinkat, "file.unlink", true, -1, (int fd, const char *path, int flags),
     (fd, path, flags))
WRAP(int, mkdir, "file.mkdir", true, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, rmdir, "file.rmdir", true, -1, (const char *path), (path))
WRAP(int, chmod, "file.chmod", true, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, fchmod, "file.chmod", true, -1, (int fd, mode_t mode), (fd, mode))
WRAP(int, ftruncate, "file.truncate", true, -1, (int fd, off_t len), (fd, len))
WRAP(int, fsync, "file.sync", false, -1, (int fd), (fd))
WRAP(int, flock, "file.flock", false, -1, (int fd, int operation), (fd, operation))
WRAP(int, mount, "file.mount", true, -1,
     (const char *from, const char *to, const char *type, unsigned long flags, const void *data),
     (from, to, type, flags, data))

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (fd >= 0 && flags & MAP_SHARED && at("map.mmap", false))
		return MAP_FAILED;
	return REAL(mmap)(addr, len, prot, flags, fd, off);
}

/* Sockets and devices */

WRAP(int, socket, "socket.open", false, -1, (int domain, int type, int protocol),
     (domain, type, protocol))
WRAP(int, listen, "socket.listen", false, -1, (int fd, int backlog), (fd, backlog))

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	bool lasting = addr->sa_family == AF_UNIX;

	return at(lasting ? "socket.bind_path" : "socket.bind", lasting)
		       ? -1
		       : REAL(bind)(fd, addr, len);
}

static const char *control_name(unsigned long request, bool *lasting)
{
	*lasting = true;
	switch (request) {
	case TUNSETIFF:
		return "tun.setiff";
	case TUNSETPERSIST:
		return "tun.setpersist";
	case SIOCETHTOOL:
		return "ethtool";
	}
	*lasting = false;
	return request == TUNSETOFFLOAD ? "tun.setoffload" : "ioctl";
}

int ioctl(int fd, unsigned long request, ...)
{
	const char *name;
	bool lasting;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	name = control_name(request, &lasting);
	return at(name, lasting) ? -1 : REAL(ioctl)(fd, request, arg);
}

/* The loop and its timers */

WRAP(int, epoll_create1, "loop.create", false, -1, (int flags), (flags))
WRAP(int, epoll_ctl, "loop.ctl", false, -1, (int fd, int op, int at_fd, struct epoll_event *event),
     (fd, op, at_fd, event))
WRAP(int, epoll_wait, "loop.wait", false, -1,
     (int fd, struct epoll_event *events, int max, int timeout), (fd, events, max, timeout))
WRAP(int, timerfd_create, "timer.create", false, -1, (clockid_t clock, int flags), (clock, flags))
WRAP(int, timerfd_settime, "timer.set", false, -1,
     (int fd, int flags, const struct itimerspec *next, struct itimerspec *old),
     (fd, flags, next, old))
WRAP(int, eventfd, "loop.eventfd", false, -1, (unsigned int initial, int flags), (initial, flags))
WRAP(int, signalfd, "loop.signalfd", false, -1, (int fd, const sigset_t *set, int flags),
     (fd, set, flags))
WRAP(int, inotify_init1, "inotify.init", false, -1, (int flags), (flags))
WRAP(int, inotify_add_watch, "inotify.watch", false, -1, (int fd, const char *path, uint32_t mask),
     (fd, path, mask))
WRAP(ssize_t, getrandom, "getrandom", false, -1, (void *buf, size_t len, unsigned int flags),
     (buf, len, flags))

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return at("thread.create", false) ? errno : REAL(pthread_create)(thread, attr, fn, arg);
}
