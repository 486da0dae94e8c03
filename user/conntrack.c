/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "conntrack.h"

#include <errno.h>

#include "log.h"
#include "sysctl.h"

#define LIBERAL "netfilter/nf_conntrack_tcp_be_liberal"
#define UNACKNOWLEDGED "netfilter/nf_conntrack_tcp_timeout_unacknowledged"
#define ESTABLISHED "netfilter/nf_conntrack_tcp_timeout_established"

bool conntrack_is_strict(void)
{
	return sysctl_get(LIBERAL) == 0;
}

/* Seconds; 0: it is long enough. */
static int short_timeout(void)
{
	int timeout = sysctl_get(UNACKNOWLEDGED);

	return timeout > 0 && timeout < sysctl_get(ESTABLISHED) ? timeout : 0;
}

bool conntrack_look(struct conntrack_saved *saved)
{
	bool strict = conntrack_is_strict();
	int timeout = short_timeout();

	saved->strict |= strict;
	if (!saved->unacknowledged_s)
		saved->unacknowledged_s = timeout;
	return strict || timeout;
}

static void set(const char *name, int value)
{
	int err = sysctl_set(name, value);

	if (err && err != -ENOENT)
		log_err(err, "net/%s", name);
}

void conntrack_soften(void)
{
	if (conntrack_is_strict())
		set(LIBERAL, 1);
	if (short_timeout())
		set(UNACKNOWLEDGED, sysctl_get(ESTABLISHED));
}

void conntrack_restore(const struct conntrack_saved *saved)
{
	if (saved->strict)
		set(LIBERAL, 0);
	if (saved->unacknowledged_s)
		set(UNACKNOWLEDGED, saved->unacknowledged_s);
}
