/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rtnl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "rtnl_msg.h"
#include "util.h"

/* linux/neighbour.h before 5.16 */
#ifndef NTF_EXT_MANAGED
#define NTF_EXT_MANAGED (1 << 0)
#define NDA_FLAGS_EXT 15
#endif

static uint32_t get_addr(const struct nlattr *attr)
{
	return ntohl(mnl_attr_get_u32(attr));
}

static void parse_linkinfo(const struct nlattr *info, struct rtnl_link *link)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, info) {
		if (!is_string(attr, IFLA_INFO_SLAVE_KIND))
			continue;
		/* A member of a VRF keeps its addresses and routes. */
		link->port = strcmp(mnl_attr_get_str(attr), "vrf") != 0;
	}
}

static void parse_link_attr(const struct nlattr *attr, struct rtnl_link *link)
{
	if (is_string(attr, IFLA_IFNAME))
		snprintf(link->ifname, sizeof(link->ifname), "%s", mnl_attr_get_str(attr));
	else if (is_attr(attr, IFLA_MTU, sizeof(uint32_t)))
		link->mtu = mnl_attr_get_u32(attr);
	else if (is_attr(attr, IFLA_MASTER, sizeof(uint32_t)))
		link->master = mnl_attr_get_u32(attr);
	else if (is_attr(attr, IFLA_ADDRESS, MAC_BYTES))
		memcpy(link->mac, mnl_attr_get_payload(attr), MAC_BYTES);
	else if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
		parse_linkinfo(attr, link);
}

int rtnl_link_parse(const struct nlmsghdr *nlh, struct rtnl_link *out)
{
	/* Running is the operational state: a port waiting for 802.1X has carrier, yet no use. */
	const unsigned int up = IFF_UP | IFF_LOWER_UP | IFF_RUNNING;
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct rtnl_link link = {};
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi) || ifi->ifi_family != AF_UNSPEC)
		return -EPROTO;
	link.ifindex = (uint32_t)ifi->ifi_index;
	link.up = nlh->nlmsg_type == RTM_NEWLINK && (ifi->ifi_flags & up) == up;
	link.set_down = !(ifi->ifi_flags & IFF_UP);
	link.ethernet = ifi->ifi_type == ARPHRD_ETHER && !(ifi->ifi_flags & IFF_LOOPBACK);
	mnl_attr_for_each (attr, nlh, sizeof(*ifi)) {
		if (mnl_attr_get_type(attr) == IFLA_WIRELESS)
			return -EPROTO; /* a partial message: neither MTU nor address */
		parse_link_attr(attr, &link);
	}
	*out = link;
	return 0;
}

static int save_link(const struct nlmsghdr *nlh, void *arg)
{
	return rtnl_link_parse(nlh, arg);
}

int rtnl_link_get(struct nl *nl, uint32_t ifindex, const char *ifname, struct rtnl_link *out)
{
	struct rtnl_link link = {};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	int err;

	ifi->ifi_index = (int)ifindex;
	if (!ifindex && strlen(ifname) >= IF_NAMESIZE)
		return -ENODEV;
	if (!ifindex)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	err = nl_request(nl, nlh, save_link, &link);
	if (err)
		return err;
	*out = link;
	return 0;
}

struct port_query {
	uint16_t attr;
	uint16_t port;
};

static void read_port(const struct nlattr *info, struct port_query *query)
{
	const struct nlattr *data, *attr;

	mnl_attr_for_each_nested (data, info) {
		if (mnl_attr_get_type(data) != IFLA_INFO_DATA)
			continue;
		mnl_attr_for_each_nested (attr, data)
			if (is_attr(attr, query->attr, sizeof(uint16_t)))
				query->port = ntohs(mnl_attr_get_u16(attr));
	}
}

static int find_port(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each (attr, nlh, sizeof(struct ifinfomsg))
		if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
			read_port(attr, arg);
	return 0;
}

uint16_t rtnl_link_port(struct nl *nl, const char *ifname, uint16_t attr)
{
	struct port_query query = {.attr = attr};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETLINK, 0);

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	return nl_request(nl, nlh, find_port, &query) ? 0 : query.port;
}

int rtnl_link_set_up(struct nl *nl, uint32_t ifindex)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_index = (int)ifindex;
	ifi->ifi_flags = IFF_UP | IFF_NOARP;
	ifi->ifi_change = IFF_UP | IFF_NOARP;
	return nl_request(nl, nlh, NULL, NULL);
}

