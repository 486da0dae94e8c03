/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `weft check`: is this store's content acceptable? Touches no kernel state, asks no agent. */
#ifndef WEFT_USER_VERB_CHECK_H
#define WEFT_USER_VERB_CHECK_H

#include "options.h"

enum weft_exit verb_check(const struct options *options);

#endif
