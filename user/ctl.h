/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket STATE_DIR/ctl.sock: a client sends one line (a verb), the agent answers with
 * one JSON document and closes. At most 16 clients, 128 bytes of request, 5 s each; a stalled
 * client never stalls the loop. A streaming verb has KEY=VALUE words behind it and takes the
 * connection over: it counts as a client no more, and its limits are the stream's own.
 */
#ifndef WEFT_USER_CTL_H
#define WEFT_USER_CTL_H

#include <jansson.h>

#include "loop.h"

struct ctl;

/* Answers a verb with a new reference, or NULL for an unknown one. */
typedef json_t *(*ctl_fn)(const char *verb, void *arg);

/* Replaces a stale socket file; the caller holds the state directory's lock. */
int ctl_listen(struct loop *loop, const char *state_dir, ctl_fn fn, void *arg, struct ctl **out);
void ctl_close(struct ctl *ctl);

/*
 * Asked before ctl_fn, with the same arg. 0: fd, which never blocks, is the stream's from now on.
 * -ENOENT: not such a verb; -EINVAL: not such words; -EBUSY: there are enough of them; any other:
 * the client is told that it cannot be.
 */
typedef int (*ctl_stream_fn)(const char *verb, const char *words, int fd, void *arg);
void ctl_on_stream(struct ctl *ctl, ctl_stream_fn fn);

/*
 * Client side: ask the agent of state_dir. -ECONNREFUSED or -ENOENT: no agent; -EACCES: not for us;
 * -EPROTO: no JSON came. A refusal by the agent is a document too: {"error": "why"}.
 */
int ctl_query(const char *state_dir, const char *verb, json_t **out);
/* A connection on which the request, verb and words, has been made; to be read without limit. */
int ctl_stream(const char *state_dir, const char *request);

#endif