int rtnl_link_delete(struct nl *nl, const char *ifname)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_DELLINK, 0);
	int err;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	err = nl_request(nl, nlh, NULL, NULL);
	return err == -ENODEV ? 0 : err;
}

/* What a dump has collected: n elements of size bytes. */
struct array {
	void *data;
	size_t n;
	size_t cap;
	size_t size;
};

static void *array_add(struct array *a)
{
	size_t cap = a->cap ? 2 * a->cap : 16;
	void *data;

	if (a->n == a->cap) {
		data = reallocarray(a->data, cap, a->size);
		if (!data)
			return NULL;
		a->data = data;
		a->cap = cap;
	}
	return memset((char *)a->data + a->n++ * a->size, 0, a->size);
}

static int add_link(const struct nlmsghdr *nlh, void *arg)
{
	struct rtnl_link *link = array_add(arg);

	return link ? rtnl_link_parse(nlh, link) : -ENOMEM;
}

static int add_addr(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct rtnl_addr *addr;
	const struct nlattr *attr;
	bool local = false;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifa) || ifa->ifa_family != AF_INET)
		return 0;
	addr = array_add(arg);
	if (!addr)
		return -ENOMEM;
	addr->ifindex = ifa->ifa_index;
	addr->flags = ifa->ifa_flags;
	mnl_attr_for_each (attr, nlh, sizeof(*ifa)) {
		if (is_attr(attr, IFA_FLAGS, sizeof(uint32_t)))
			addr->flags = mnl_attr_get_u32(attr);
		/* IFA_ADDRESS is the other end of a point-to-point link. */
		if (is_attr(attr, IFA_LOCAL, sizeof(uint32_t)) ||
		    (!local && is_attr(attr, IFA_ADDRESS, sizeof(uint32_t)))) {
			local |= mnl_attr_get_type(attr) == IFA_LOCAL;
			addr->addr = get_addr(attr);
		}
	}
	return 0;
}

static int finish_dump(int err, struct array *a, size_t *n)
{
	if (err) {
		free(a->data);
		return err;
	}
	*n = a->n;
	return 0;
}

int rtnl_link_dump(struct nl *nl, struct rtnl_link **out, size_t *n)
{
	struct array a = {.size = sizeof(**out)};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETLINK, NLM_F_DUMP);
	int err;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	err = finish_dump(nl_request(nl, nlh, add_link, &a), &a, n);
	if (!err)
		*out = a.data;
	return err;
}

int rtnl_addr_dump(struct nl *nl, struct rtnl_addr **out, size_t *n)
{
	struct array a = {.size = sizeof(**out)};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	int err;

	ifa->ifa_family = AF_INET;
	err = finish_dump(nl_request(nl, nlh, add_addr, &a), &a, n);
	if (!err)
		*out = a.data;
	return err;
}

static void parse_metrics(const struct nlattr *metrics, struct rtnl_route *route)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, metrics) {
		if (is_attr(attr, RTAX_MTU, sizeof(uint32_t)))
			route->mtu = mnl_attr_get_u32(attr);
	}
}

static int save_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct rtnl_route *route = arg;
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) || rtm->rtm_family != AF_INET)
		return -EPROTO;
	route->unicast = rtm->rtm_type == RTN_UNICAST;
	mnl_attr_for_each (attr, nlh, sizeof(*rtm)) {
		if (is_attr(attr, RTA_OIF, sizeof(uint32_t)))
			route->ifindex = mnl_attr_get_u32(attr);
		else if (is_attr(attr, RTA_GATEWAY, sizeof(uint32_t)))
			route->gateway = get_addr(attr);
		else if (is_attr(attr, RTA_PREFSRC, sizeof(uint32_t)))
			route->prefsrc = get_addr(attr);
		else if (mnl_attr_get_type(attr) == RTA_METRICS)
			parse_metrics(attr, route);
		else if (mnl_attr_get_type(attr) == RTA_VIA)
			route->unicast = false;
	}
	return 0;
}

int rtnl_route_lookup(struct nl *nl, uint32_t dst, uint32_t src, struct rtnl_route *out)
{
	struct rtnl_route route = {.gateway = dst};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETROUTE, 0);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	int err;

	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = 32;
	mnl_attr_put_u32(nlh, RTA_DST, htonl(dst));
	if (src) {
		rtm->rtm_src_len = 32;
		mnl_attr_put_u32(nlh, RTA_SRC, htonl(src));
	}
	err = nl_request(nl, nlh, save_route, &route);
	if (err)
		return err;
	*out = route;
	return 0;
}

struct default_route {
	bool found;
	uint32_t ifindex; /* 0: several */
};

