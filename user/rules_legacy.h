/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rules of legacy iptables, which the kernel gives no notice of. */
#ifndef WEFT_USER_RULES_LEGACY_H
#define WEFT_USER_RULES_LEGACY_H

#include <stdint.h>

/*
 * A hash of all legacy IPv4 tables of this network namespace, counters left out; two that differ
 * mean that rules have changed. 0 when there are no tables. -EACCES: the kernel tells nobody but
 * root which tables there are; -EPERM: CAP_NET_RAW is missing.
 */
int rules_legacy_hash(uint64_t *hash);

#endif
