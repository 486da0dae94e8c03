/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state directory: lock (which also holds the agent's pid), control socket, the file `made`
 * that remembers what the agent made elsewhere, for cleanup, and the registry as last seen.
 */
#ifndef WEFT_USER_STATE_DIR_H
#define WEFT_USER_STATE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "conntrack.h"
#include "options.h"

#define STATE_DIR_REGISTRY "registry.json" /* the etcd store's cache */

/*
 * Create the directory and take its lock. -EBUSY, with the other agent's pid logged; -EPERM for a
 * directory that is not ours, or open to others. cleanup: it exists, and if we are root it may be
 * anybody's.
 */
int state_dir_lock(const char *dir, bool cleanup, int *lock_fd);
void state_dir_unlock(int *lock_fd);

/* What is to be said of a holder that does not listen yet: it listens last. */
#define STATE_DIR_STARTING \
	"the agent (pid %d) is starting, and may be waiting for its store: see its log"
/* The process that holds that lock; 0: none, or none that can be seen from here. Takes no lock. */
pid_t state_dir_holder(const char *dir);

/*
 * Remember device, subnet file and pins before they are made, how conntrack was before us,
 * and the port that FOU is given (0: none). Where that fails (-errno), cleanup has its flags
 * only.
 */
int state_dir_remember(const struct options *options, const char *pin_dir,
		       const struct conntrack_saved *conntrack, uint16_t fou_port);
/* Is there nothing that an earlier agent made, nor a device of that name? */
bool state_dir_is_new(const struct options *options);
/* How was conntrack before the last agent changed it, and which port did that give to FOU? */
void state_dir_recall(const char *dir, struct conntrack_saved *conntrack, uint16_t *fou_port);
/* Where the last agent put its pins, or would have. -ENOENT when it made none. */
int state_dir_recall_pins(const char *dir, char *pin_dir, size_t len);

/* Remove all that is remembered, or what the options name where nothing is. */
int state_dir_teardown(const struct options *options);

#endif
