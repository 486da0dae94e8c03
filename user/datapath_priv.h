/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What datapath.c (attachments and contents) and datapath_load.c (programs and maps) share. */
#ifndef WEFT_USER_DATAPATH_PRIV_H
#define WEFT_USER_DATAPATH_PRIV_H

#include <bpf/libbpf.h>
#include <limits.h>

#include "datapath.h"
#include "loop.h"
#include "maps.h"

struct weft_bpf;

struct attachment {
	enum weft_hook hook;
	uint32_t ifindex;
	bool link; /* false: a clsact filter */
	int fd; /* the link, which does not end with its pin as long as we live; or -1 */
};

struct datapath {
	char dir[PATH_MAX / 2];
	struct weft_bpf *skel;
	struct maps *maps;
	bool tcx; /* false: clsact */
	uint32_t older; /* version whose maps are to go; 0: none */
	bool made_maps; /* there were none of this version yet */
	bool migrates; /* from it: its state is there until ours is complete */
	bool complete; /* the maps are */
	bool probe; /* attach mode auto: TCX may turn out to be missing */
	struct attachment *attachments;
	size_t n_attachments;
	struct ring_buffer *hints;
	struct loop *loop;
	struct loop_timer *hint_timer, *repair_timer;
	void (*hint_fn)(const struct weft_hint *hint, void *arg);
	void *hint_arg;
};

/* Logs its own failure. -EPROTO: the pins are of another version. */
int datapath_load(struct datapath *dp, uint32_t approvals);
/* All maps but what goes with the programs, see weft/trace.h. */
bool datapath_is_pinned(const struct datapath *dp, const struct bpf_map *map);
/* Does its pin hold this very map, where it is to have one? */
bool datapath_pin_holds(const struct datapath *dp, const struct bpf_map *map);
int datapath_pin_map(struct datapath *dp, struct bpf_map *map);
/* The same map of the version before: a descriptor, or negative. */
int datapath_open_older(const struct datapath *dp, const struct bpf_map *map);
/* For pins: dir and those in it */
int datapath_make_dirs(const char *dir);
/* Those that hold nothing; where there are maps, there is a state to leave alone. */
void datapath_remove_dirs(const char *dir);

#endif
