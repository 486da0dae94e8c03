/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers among the settings of the network namespace below /proc/sys/net. */
#ifndef WEFT_USER_SYSCTL_H
#define WEFT_USER_SYSCTL_H

/* Of "ipv4/ip_forward" and its like, not below 0; -ENOENT when the kernel has none, or -errno. */
int sysctl_get(const char *name);
/* 0 or -errno. */
int sysctl_set(const char *name, int value);

/* What the overlay cannot do without: forwarding. Said when it had to be switched on. */
void sysctl_enable_forwarding(void);
/*
 * Devices of an IPv4 overlay: the kernel is to send no solicitations and reports by them, nor to
 * take routes from whoever advertises some. Harmless where the kernel has no IPv6.
 */
void sysctl_disable_ipv6(const char *ifname);
/*
 * The overlay device must not filter strictly: a NodePort's client comes through it with an
 * address that is routed elsewhere (ip-sysctl.rst, rp_filter: the larger value counts).
 */
void sysctl_loosen_rp_filter(const char *ifname);

#endif
