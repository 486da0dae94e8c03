/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of the doctor share: doctor.c (what is known, what is said), doctor_host.c (this
 * node's settings), doctor_hooks.c (programs and pins), doctor_probe.c (questions to peers).
 * Nothing is changed anywhere. Each part says what it finds and ends each check with doctor_done().
 */
#ifndef WEFT_USER_DOCTOR_PRIV_H
#define WEFT_USER_DOCTOR_PRIV_H

#include <jansson.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "doctor.h"
#include "rtnl.h"
#include "weft/format.h"
#include "weft/reason.h"

#define DOCTOR_PEERS 32 /* are probed */

struct doctor_peer { /* addresses in host byte order */
	uint32_t public_ip;
	uint32_t overlay; /* the base of its subnet */
	uint32_t mtu; /* outer bytes that the way takes; 0: not known */
	enum weft_format format;
	uint8_t mac[6]; /* that it is sent to; zero: not known */
};

struct doctor_hook { /* where a program of ours is meant to be */
	enum weft_hook hook;
	uint32_t ifindex;
	uint32_t prog_id; /* 0: there is none */
	bool pinned; /* by a link, not a clsact filter */
};

struct doctor {
	const struct options *opt;
	struct nl *nl;
	json_t *findings;
	json_t *status; /* the agent's; NULL: it did not answer */
	bool known; /* what follows, from the agent or its pins */
	bool bpf; /* tier */
	char tun[IF_NAMESIZE], bridge[IF_NAMESIZE], uplink[IF_NAMESIZE];
	uint32_t subnet, local; /* own ones, host byte order; local: the uplink's address */
	uint32_t mtu; /* of the overlay; 0: not known */
	uint16_t port, vxlan_port;
	char pin_dir[PATH_MAX / 2]; /* "": none */
	struct doctor_peer *peers;
	size_t n_peers;
	struct doctor_hook *hooks;
	size_t n_hooks;
};

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* A finding of a check: about what, what to do, and (printf) what was seen. */
void doctor_say(struct doctor *d, enum doctor_level level, const char *check, const char *subject,
		const char *advice, const char *seen, ...) __attribute__((format(printf, 6, 7)));
#define doctor_warn(d, ...) doctor_say(d, DOCTOR_WARN, __VA_ARGS__)
#define doctor_fail(d, ...) doctor_say(d, DOCTOR_FAIL, __VA_ARGS__)
/* Of this check that is all; it is well unless something was found. */
void doctor_done(struct doctor *d, const char *check);
/* An address for a message; up to four at a time. */
const char *doctor_ip(uint32_t addr);

void doctor_host(struct doctor *d);
void doctor_hooks(struct doctor *d);
void doctor_probe(struct doctor *d);

#endif
