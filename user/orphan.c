/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "orphan.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "attach.h"
#include "util.h"

#define PROGRAMS_MAX 64 /* on one hook; the kernel takes as many (include/linux/bpf_mprog.h) */

static bool is_named(uint32_t prog_id, const char *name)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = bpf_prog_get_fd_by_id(prog_id);

	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
	       strcmp(info.name, name) == 0;
}

/* The device's number means something in our namespace only, the program's id everywhere. */
static bool is_link_of(int fd, uint32_t ifindex, enum bpf_attach_type type, uint32_t prog_id)
{
	struct dev_link_info info;

	return attach_link_info(fd, &info) == 0 && info.prog_id == prog_id &&
	       info.ifindex == ifindex && (type == BPF_XDP || info.attach_type == type);
}

static int link_of(uint32_t ifindex, enum bpf_attach_type type, uint32_t prog_id)
{
	uint32_t id = 0;

	while (bpf_link_get_next_id(id, &id) == 0) {
		_close_ int fd = bpf_link_get_fd_by_id(id);

		if (fd >= 0 && is_link_of(fd, ifindex, type, prog_id))
			return take_fd(&fd);
	}
	return -ENOENT;
}

static uint32_t query(uint32_t ifindex, enum bpf_attach_type type, uint32_t ids[PROGRAMS_MAX])
{
	DECLARE_LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = PROGRAMS_MAX);

	if (type == BPF_XDP)
		return bpf_xdp_query_id((int)ifindex, 0, ids) == 0 && ids[0];
	return bpf_prog_query_opts((int)ifindex, type, &opts) ? 0 : opts.prog_cnt;
}

int orphan_find(uint32_t ifindex, enum bpf_attach_type type, const char *program)
{
	uint32_t ids[PROGRAMS_MAX], n = query(ifindex, type, ids);
	_close_ int found = -1;

	for (uint32_t i = 0; i < n; i++) {
		_close_ int fd = is_named(ids[i], program) ? link_of(ifindex, type, ids[i]) : -1;

		if (fd >= 0 && found >= 0)
			bpf_link_detach(fd);
		else if (fd >= 0)
			found = take_fd(&fd);
	}
	return found < 0 ? -ENOENT : take_fd(&found);
}
