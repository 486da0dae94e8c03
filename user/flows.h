/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verb `flows`. It works on the pinned maps themselves, so that approvals can be looked at and
 * flushed also while no agent lives.
 */
#ifndef WEFT_USER_FLOWS_H
#define WEFT_USER_FLOWS_H

#include "options.h"

enum weft_exit verb_flows(const struct options *options);

#endif
