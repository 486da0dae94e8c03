/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Netlink over libmnl: requests, dumps, a multicast subscription of rtnetlink. */
#ifndef WEFT_USER_NETLINK_H
#define WEFT_USER_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nl;

typedef int (*nl_fn)(const struct nlmsghdr *nlh, void *arg);

/* groups: bit mask of 1 << (RTNLGRP_x - 1); 0 for a socket used for requests only. */
int nl_open(uint32_t groups, struct nl **out);
/* Generic netlink, or that of IPsec, instead, for requests only. */
int nl_open_generic(struct nl **out);
int nl_open_xfrm(struct nl **out);
void nl_close(struct nl *nl);
int nl_fd(const struct nl *nl);

/*
 * Send a request built in place (nlmsg_seq and NLM_F_ACK are set here) and call fn for each answer
 * message; fn may be NULL and must not use nl itself. A dump interrupted by a change
 * (NLM_F_DUMP_INTR) is repeated, so fn may see the same object again. Events that arrive meanwhile
 * are dropped: subscribe with one socket, request with another.
 * Returns 0, fn's first negative result, or the kernel's negative errno; -EAGAIN when every one of
 * several dumps was interrupted.
 */
int nl_request(struct nl *nl, struct nlmsghdr *nlh, nl_fn fn, void *arg);

/*
 * Read what a subscribed socket has, calling fn per message. *overrun is set when the kernel
 * dropped messages (ENOBUFS): the caller must dump afresh. Never blocks. Returns 0 or the first
 * error of fn (which sees all messages nevertheless) or of the socket.
 */
int nl_receive(struct nl *nl, nl_fn fn, void *arg, bool *overrun);

/*
 * Is there a whole message in the left bytes at nlh? For loops in place of mnl_nlmsg_ok(), which
 * takes a length of 2 GiB and more for a negative one, and lets it pass.
 */
bool nl_is_message(const struct nlmsghdr *nlh, int left);

#endif
