/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where pins live: a private directory on a bpffs that outlives the agent. */
#ifndef WEFT_USER_PINS_H
#define WEFT_USER_PINS_H

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is there a bpffs where pins_locate() looks for one? Mounts nothing. */
bool pins_has_bpffs(void);

/*
 * The pin directory of a state directory: "weft" below a bpffs for /run/weft, a name derived from
 * the path for others. Mounts /sys/fs/bpf when nobody did. `ip netns exec` hides that mount behind
 * a private one that dies with the command; then the first process's view of it is used.
 * -ENODEV: no bpffs to be had. Does not create the directory itself.
 */
int pins_locate(const char *state_dir, char *out, size_t len);
/* The same if it exists, else -ENOENT, or -EACCES where we may not look. Mounts nothing. */
int pins_find(const char *state_dir, char *out, size_t len);

/*
 * Create path with mode 0700 or check that it is a directory, ours and private.
 * -EPERM: it belongs to somebody else or is open to others.
 */
int pins_mkdir(const char *path);

/* A directory, and no symbolic link to one: root cleans up directories of other users, too. */
DIR *pins_opendir(const char *path);
bool pins_is_dir(const char *path);

/*
 * Each ABI version's maps have a directory of their own, PIN_DIR/maps-VERSION. Path of a map there,
 * or with name "" of the directory itself.
 */
void pins_map_path(const char *pin_dir, uint32_t version, const char *name, char path[PATH_MAX]);
/* The newest version below a limit that has maps there; 0: none. */
uint32_t pins_newest(const char *pin_dir, uint32_t below);
/* Remove the maps of versions first to last. */
void pins_remove_maps(const char *pin_dir, uint32_t first, uint32_t last);

#endif
