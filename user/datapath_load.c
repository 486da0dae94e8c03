/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, taken from pins or made and pinned, and the programs in the kernel. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "attach.h"
#include "datapath_priv.h"
#include "log.h"
#include "pins.h"
#include "util.h"
#include "weft.skel.h"

static void map_pin_path(const struct datapath *dp, const struct bpf_map *map, char path[PATH_MAX])
{
	pins_map_path(dp->dir, WEFT_ABI_VERSION, bpf_map__name(map), path);
}

bool datapath_is_pinned(const struct datapath *dp, const struct bpf_map *map)
{
	return map != dp->skel->maps.traces && map != dp->skel->maps.bss;
}

static bool same_layout(const struct bpf_map *map, const struct bpf_map_info *info)
{
	return info->type == bpf_map__type(map) && info->key_size == bpf_map__key_size(map) &&
	       info->value_size == bpf_map__value_size(map);
}

/* libbpf takes the name over, and pins go by it. */
static bool same_name(const struct bpf_map *map, const struct bpf_map_info *info)
{
	return strncmp(info->name, bpf_map__name(map), BPF_OBJ_NAME_LEN - 1) == 0;
}

int datapath_open_older(const struct datapath *dp, const struct bpf_map *map)
{
	char path[PATH_MAX];

	if (!dp->older)
		return -ENOENT;
	pins_map_path(dp->dir, dp->older, bpf_map__name(map), path);
	return bpf_obj_get(path);
}

/* Both versions' programs go on with one map of counters: what is counted never falls. */
static int share_older(struct datapath *dp, struct bpf_map *map)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = map == dp->skel->maps.counters ? datapath_open_older(dp, map) : -1;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || !same_layout(map, &info) ||
	    !same_name(map, &info) || info.max_entries != bpf_map__max_entries(map))
		return 0;
	return bpf_map__reuse_fd(map, fd);
}

/* Use the pinned map of an earlier agent, if there is one. */
static int reuse_map(struct datapath *dp, struct bpf_map *map)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	char path[PATH_MAX];
	_close_ int fd = -1;
	bool same_size;

	map_pin_path(dp, map, path);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? share_older(dp, map) : log_err(-errno, "%s", path);
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return log_err(-errno, "%s", path);
	same_size = info.max_entries == bpf_map__max_entries(map);
	if (!same_layout(map, &info) || (!same_size && map != dp->skel->maps.approvals))
		return log_err(-EPROTO, "%s: made by an incompatible version", path);
	if (!same_size || !same_name(map, &info))
		return 0;
	return bpf_map__reuse_fd(map, fd);
}

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

bool datapath_pin_holds(const struct datapath *dp, const struct bpf_map *map)
{
	char path[PATH_MAX];
	_close_ int fd = -1;

	if (!datapath_is_pinned(dp, map))
		return true;
	map_pin_path(dp, map, path);
	fd = bpf_obj_get(path);
	return fd >= 0 && map_id(fd) == map_id(bpf_map__fd(map));
}

/* What else is there is of no use to the programs, so that the next agent must not take it. */
int datapath_pin_map(struct datapath *dp, struct bpf_map *map)
{
	char path[PATH_MAX];

	if (datapath_pin_holds(dp, map))
		return 0;
	map_pin_path(dp, map, path);
	unlink(path);
	return bpf_obj_pin(bpf_map__fd(map), path) ? log_err(-errno, "cannot pin %s", path) : 0;
}

/* An older version's maps are replaced; a newer one's layout nobody here knows. */
static int check_version(struct datapath *dp)
{
	uint32_t newest = pins_newest(dp->dir, UINT32_MAX);

	if (newest > WEFT_ABI_VERSION)
		return log_err(-EPROTO, "%s: state of version %u, this program knows %u", dp->dir,
			       newest, WEFT_ABI_VERSION);
	dp->older = pins_newest(dp->dir, WEFT_ABI_VERSION);
	dp->made_maps = newest < WEFT_ABI_VERSION;
	dp->migrates = dp->older && newest < WEFT_ABI_VERSION;
	if (dp->older)
		log_info("state of version %u: taking over to version %u", dp->older,
			 WEFT_ABI_VERSION);
	return 0;
}

int datapath_make_dirs(const char *dir)
{
	char path[PATH_MAX];
	int err = pins_mkdir(dir);

	pins_map_path(dir, WEFT_ABI_VERSION, "", path);
	err = err ? err : pins_mkdir(path);
	snprintf(path, sizeof(path), "%s/links", dir);
	return err ? err : pins_mkdir(path);
}

/*
 * libbpf asks the kernel with a program of its own whether it knows names, and where that fails,
 * for want of memory perhaps, leaves them out. Nobody would know such programs and maps for ours.
 */
static bool has_names(const struct datapath *dp)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(dp->skel->progs.weft_uplink), &info, &len) ==
		       0 &&
	       info.name[0];
}

int datapath_load(struct datapath *dp, uint32_t approvals)
{
	struct bpf_map *map;
	int err = pins_mkdir(dp->dir);

	if (err == 0)
		err = check_version(dp);
	if (err == 0)
		err = datapath_make_dirs(dp->dir);
	if (err)
		return err;
	dp->skel = weft_bpf__open();
	if (!dp->skel)
		return log_err(-errno, "cannot open the BPF object");
	bpf_map__set_max_entries(dp->skel->maps.approvals, approvals);
	if (attach_has_xdp_frags())
		bpf_program__set_flags(dp->skel->progs.weft_strip, BPF_F_XDP_HAS_FRAGS);
	bpf_object__for_each_map(map, dp->skel->obj)
	{
		err = datapath_is_pinned(dp, map) ? reuse_map(dp, map) : 0;
		if (err)
			return err;
	}
	err = weft_bpf__load(dp->skel);
	if (err)
		return log_err(err, "cannot load the BPF programs");
	if (!has_names(dp))
		return log_err(-EAGAIN, "the kernel has the BPF programs without their names");
	bpf_object__for_each_map(map, dp->skel->obj)
	{
		err = datapath_is_pinned(dp, map) ? datapath_pin_map(dp, map) : 0;
		if (err)
			return err;
	}
	return 0;
}

void datapath_remove_dirs(const char *dir)
{
	char path[PATH_MAX];

	/* Somebody's link leads to somebody's directories. */
	if (!pins_is_dir(dir))
		return;
	pins_map_path(dir, WEFT_ABI_VERSION, "", path);
	if ((rmdir(path) && errno != ENOENT) || pins_newest(dir, UINT32_MAX))
		return;
	snprintf(path, sizeof(path), "%s/links", dir);
	rmdir(path);
	rmdir(dir);
}
