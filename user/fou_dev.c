/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "fou_dev.h"
#include "rtnl.h" /* net/if.h must come before linux/if.h */

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fou.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "rtnl_msg.h"
#include "sysctl.h"

/* Generic netlink, and the number that the kernel gave to FOU's part of it. */
struct fou {
	struct nl *nl;
	uint16_t family;
};

static struct nlmsghdr *put_command(struct request_buf *buf, uint16_t family, uint8_t command,
				    uint16_t flags)
{
	struct nlmsghdr *nlh = put_header(buf, family, flags);
	struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));

	genl->cmd = command;
	genl->version = FOU_GENL_VERSION;
	return nlh;
}

static int read_family(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr;

	mnl_attr_for_each (attr, nlh, sizeof(struct genlmsghdr))
		if (is_attr(attr, CTRL_ATTR_FAMILY_ID, sizeof(uint16_t)))
			*(uint16_t *)arg = mnl_attr_get_u16(attr);
	return 0;
}

static void close_fou(struct fou *fou)
{
	nl_close(fou->nl);
}
#define _fou_ __attribute__((cleanup(close_fou)))

/* -ENOENT: there is none, or its module has not been loaded, for which it has no alias. */
static int open_fou(struct fou *fou)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_command(&buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
	int err = nl_open_generic(&fou->nl);

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, FOU_GENL_NAME);
	return err ? err : nl_request(fou->nl, nlh, read_family, &fou->family);
}

/*
 * FOU_CMD_ADD or FOU_CMD_DEL of a port of ours: nothing but IPv4 behind UDP. At all addresses, as
 * that of a VXLAN device: before 6.9 the kernel looks for the socket of what it has merged by the
 * inner address, and would not find one that is bound (udp_gro_complete(), commit 5ef31ea5d053).
 */
static int change_port(const struct fou *fou, uint8_t command, uint16_t port)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_command(&buf, fou->family, command, 0);

	mnl_attr_put_u8(nlh, FOU_ATTR_AF, AF_INET);
	mnl_attr_put_u16(nlh, FOU_ATTR_PORT, htons(port));
	if (command == FOU_CMD_ADD) {
		mnl_attr_put_u8(nlh, FOU_ATTR_IPPROTO, IPPROTO_IPIP);
		mnl_attr_put_u8(nlh, FOU_ATTR_TYPE, FOU_ENCAP_DIRECT);
	}
	return nl_request(fou->nl, nlh, NULL, NULL);
}

/* A port in the kernel's list. */
struct fou_port {
	uint16_t port; /* host byte order */
	bool found; /* with nothing but IPv4 behind UDP */
};

static int match_port(const struct nlmsghdr *nlh, void *arg)
{
	bool same = false, plain = false;
	struct fou_port *wanted = arg;
	const struct nlattr *attr;

	mnl_attr_for_each (attr, nlh, sizeof(struct genlmsghdr)) {
		if (is_attr(attr, FOU_ATTR_PORT, sizeof(uint16_t)))
			same = ntohs(mnl_attr_get_u16(attr)) == wanted->port;
		else if (is_attr(attr, FOU_ATTR_IPPROTO, sizeof(uint8_t)))
			plain = mnl_attr_get_u8(attr) == IPPROTO_IPIP;
	}
	wanted->found |= same && plain;
	return 0;
}

static bool has_port(const struct fou *fou, uint16_t port)
{
	struct fou_port wanted = {.port = port};
	struct request_buf buf;
	struct nlmsghdr *nlh = put_command(&buf, fou->family, FOU_CMD_GET, NLM_F_DUMP);

	return nl_request(fou->nl, nlh, match_port, &wanted) == 0 && wanted.found;
}

static int release_port(uint16_t port)
{
	_fou_ struct fou fou = {};
	int err = open_fou(&fou);

	if (err || !has_port(&fou, port))
		return err == -ENOENT ? 0 : err;
	return change_port(&fou, FOU_CMD_DEL, port);
}

static int name_device(const char *tun, char name[IF_NAMESIZE])
{
	return snprintf(name, IF_NAMESIZE, "%s-fou", tun) >= IF_NAMESIZE ? -ENAMETOOLONG : 0;
}

/* It sends nothing: the port of what it would send is where an agent after us reads which it is. */
static int create(struct nl *nl, const char *name, uint16_t port)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "ipip");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put(nlh, IFLA_IPTUN_COLLECT_METADATA, 0, NULL);
	mnl_attr_put_u16(nlh, IFLA_IPTUN_ENCAP_TYPE, TUNNEL_ENCAP_NONE);
	mnl_attr_put_u16(nlh, IFLA_IPTUN_ENCAP_DPORT, htons(port));
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return nl_request(nl, nlh, NULL, NULL);
}

/*
 * Before 5.14 (7ad136fd288c) an ipip device hands on what it received without saying that the outer
 * headers are gone: a program at its ingress would see them, and judge the wrong addresses.
 */
static bool device_resets_header(void)
{
	unsigned int major, minor;
	struct utsname kernel;

	return uname(&kernel) == 0 && sscanf(kernel.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 5 || (major == 5 && minor >= 14));
}

static int check_kernel(void)
{
	_fou_ struct fou fou = {};

	return device_resets_header() ? open_fou(&fou) : -EOPNOTSUPP;
}

int fou_dev_open(struct nl *nl, const char *tun, uint16_t port, uint32_t *ifindex)
{
	char name[IF_NAMESIZE];
	struct rtnl_link link;
	int err = name_device(tun, name);

	if (err == 0)
		err = check_kernel();
	if (err == 0 && rtnl_link_port(nl, name, IFLA_IPTUN_ENCAP_DPORT) != port)
		err = fou_dev_delete(nl, tun, 0);
	if (err == 0 && rtnl_link_get(nl, 0, name, &link) == -ENODEV)
		err = create(nl, name, port);
	if (err == 0)
		err = rtnl_link_get(nl, 0, name, &link);
	if (err == 0) {
		sysctl_disable_ipv6(name);
		*ifindex = link.ifindex;
	}
	return err;
}

int fou_dev_start(struct nl *nl, uint32_t ifindex, uint16_t port)
{
	_fou_ struct fou fou = {};
	int err = rtnl_link_set_up(nl, ifindex);

	if (err == 0)
		err = open_fou(&fou);
	return err || has_port(&fou, port) ? err : change_port(&fou, FOU_CMD_ADD, port);
}

int fou_dev_delete(struct nl *nl, const char *tun, uint16_t started)
{
	char name[IF_NAMESIZE];
	uint16_t port;
	int err = 0;

	if (name_device(tun, name))
		return 0;
	port = rtnl_link_port(nl, name, IFLA_IPTUN_ENCAP_DPORT);
	if (port || started)
		err = release_port(port ? port : started);
	return err ? err : rtnl_link_delete(nl, name);
}
