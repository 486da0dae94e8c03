/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "link.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "rtnl_msg.h"

struct link_kind {
	bool veth;
	bool elsewhere;
};

static int parse_info(const struct nlattr *attr, void *arg)
{
	struct link_kind *kind = arg;

	if (is_string(attr, IFLA_INFO_KIND))
		kind->veth = strcmp(mnl_attr_get_str(attr), "veth") == 0;
	return MNL_CB_OK;
}

static int parse_link(const struct nlattr *attr, void *arg)
{
	struct link_kind *kind = arg;

	if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
		mnl_attr_parse_nested(attr, parse_info, kind);
	/* Present only when the peer is in another namespace (net/core/rtnetlink.c). */
	if (mnl_attr_get_type(attr) == IFLA_LINK_NETNSID)
		kind->elsewhere = true;
	return MNL_CB_OK;
}

static int take_link(const struct nlmsghdr *nlh, void *arg)
{
	mnl_attr_parse(nlh, sizeof(struct ifinfomsg), parse_link, arg);
	return MNL_CB_OK;
}

bool link_peer_is_elsewhere(struct nl *nl, uint32_t ifindex)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct link_kind kind = {};

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = ifindex;
	return nl_request(nl, nlh, take_link, &kind) == 0 && kind.veth && kind.elsewhere;
}
