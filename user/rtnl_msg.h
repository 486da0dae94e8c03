/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pieces that every rtnetlink request and answer is made of. For bridge.c and rtnl.c. */
#ifndef WEFT_USER_RTNL_MSG_H
#define WEFT_USER_RTNL_MSG_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#define MAC_BYTES 6
/* The largest request has a header of 16 bytes and a handful of attributes. */
#define REQUEST_BYTES 256

struct request_buf {
	char data[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static inline struct nlmsghdr *put_header(struct request_buf *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf->data);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = flags;
	return nlh;
}

/* Of this type and at least so long */
static inline bool is_attr(const struct nlattr *attr, uint16_t type, size_t bytes)
{
	return mnl_attr_get_type(attr) == type && mnl_attr_get_payload_len(attr) >= bytes;
}

static inline bool is_string(const struct nlattr *attr, uint16_t type)
{
	return mnl_attr_get_type(attr) == type && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0;
}

#endif
