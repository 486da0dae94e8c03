/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket STATE_DIR/ctl.sock: a client sends one line (a verb), the agent answers with
 * one JSON document and closes. At most 16 clients, 128 bytes of request, 5 s each; a stalled
 * client never stalls the loop. A streaming verb has KEY=VALUE words behind it and takes the
 * connection over: it counts as a client no more, and its limits are the stream's own.
 *
 * Root and the agent's own user may do everything; members of a group, if one is given, may ask
 * what changes nothing.
 */
#ifndef WEFT_USER_CTL_H
#define WEFT_USER_CTL_H

#include <jansson.h>
#include <sys/types.h>

#include "loop.h"

struct ctl;

struct ctl_config {
	const char *state_dir;
	gid_t group; /* who else may ask; PRIVILEGE_NO_GROUP: nobody */
	/* Answers a verb with a new reference, or NULL for an unknown one. */
	json_t *(*fn)(const char *verb, void *arg);
	/*
	 * Asked before fn; may be NULL. 0: fd, which never blocks, is the stream's from now on.
	 * -ENOENT: not such a verb; -EINVAL: not such words; -EBUSY: there are enough of them; any
	 * other: the client is told that it cannot be.
	 */
	int (*stream)(const char *verb, const char *words, int fd, void *arg);
	/* Does this verb change nothing? Others are for root and the agent's own user. */
	bool (*reads)(const char *verb);
	void *arg;
};

/*
 * Replaces a stale socket file; the caller holds the state directory's lock. With a group the
 * directory and the socket are given to it, which takes CAP_CHOWN or a member. The names in config
 * stay the caller's. Logs its own failure.
 */
int ctl_listen(struct loop *loop, const struct ctl_config *config, struct ctl **out);
void ctl_close(struct ctl *ctl);

/*
 * Client side: ask the agent of state_dir. -ECONNREFUSED or -ENOENT: no agent; -EACCES: not for us;
 * -EPROTO: no JSON came. A refusal by the agent is a document too: {"error": "why"}.
 */
int ctl_query(const char *state_dir, const char *verb, json_t **out);
/* A connection on which the request, verb and words, has been made; to be read without limit. */
int ctl_stream(const char *state_dir, const char *request);

#endif
