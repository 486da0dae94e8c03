/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "aggregator.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

#include "log.h"
#include "rtnl.h"
#include "sysctl.h"
#include "util.h"

/* As large as veth allows: the uplink has checked sizes, and aggregates are not limited by it. */
#define PAIR_MTU 65535

static int name_pair(const char *tun, char tx[IF_NAMESIZE], char rx[IF_NAMESIZE])
{
	if (snprintf(tx, IF_NAMESIZE, "%s-tx", tun) >= IF_NAMESIZE)
		return -ENAMETOOLONG;
	snprintf(rx, IF_NAMESIZE, "%s-rx", tun);
	return 0;
}

static int ethtool(const char *name, void *command)
{
	_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_data = command};

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return ioctl(fd, SIOCETHTOOL, &ifr) ? -errno : 0;
}

/*
 * One queue of the pair for each of the uplink's keeps CPUs apart; more would only cost time, as a
 * device with one queue needs no choice. A driver that does not tell has one per CPU.
 */
static uint32_t queues_for(const char *uplink)
{
	struct ethtool_channels have = {.cmd = ETHTOOL_GCHANNELS};
	uint32_t cpus = (uint32_t)get_nprocs(), n = cpus;

	if (ethtool(uplink, &have) == 0 && have.rx_count + have.combined_count)
		n = have.rx_count + have.combined_count;
	return n < cpus ? n : cpus;
}

static void put_end(struct nlmsghdr *nlh, const char *name, uint32_t queues)
{
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(nlh, IFLA_MTU, PAIR_MTU);
	mnl_attr_put_u32(nlh, IFLA_NUM_TX_QUEUES, queues);
	mnl_attr_put_u32(nlh, IFLA_NUM_RX_QUEUES, queues);
}

static int create_pair(struct nl *nl, const char *tx, const char *rx, uint32_t queues)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nlattr *info, *data, *peer;

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	put_end(nlh, tx, queues);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	put_end(nlh, rx, queues);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return nl_request(nl, nlh, NULL, NULL);
}

static int set_offload(const char *name, uint32_t command, uint32_t on)
{
	struct ethtool_value value = {.cmd = command, .data = on};

	return ethtool(name, &value);
}

/*
 * Kernels since 5.13 have GRO on a veth without XDP, and make the pair with GRO off; before it is
 * on and means nothing.
 */
static bool can_merge(const char *new_rx)
{
	struct ethtool_value value = {.cmd = ETHTOOL_GGRO};

	return ethtool(new_rx, &value) == 0 && !value.data;
}

static int configure_pair(struct nl *nl, const char *tx, const char *rx, struct aggregator *out)
{
	struct rtnl_link near, far;
	int err = rtnl_link_get(nl, 0, tx, &near);

	if (err == 0)
		err = rtnl_link_get(nl, 0, rx, &far);
	if (err == 0) {
		sysctl_disable_ipv6(tx);
		sysctl_disable_ipv6(rx);
		err = set_offload(tx, ETHTOOL_STSO, 0);
	}
	if (err == 0)
		err = set_offload(rx, ETHTOOL_SGRO, 1);
	if (err == 0)
		err = rtnl_link_set_up(nl, near.ifindex);
	if (err == 0)
		err = rtnl_link_set_up(nl, far.ifindex);
	if (err)
		return err;
	out->tx_ifindex = near.ifindex;
	out->rx_ifindex = far.ifindex;
	memcpy(out->rx_mac, far.mac, sizeof(out->rx_mac));
	return 0;
}

int aggregator_open(struct nl *nl, const char *tun, const char *uplink, struct aggregator *out)
{
	char tx[IF_NAMESIZE], rx[IF_NAMESIZE];
	int err = name_pair(tun, tx, rx);

	if (err)
		return err;
	err = create_pair(nl, tx, rx, queues_for(uplink));
	if (err && err != -EEXIST)
		return err;
	if (err == 0 && !can_merge(rx)) {
		aggregator_delete(nl, tun);
		return -EOPNOTSUPP;
	}
	return configure_pair(nl, tx, rx, out);
}

int aggregator_delete(struct nl *nl, const char *tun)
{
	char tx[IF_NAMESIZE], rx[IF_NAMESIZE];

	return name_pair(tun, tx, rx) ? 0 : rtnl_link_delete(nl, tx);
}
