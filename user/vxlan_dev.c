/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "vxlan_dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "rtnl.h"
#include "sysctl.h"

static int name_device(const char *tun, char name[IF_NAMESIZE])
{
	return snprintf(name, IF_NAMESIZE, "%s-vx", tun) >= IF_NAMESIZE ? -ENAMETOOLONG : 0;
}

/* No device of that port has to be named: the kernel chooses it by the packet's destination. */
static int create(struct nl *nl, const char *name, uint16_t port, const uint8_t mac[6])
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nlattr *info, *data;

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "vxlan");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put_u8(nlh, IFLA_VXLAN_COLLECT_METADATA, 1);
	mnl_attr_put_u8(nlh, IFLA_VXLAN_LEARNING, 0);
	mnl_attr_put_u16(nlh, IFLA_VXLAN_PORT, htons(port));
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return nl_request(nl, nlh, NULL, NULL);
}

/* The address may be another one than an earlier agent's. */
static int set_mac(struct nl *nl, uint32_t ifindex, const uint8_t mac[6])
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	ifi->ifi_index = (int)ifindex;
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	return nl_request(nl, nlh, NULL, NULL);
}

int vxlan_dev_open(struct nl *nl, const char *tun, uint16_t port, const uint8_t mac[6],
		   uint32_t *ifindex)
{
	char name[IF_NAMESIZE];
	struct rtnl_link link;
	int err = name_device(tun, name);

	if (err == 0 && rtnl_link_port(nl, name, IFLA_VXLAN_PORT) != port)
		err = rtnl_link_delete(nl, name);
	if (err == 0)
		err = create(nl, name, port, mac);
	if (err == -EEXIST)
		err = 0;
	if (err == 0)
		err = rtnl_link_get(nl, 0, name, &link);
	if (err == 0 && memcmp(link.mac, mac, sizeof(link.mac)) != 0)
		err = set_mac(nl, link.ifindex, mac);
	if (err == 0) {
		sysctl_disable_ipv6(name);
		*ifindex = link.ifindex;
	}
	return err;
}

int vxlan_dev_start(struct nl *nl, uint32_t ifindex)
{
	return rtnl_link_set_up(nl, ifindex);
}

int vxlan_dev_delete(struct nl *nl, const char *tun)
{
	char name[IF_NAMESIZE];

	return name_device(tun, name) ? 0 : rtnl_link_delete(nl, name);
}
