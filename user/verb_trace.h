/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The verb `trace`: shows packets as the agent sends them, until stopped. */
#ifndef WEFT_USER_VERB_TRACE_H
#define WEFT_USER_VERB_TRACE_H

#include "options.h"

enum weft_exit verb_trace(const struct options *options);

#endif
