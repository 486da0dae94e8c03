/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flannel's subnet.env (flannel.md 4.1), written atomically. */
#ifndef WEFT_USER_SUBNET_ENV_H
#define WEFT_USER_SUBNET_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "netconf.h"

/* Write path (mode 0644, parent 0755) by temporary file, fsync and rename. */
int subnet_env_write(const char *path, struct prefix4 network, struct prefix4 subnet, uint32_t mtu,
		     bool ip_masq);

/* The subnet that the file names, -ENOENT when there is no such file or it names none. */
int subnet_env_read(const char *path, struct prefix4 *subnet);

#endif
