/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "conntrack.h"

#include <errno.h>

#include "log.h"
#include "sysctl.h"

#define LIBERAL "netfilter/nf_conntrack_tcp_be_liberal"

bool conntrack_is_strict(void)
{
	return sysctl_get(LIBERAL) == 0;
}

int conntrack_set_liberal(bool on)
{
	int err = sysctl_set(LIBERAL, on);

	if (err == 0 || err == -ENOENT)
		return 0;
	return log_err(err, "net/%s", LIBERAL);
}
