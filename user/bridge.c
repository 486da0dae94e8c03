/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "bridge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "rtnl_msg.h"

/* <net/if.h> has no name for it, and <linux/if.h> cannot be included beside it. */
#define LOWER_UP (1u << 16)

/* Links. */

static void parse_bridge_data(const struct nlattr *data, struct bridge_link *link)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, data) {
		if (is_attr(attr, IFLA_BR_VLAN_FILTERING, 1))
			link->vlan_filtering = mnl_attr_get_u8(attr);
	}
}

/* The kind precedes the data, whose attributes mean something else for another kind. */
static void parse_linkinfo(const struct nlattr *info, struct bridge_link *link)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, info) {
		if (is_string(attr, IFLA_INFO_KIND))
			link->bridge = strcmp(mnl_attr_get_str(attr), "bridge") == 0;
		else if (mnl_attr_get_type(attr) == IFLA_INFO_DATA && link->bridge)
			parse_bridge_data(attr, link);
	}
}

int bridge_link_parse(const struct nlmsghdr *nlh, struct bridge_link *out)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct bridge_link link = {};
	const struct nlattr *attr;

	/* In family AF_BRIDGE, "deleted" means no more than "not a port any more". */
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi) || ifi->ifi_family != AF_UNSPEC)
		return -EPROTO;
	link.ifindex = (uint32_t)ifi->ifi_index;
	link.running = ifi->ifi_flags & IFF_UP && ifi->ifi_flags & LOWER_UP;
	mnl_attr_for_each (attr, nlh, sizeof(*ifi)) {
		if (mnl_attr_get_type(attr) == IFLA_WIRELESS)
			return -EPROTO; /* a partial message: it does not name the master */
		if (is_string(attr, IFLA_IFNAME))
			snprintf(link.ifname, sizeof(link.ifname), "%s", mnl_attr_get_str(attr));
		else if (is_attr(attr, IFLA_MASTER, sizeof(uint32_t)))
			link.master = mnl_attr_get_u32(attr);
		else if (is_attr(attr, IFLA_ADDRESS, MAC_BYTES))
			memcpy(link.mac, mnl_attr_get_payload(attr), MAC_BYTES);
		else if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
			parse_linkinfo(attr, &link);
	}
	*out = link;
	return 0;
}

static int save_link(const struct nlmsghdr *nlh, void *arg)
{
	return bridge_link_parse(nlh, arg);
}

int bridge_link_get(struct nl *nl, const char *ifname, struct bridge_link *out)
{
	struct bridge_link link = {};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETLINK, 0);
	int err;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	if (strlen(ifname) >= IF_NAMESIZE)
		return -ENODEV;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	err = nl_request(nl, nlh, save_link, &link);
	if (err)
		return err;
	if (!link.bridge)
		return -ENODEV;
	*out = link;
	return 0;
}

/* The forwarding database. */

int bridge_fdb_parse(const struct nlmsghdr *nlh, struct bridge_fdb *out)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct bridge_fdb fdb = {};
	const struct nlattr *attr;
	bool has_mac = false;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ndm) || ndm->ndm_family != AF_BRIDGE)
		return -EPROTO;
	fdb.ifindex = (uint32_t)ndm->ndm_ifindex;
	fdb.local = ndm->ndm_state & NUD_PERMANENT;
	mnl_attr_for_each (attr, nlh, sizeof(*ndm)) {
		if (is_attr(attr, NDA_MASTER, sizeof(uint32_t)))
			fdb.master = mnl_attr_get_u32(attr);
		if (!is_attr(attr, NDA_LLADDR, MAC_BYTES))
			continue;
		has_mac = true;
		memcpy(fdb.mac, mnl_attr_get_payload(attr), MAC_BYTES);
	}
	/* Without a master it is a device's own filter or a VXLAN entry. */
	if (!has_mac || !fdb.master)
		return -EPROTO;
	*out = fdb;
	return 0;
}

static int save_fdb(const struct nlmsghdr *nlh, void *arg)
{
	return bridge_fdb_parse(nlh, arg);
}

int bridge_fdb_get(struct nl *nl, uint32_t bridge, const uint8_t mac[6], struct bridge_fdb *out)
{
	struct bridge_fdb fdb = {};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETNEIGH, 0);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));
	int err;

	ndm->ndm_family = AF_BRIDGE;
	mnl_attr_put(nlh, NDA_LLADDR, MAC_BYTES, mac);
	mnl_attr_put_u32(nlh, NDA_MASTER, bridge);
	err = nl_request(nl, nlh, save_fdb, &fdb);
	if (err)
		return err;
	if (!fdb.ifindex)
		return -ENOENT;
	*out = fdb;
	return 0;
}

int bridge_dump(struct nl *nl, uint16_t type, uint8_t family, nl_fn fn, void *arg)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, type, NLM_F_DUMP);
	size_t len = sizeof(struct ndmsg);
	struct rtgenmsg *header;

	if (type == RTM_GETLINK)
		len = sizeof(struct ifinfomsg);
	else if (type == RTM_GETADDR)
		len = sizeof(struct ifaddrmsg);
	/* The family is the first byte of each. */
	header = mnl_nlmsg_put_extra_header(nlh, len);
	header->rtgen_family = family;
	return nl_request(nl, nlh, fn, arg);
}

/* Neighbours. */

static struct nlmsghdr *put_neigh(struct request_buf *buf, uint16_t flags, uint32_t bridge,
				  uint32_t addr)
{
	struct nlmsghdr *nlh = put_header(buf, RTM_NEWNEIGH, flags);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));

	ndm->ndm_family = AF_INET;
	ndm->ndm_ifindex = (int)bridge;
	mnl_attr_put_u32(nlh, NDA_DST, htonl(addr));
	return nlh;
}

int bridge_neigh_use(struct nl *nl, uint32_t bridge, uint32_t addr)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_neigh(&buf, NLM_F_CREATE, bridge, addr);
	struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);

	ndm->ndm_flags = NTF_USE;
	return nl_request(nl, nlh, NULL, NULL);
}

int bridge_neigh_verify(struct nl *nl, uint32_t bridge, uint32_t addr)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_neigh(&buf, 0, bridge, addr);
	struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);

	ndm->ndm_state = NUD_PROBE;
	return nl_request(nl, nlh, NULL, NULL);
}
