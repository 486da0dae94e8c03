/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket STATE_DIR/ctl.sock: a client sends one line (a verb), the agent answers with
 * one JSON document and closes. At most 16 clients, 64 bytes of request, 5 s each; a stalled client
 * never stalls the loop.
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
 * Client side: ask the agent of state_dir. -ECONNREFUSED or -ENOENT: no agent; -EACCES: not for us;
 * -EPROTO: no JSON came. A refusal by the agent is a document too: {"error": "why"}.
 */
int ctl_query(const char *state_dir, const char *verb, json_t **out);

#endif
