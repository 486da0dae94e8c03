/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The store that is flannel's registry: etcd:URL[,URL...]. A thread of its own talks to etcd and
 * hands whole states over; when etcd is away the last one stays.
 */
#ifndef WEFT_USER_STORE_ETCD_H
#define WEFT_USER_STORE_ETCD_H

#include "store_priv.h"

extern const struct store_ops store_etcd_ops;

#endif
