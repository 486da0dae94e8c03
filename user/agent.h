/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `weft run`: store → model → maps, and the slow path beside them. */
#ifndef WEFT_USER_AGENT_H
#define WEFT_USER_AGENT_H

#include "options.h"

/* Runs until told to stop. Returns the exit status. */
enum weft_exit agent_run(const struct options *options);

/*
 * Remove everything an agent with this state directory ever made: pins, links, filters, the
 * overlay device, subnet.env if ours, sockets and state. Refuses while an agent is running.
 */
enum weft_exit agent_cleanup(const struct options *options);

#endif
