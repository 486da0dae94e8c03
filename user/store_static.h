/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The store that is a local file: static:FILE. */
#ifndef WEFT_USER_STORE_STATIC_H
#define WEFT_USER_STORE_STATIC_H

#include "store_priv.h"

/* The file is looked at this often even if inotify says nothing. */
#define STORE_STATIC_RECHECK_S 2

extern const struct store_ops store_static_ops;

#endif
