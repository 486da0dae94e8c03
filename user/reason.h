/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names of hooks, verdicts and reasons as they appear in `weft stats`. */
#ifndef WEFT_USER_REASON_H
#define WEFT_USER_REASON_H

#include "weft/reason.h"

/* Never NULL for a value below the enum's MAX. */
const char *hook_name(enum weft_hook hook);
const char *verdict_name(enum weft_verdict verdict);
const char *reason_name(enum weft_reason reason);

#endif
