/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One program on one hook of one device: by a pinned link (TCX, native XDP), or by a clsact filter
 * with weft's own priority. Programs of others on the same hook are never touched.
 */
#ifndef WEFT_USER_ATTACH_H
#define WEFT_USER_ATTACH_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "weft/reason.h"

/* Preference of our clsact filter: late, so that filters of others run first. */
#define ATTACH_TC_PRIORITY 8285
#define ATTACH_TC_HANDLE 1

/* linux/bpf.h of 6.6 and later; Debian 12's header is older. */
#define WEFT_BPF_TCX_INGRESS 46
#define WEFT_BPF_TCX_EGRESS 47

static inline bool hook_is_egress(enum weft_hook hook)
{
	return hook == WEFT_HOOK_TUN || hook == WEFT_HOOK_DELIVER;
}

static inline bool hook_is_xdp(enum weft_hook hook)
{
	return hook == WEFT_HOOK_STRIP;
}

/* struct bpf_link_info, as far as it is the same for links of TCX and XDP. */
struct dev_link_info {
	__u32 type;
	__u32 id;
	__u32 prog_id;
	__u32 pad;
	__u32 ifindex; /* 0 once the device is gone */
	__u32 attach_type;
	__u8 rest[64];
};

int attach_link_info(int fd, struct dev_link_info *info);

/*
 * Update the link pinned at pin in place, or make and pin a new one when there is none or its
 * device is gone; a link of ours that has lost its pin is pinned again. *held is the link's
 * descriptor, or -1: that of before on entry, that of now on success, for the caller to close;
 * while it is open nobody can end the link by its pin. -EINVAL: the kernel has no TCX. XDP:
 * -EOPNOTSUPP, the driver has none; -EBUSY, somebody else's program is there.
 */
int attach_link(const char *pin, uint32_t ifindex, enum weft_hook hook, int prog_fd, int *held);
/* Remove the pin; the link goes with it unless its device went first. 0 when there is none. */
int detach_link(const char *pin);
/* The same for a link that has lost its pin. */
void detach_orphan(uint32_t ifindex, enum weft_hook hook);
/* Id of the program that the pinned link runs on a live device, or -errno. */
int64_t attached_link(const char *pin, uint32_t ifindex);

/* Add our filter, or replace its program in one step. */
int attach_clsact(uint32_t ifindex, enum weft_hook hook, int prog_fd);
/*
 * Remove our filter, and the qdisc when no filter is left on it, whoever made it: the kernel does
 * not know, and one of ours that stayed would cost each packet of the device. 0 when there is none.
 */
int detach_clsact(uint32_t ifindex, enum weft_hook hook);
/* Id of the program of our filter, or -errno. */
int64_t attached_clsact(uint32_t ifindex, enum weft_hook hook);
/* Remove our filter in one direction, whatever hook it serves: one that we do not know perhaps. */
void prune_clsact(uint32_t ifindex, bool egress);

/*
 * May an XDP program say that it copes with frames in several buffers? Kernels since 5.18 know the
 * flag, and drivers may ask for it where such frames can come (the uplink hook has them then).
 */
bool attach_has_xdp_frags(void);

#endif
