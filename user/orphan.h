/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Links of ours whose pins are gone, with a bpffs that was unmounted or by hand, and that live on
 * all the same because somebody still has that file system, or the link, open.
 */
#ifndef WEFT_USER_ORPHAN_H
#define WEFT_USER_ORPHAN_H

#include <bpf/bpf.h>
#include <stdint.h>

/*
 * Descriptor of the link that holds a program of this name on the device, for the caller to close;
 * further ones are detached. -ENOENT: there is none, or we may not look for it (CAP_SYS_ADMIN).
 */
int orphan_find(uint32_t ifindex, enum bpf_attach_type type, const char *program);

#endif
