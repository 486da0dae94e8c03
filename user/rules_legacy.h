/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rules of legacy iptables, which the kernel gives no notice of. */
#ifndef WEFT_USER_RULES_LEGACY_H
#define WEFT_USER_RULES_LEGACY_H

#include <stddef.h>
#include <stdint.h>

/* What a look has seen of all legacy IPv4 tables of this network namespace. Starts as zeroes. */
struct rules_legacy {
	uint64_t hash; /* of all rules; 0: there are no tables */
	uint64_t *packets; /* that each rule has met, in their order */
	size_t n_rules;
};

/*
 * Looks again, and keeps what it sees: 1 when it is not what was there before, 0 when it is. A rule
 * that was taken away and put back since counts as changed when it had met a packet before.
 * -EACCES: the kernel tells nobody but root which tables there are; -EPERM: CAP_NET_RAW is missing;
 * -ENOMEM. Nothing is kept then.
 */
int rules_legacy_look(struct rules_legacy *seen);
void rules_legacy_free(struct rules_legacy *seen);

#endif
