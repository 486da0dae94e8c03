/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "log.h"
#include "util.h"

/* Newer than Debian 12's oldest kernel header that this is built with. */
#ifndef CAP_BPF
#define CAP_PERFMON 38
#define CAP_BPF 39
#endif

#define BIT(cap) (1ULL << (cap))

static const struct need {
	int cap;
	const char *name;
	const char *without; /* what goes without it; NULL: told where it is missed */
} needs[] = {
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", "no device, route or program can be set up"},
	{CAP_BPF, "CAP_BPF", "no datapath bpf"},
	{CAP_PERFMON, "CAP_PERFMON", "no datapath bpf, its programs would be refused"},
	{CAP_NET_RAW, "CAP_NET_RAW", "no slow path for format ipip, no watch of legacy iptables"},
	{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", NULL},
};

/* Effective, permitted and inheritable, each of 64 bits. */
struct caps {
	uint64_t effective, permitted, inheritable;
};

static int caps_get(struct caps *out)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {};

	if (syscall(SYS_capget, &header, data))
		return -errno;
	*out = (struct caps){
		.effective = data[0].effective | (uint64_t)data[1].effective << 32,
		.permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
		.inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32,
	};
	return 0;
}

/* The same as effective and permitted, and nothing for a program to inherit. */
static int caps_set(uint64_t caps)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)caps, .permitted = (uint32_t)caps},
		{.effective = (uint32_t)(caps >> 32), .permitted = (uint32_t)(caps >> 32)},
	};

	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* Who may not change it (CAP_SETPCAP) cannot gain anything by it any more, either. */
static void drop_bounding(uint64_t keep)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (!(keep & BIT(cap)))
			prctl(PR_CAPBSET_DROP, cap);
}

static uint64_t wanted(bool trace)
{
	uint64_t all = trace ? BIT(CAP_SYS_PTRACE) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
		all |= BIT(needs[i].cap);
	return all;
}

static void say_missing(uint64_t have)
{
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
		if (!(have & BIT(needs[i].cap)) && needs[i].without)
			log_info("%s is missing: %s", needs[i].name, needs[i].without);
}

/*
 * Linux 5.10 charges maps to the process; libbpf would raise the limit, but later. Links take two
 * descriptors for each pod, and nobody here asks select() about them.
 */
static void set_limits(void)
{
	const struct rlimit none = {}, all = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit files;

	if (setrlimit(RLIMIT_MEMLOCK, &all))
		log_debug("memory for maps is limited");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	setrlimit(RLIMIT_CORE, &none);
}

/* May be refused to who has no power over groups, and has none of root's then. */
static int set_groups(gid_t group)
{
	int n = group != PRIVILEGE_NO_GROUP;

	return setgroups((size_t)n, &group) && errno != EPERM ? -errno : 0;
}

bool privilege_any(void)
{
	struct caps caps;

	return caps_get(&caps) == 0 && caps.permitted;
}

int privilege_drop(gid_t group, bool trace)
{
	const uint64_t keep = wanted(trace);
	struct caps now = {};
	int err = caps_get(&now);

	set_limits();
	if (err == 0)
		err = set_groups(group);
	if (err == 0) {
		say_missing(now.permitted);
		drop_bounding(keep);
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		err = caps_set(now.permitted & keep);
	}
	/* Secrets of a store would be in a core, and in the reach of who may trace us. */
	if (err == 0 &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)))
		err = -errno;
	return err ? log_err(err, "cannot give up privileges") : 0;
}
