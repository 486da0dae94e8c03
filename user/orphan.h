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
 * Takes hold of all links that run a program of weft's, in whatever namespace: while we still may
 * look for them, which takes CAP_SYS_ADMIN. Without it there are none.
 */
void orphans_collect(void);
/* Lets those go that nobody took. */
void orphans_release(void);

/*
 * Descriptor of the link that holds a program of this name on the device, for the caller to close;
 * further ones are detached. Of those collected, which happens now if it never did. -ENOENT: there
 * is none.
 */
int orphan_find(uint32_t ifindex, enum bpf_attach_type type, const char *program);

#endif