static int find_default(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct default_route *found = arg;
	uint32_t table, ifindex = 0;
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) || found->found)
		return 0;
	if (rtm->rtm_family != AF_INET || rtm->rtm_dst_len || rtm->rtm_type != RTN_UNICAST)
		return 0;
	table = rtm->rtm_table;
	mnl_attr_for_each (attr, nlh, sizeof(*rtm)) {
		if (is_attr(attr, RTA_TABLE, sizeof(uint32_t)))
			table = mnl_attr_get_u32(attr);
		else if (is_attr(attr, RTA_OIF, sizeof(uint32_t)))
			ifindex = mnl_attr_get_u32(attr);
	}
	if (table != RT_TABLE_MAIN)
		return 0;
	found->found = true;
	found->ifindex = ifindex;
	return 0;
}

int rtnl_default_route(struct nl *nl, uint32_t *ifindex)
{
	struct default_route found = {};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	int err;

	rtm->rtm_family = AF_INET;
	err = nl_request(nl, nlh, find_default, &found);
	if (err)
		return err;
	if (!found.found)
		return -ENOENT;
	if (!found.ifindex)
		return -ELOOP;
	*ifindex = found.ifindex;
	return 0;
}

int rtnl_route_range(const struct nlmsghdr *nlh, uint32_t *first, uint32_t *last)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	uint32_t dst = 0, host;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) || rtm->rtm_family != AF_INET ||
	    rtm->rtm_dst_len > 32)
		return -EPROTO;
	mnl_attr_for_each (attr, nlh, sizeof(*rtm)) {
		if (is_attr(attr, RTA_DST, sizeof(uint32_t)))
			dst = get_addr(attr);
	}
	host = rtm->rtm_dst_len ? (1ULL << (32 - rtm->rtm_dst_len)) - 1 : UINT32_MAX;
	*first = dst & ~host;
	*last = dst | host;
	return 0;
}

int rtnl_neigh_parse(const struct nlmsghdr *nlh, struct rtnl_neigh *out)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct rtnl_neigh neigh = {};
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ndm) || ndm->ndm_family != AF_INET)
		return -EPROTO;
	neigh.ifindex = (uint32_t)ndm->ndm_ifindex;
	neigh.state = ndm->ndm_state;
	mnl_attr_for_each (attr, nlh, sizeof(*ndm)) {
		if (is_attr(attr, NDA_DST, sizeof(uint32_t))) {
			neigh.addr = get_addr(attr);
		} else if (is_attr(attr, NDA_LLADDR, MAC_BYTES)) {
			neigh.has_mac = true;
			memcpy(neigh.mac, mnl_attr_get_payload(attr), MAC_BYTES);
		}
	}
	*out = neigh;
	return 0;
}

static struct nlmsghdr *put_neigh(struct request_buf *buf, uint16_t type, uint32_t ifindex,
				  uint32_t addr)
{
	struct nlmsghdr *nlh = put_header(buf, type, 0);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));

	ndm->ndm_family = AF_INET;
	ndm->ndm_ifindex = (int)ifindex;
	mnl_attr_put_u32(nlh, NDA_DST, htonl(addr));
	return nlh;
}

static int save_neigh(const struct nlmsghdr *nlh, void *arg)
{
	return rtnl_neigh_parse(nlh, arg);
}

int rtnl_neigh_get(struct nl *nl, uint32_t ifindex, uint32_t addr, struct rtnl_neigh *out)
{
	struct rtnl_neigh neigh = {};
	struct request_buf buf;
	int err;

	err = nl_request(nl, put_neigh(&buf, RTM_GETNEIGH, ifindex, addr), save_neigh, &neigh);
	if (err)
		return err;
	*out = neigh;
	return 0;
}

int rtnl_neigh_use(struct nl *nl, uint32_t ifindex, uint32_t addr, bool managed)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_neigh(&buf, RTM_NEWNEIGH, ifindex, addr);
	struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);

	ndm->ndm_flags = NTF_USE;
	/* Without the flag an existing entry stops being managed, and a missing one is not made. */
	if (managed) {
		nlh->nlmsg_flags |= NLM_F_CREATE;
		mnl_attr_put_u32(nlh, NDA_FLAGS_EXT, NTF_EXT_MANAGED);
	}
	return nl_request(nl, nlh, NULL, NULL);
}

int rtnl_neigh_delete(struct nl *nl, uint32_t ifindex, uint32_t addr)
{
	struct request_buf buf;

	return nl_request(nl, put_neigh(&buf, RTM_DELNEIGH, ifindex, addr), NULL, NULL);
}
