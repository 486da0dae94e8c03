/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How little the agent may do: its capabilities and its system calls. */
#ifndef WEFT_USER_PRIVILEGE_H
#define WEFT_USER_PRIVILEGE_H

#include <stdbool.h>
#include <sys/types.h>

#define PRIVILEGE_NO_GROUP ((gid_t)-1)

/*
 * Give up, for good and for every thread to come, all capabilities but the agent's own, of which
 * those that are missing are logged, all supplementary groups but this one, new privileges by exec
 * and core dumps. trace: keep CAP_SYS_PTRACE, too. Logs its own failure.
 */
int privilege_drop(gid_t group, bool trace);

/* Has this process any capability at all? */
bool privilege_any(void);

/*
 * From now on system calls that the agent does not need do not exist (ENOSYS): to become another
 * program, to make a process, to mount, to trace, to load modules and all that nobody thought of.
 * Does not fail: a kernel without such filters is logged.
 */
void syscall_filter_start(void);

#endif
