/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "overlay_dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "log.h"
#include "netlink.h"
#include "rtnl.h"
#include "util.h"

#define TUN_PATH "/dev/net/tun"
#define QUEUE_LEN 1000

static int open_queue(const char *name, int *out)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	_close_ int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return log_err(-errno, "%s", TUN_PATH);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr))
		/* The kernel's answer for a device of another kind (drivers/net/tun.c). */
		return errno == EINVAL ? -EEXIST : -errno;
	*out = take_fd(&fd);
	return 0;
}

/* The kernel would send router solicitations that no IPv4 overlay can carry. */
static void disable_ipv6(const char *name)
{
	char path[96];
	_close_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) != 1)
		log_debug("%s: %s", path, strerror(errno));
}

int overlay_dev_open(const char *name, struct overlay_dev *out)
{
	_close_ int fd = -1;
	int err;

	if (strlen(name) >= IF_NAMESIZE)
		return -ENAMETOOLONG;
	err = open_queue(name, &fd);
	if (err)
		return err;
	if (ioctl(fd, TUNSETPERSIST, 1))
		return -errno;
	disable_ipv6(name);
	out->ifindex = if_nametoindex(name);
	snprintf(out->ifname, sizeof(out->ifname), "%s", name);
	out->fd = take_fd(&fd);
	return 0;
}

void overlay_dev_close(struct overlay_dev *dev)
{
	cleanup_close(&dev->fd);
	dev->fd = -1;
}

static struct nlmsghdr *put_addr(char *buf, uint16_t type, uint16_t flags, uint32_t ifindex,
				 uint32_t addr)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 32;
	ifa->ifa_index = ifindex;
	mnl_attr_put_u32(nlh, IFA_LOCAL, htonl(addr));
	mnl_attr_put_u32(nlh, IFA_ADDRESS, htonl(addr));
	return nlh;
}

static int configure_address(struct nl *nl, const struct overlay_dev *dev, struct prefix4 network,
			     struct prefix4 subnet)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	_free_ struct rtnl_addr *all = NULL;
	bool present = false;
	size_t n = 0;
	int err = rtnl_addr_dump(nl, &all, &n);

	for (size_t i = 0; i < n && err == 0; i++) {
		if (all[i].ifindex != dev->ifindex)
			continue;
		if (all[i].addr == subnet.addr)
			present = true;
		else if (prefix4_contains(network, all[i].addr))
			err = nl_request(nl,
					 put_addr(buf, RTM_DELADDR, 0, dev->ifindex, all[i].addr),
					 NULL, NULL);
	}
	if (err || present)
		return err;
	return nl_request(
		nl,
		put_addr(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, dev->ifindex, subnet.addr),
		NULL, NULL);
}

static int configure_link(struct nl *nl, const struct overlay_dev *dev, uint32_t mtu)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = dev->ifindex;
	ifi->ifi_flags = IFF_UP;
	ifi->ifi_change = IFF_UP;
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, QUEUE_LEN);
	return nl_request(nl, nlh, NULL, NULL);
}

/* Replacing an equal route changes nothing that a packet could notice. */
static int configure_route(struct nl *nl, const struct overlay_dev *dev, struct prefix4 network,
			   struct prefix4 subnet)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

	nlh->nlmsg_type = RTM_NEWROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = network.len;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_DST, htonl(network.addr));
	mnl_attr_put_u32(nlh, RTA_OIF, dev->ifindex);
	mnl_attr_put_u32(nlh, RTA_PREFSRC, htonl(subnet.addr));
	return nl_request(nl, nlh, NULL, NULL);
}

int overlay_dev_configure(const struct overlay_dev *dev, struct prefix4 network,
			  struct prefix4 subnet, uint32_t mtu)
{
	struct nl *nl = NULL;
	int err = nl_open(0, &nl);

	if (err)
		return err;
	err = configure_link(nl, dev, mtu);
	if (err == 0)
		err = configure_address(nl, dev, network, subnet);
	if (err == 0)
		err = configure_route(nl, dev, network, subnet);
	nl_close(nl);
	return err ? log_err(err, "%s: cannot configure", dev->ifname) : 0;
}

int overlay_dev_delete(const char *name)
{
	_close_ int fd = -1;
	int err;

	if (if_nametoindex(name) == 0)
		return 0;
	err = open_queue(name, &fd);
	if (err)
		return err;
	/* It goes with its last descriptor. */
	return ioctl(fd, TUNSETPERSIST, 0) ? -errno : 0;
}
