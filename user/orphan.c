/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "orphan.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "util.h"

#define PROGRAMS_MAX 64 /* on one hook; the kernel takes as many (include/linux/bpf_mprog.h) */

#define PREFIX "weft_"

/* A link that was there when we could look for it. */
struct found {
	int fd; /* -1: taken */
	uint32_t ifindex, attach_type, prog_id;
	char program[BPF_OBJ_NAME_LEN];
};

static struct found *links;
static size_t n_links;
static bool collected;

static bool program_name(uint32_t prog_id, char name[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = bpf_prog_get_fd_by_id(prog_id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	memcpy(name, info.name, BPF_OBJ_NAME_LEN);
	return true;
}

static int collect(int fd)
{
	struct found link = {.fd = fd};
	struct dev_link_info info;
	struct found *more;

	if (attach_link_info(fd, &info) || !program_name(info.prog_id, link.program) ||
	    strncmp(link.program, PREFIX, strlen(PREFIX)))
		return -ENOENT;
	link.ifindex = info.ifindex;
	link.attach_type = info.attach_type;
	link.prog_id = info.prog_id;
	more = realloc(links, (n_links + 1) * sizeof(*links));
	if (!more)
		return -ENOMEM;
	links = more;
	links[n_links++] = link;
	return 0;
}

void orphans_collect(void)
{
	uint32_t id = 0;

	collected = true;
	while (bpf_link_get_next_id(id, &id) == 0) {
		_close_ int fd = bpf_link_get_fd_by_id(id);

		if (fd >= 0 && collect(fd) == 0)
			take_fd(&fd);
	}
}

void orphans_release(void)
{
	for (size_t i = 0; i < n_links; i++)
		cleanup_close(&links[i].fd);
	free(links);
	links = NULL;
	n_links = 0;
}

static uint32_t query(uint32_t ifindex, enum bpf_attach_type type, uint32_t ids[PROGRAMS_MAX])
{
	DECLARE_LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = PROGRAMS_MAX);

	if (type == BPF_XDP)
		return bpf_xdp_query_id((int)ifindex, 0, ids) == 0 && ids[0];
	return bpf_prog_query_opts((int)ifindex, type, &opts) ? 0 : opts.prog_cnt;
}

/* The device's number means something in our namespace only, the program's id everywhere. */
static bool is_link_on(const struct found *link, uint32_t ifindex, enum bpf_attach_type type,
		       const uint32_t *ids, uint32_t n)
{
	if (link->fd < 0 || link->ifindex != ifindex ||
	    (type != BPF_XDP && link->attach_type != type))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] == link->prog_id)
			return true;
	return false;
}

int orphan_find(uint32_t ifindex, enum bpf_attach_type type, const char *program)
{
	uint32_t ids[PROGRAMS_MAX], n = query(ifindex, type, ids);
	_close_ int found = -1;

	if (!collected)
		orphans_collect();
	for (size_t i = 0; i < n_links; i++) {
		if (strcmp(links[i].program, program) ||
		    !is_link_on(&links[i], ifindex, type, ids, n))
			continue;
		if (found >= 0)
			bpf_link_detach(links[i].fd);
		else
			found = take_fd(&links[i].fd);
	}
	return found < 0 ? -ENOENT : take_fd(&found);
}
