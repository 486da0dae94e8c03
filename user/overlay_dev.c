/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "overlay_dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "log.h"
#include "netlink.h"
#include "rtnl_msg.h"
#include "sysctl.h"
#include "util.h"

#define TUN_PATH "/dev/net/tun"
/* The kernel gives a TUN device room for 500 packets, one Ethernet device 1000. */
#define TXQUEUELEN 1000
/* Of Linux 6.2; include/uapi/linux/if_tun.h */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
/* How long a device is given to be let go. */
#define BUSY_WAIT_MS 500
#define BUSY_TRIES 25
/* How many left-overs of earlier configurations are removed in one go. */
#define MAX_STALE 16

/* What one device is now. */
struct link_now {
	bool found;
	bool tun; /* IFF_TUN, not IFF_TAP */
	uint32_t ifindex;
	uint32_t flags;
	uint32_t mtu;
	uint32_t txqlen;
	uint32_t queues; /* held by somebody */
};

/* An address of the device as the kernel names it, host byte order. */
struct address {
	uint32_t local;
	uint32_t peer; /* IFA_ADDRESS: equal to local unless point-to-point */
	uint8_t len;
};

/* The wanted state, and what a dump found of it. */
struct survey {
	uint32_t ifindex;
	struct prefix4 network;
	struct prefix4 subnet;
	bool has_address;
	bool has_route;
	size_t n_addresses;
	size_t n_routes;
	struct address addresses[MAX_STALE]; /* to be removed */
	struct prefix4 routes[MAX_STALE]; /* to be removed */
};

struct request {
	char buf[256];
	struct nlmsghdr *nlh;
};

/* Starts a request and returns its zeroed fixed header. */
static void *request_begin(struct request *req, uint16_t type, uint16_t flags, size_t header_len)
{
	req->nlh = mnl_nlmsg_put_header(req->buf);
	req->nlh->nlmsg_type = type;
	req->nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	return mnl_nlmsg_put_extra_header(req->nlh, header_len);
}

/* Links. */

static int take_attrs(const struct nlattr *attr, void *arg)
{
	const struct nlattr **tb = arg;

	/* Each caller's table has this many slots: the largest of IFLA_, IFA_ and RTA_. */
	if (mnl_attr_type_valid(attr, IFLA_MAX) > 0)
		tb[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

static uint32_t get_u32(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) == sizeof(uint32_t) ? mnl_attr_get_u32(attr)
									  : otherwise;
}

/* IFLA_INFO_DATA follows IFLA_INFO_KIND; a kernel that leaves it out has no other TUN kinds. */
static int parse_linkinfo(const struct nlattr *attr, void *arg)
{
	const struct nlattr *sub;
	struct link_now *link = arg;

	if (is_string(attr, IFLA_INFO_KIND))
		link->tun = strcmp(mnl_attr_get_str(attr), "tun") == 0;
	if (mnl_attr_get_type(attr) != IFLA_INFO_DATA || !link->tun)
		return MNL_CB_OK;
	mnl_attr_for_each_nested (sub, attr) {
		if (is_attr(sub, IFLA_TUN_TYPE, sizeof(uint8_t)))
			link->tun = mnl_attr_get_u8(sub) == IFF_TUN;
		else if (is_attr(sub, IFLA_TUN_NUM_QUEUES, sizeof(uint32_t)))
			link->queues = mnl_attr_get_u32(sub);
	}
	return MNL_CB_OK;
}

static int parse_link(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_MAX + 1] = {};
	struct link_now *link = arg;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi))
		return -EPROTO;
	mnl_attr_parse(nlh, sizeof(*ifi), take_attrs, tb);
	link->found = true;
	link->ifindex = (uint32_t)ifi->ifi_index;
	link->flags = ifi->ifi_flags;
	link->mtu = get_u32(tb[IFLA_MTU], 0);
	link->txqlen = get_u32(tb[IFLA_TXQLEN], 0);
	if (tb[IFLA_LINKINFO])
		mnl_attr_parse_nested(tb[IFLA_LINKINFO], parse_linkinfo, link);
	return 0;
}

/* By name, or by index when name is NULL. A device that is not there is no error. */
static int get_link(struct nl *nl, const char *name, uint32_t ifindex, struct link_now *out)
{
	struct request req;
	struct ifinfomsg *ifi = request_begin(&req, RTM_GETLINK, 0, sizeof(*ifi));
	struct link_now link = {};
	int err;

	ifi->ifi_index = (int)ifindex;
	if (name)
		mnl_attr_put_strz(req.nlh, IFLA_IFNAME, name);
	err = nl_request(nl, req.nlh, parse_link, &link);
	if (err && err != -ENODEV)
		return err;
	*out = link;
	return 0;
}

static int set_link(struct nl *nl, uint32_t ifindex, uint32_t mtu, bool *changed)
{
	struct link_now now;
	struct request req;
	struct ifinfomsg *ifi;
	int err = get_link(nl, NULL, ifindex, &now);

	if (err)
		return err;
	if (!now.found)
		return -ENODEV;
	if (now.mtu == mtu && now.flags & IFF_UP && now.txqlen >= TXQUEUELEN)
		return 0;
	ifi = request_begin(&req, RTM_SETLINK, 0, sizeof(*ifi));
	ifi->ifi_index = (int)ifindex;
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	if (now.mtu != mtu)
		mnl_attr_put_u32(req.nlh, IFLA_MTU, mtu);
	if (now.txqlen < TXQUEUELEN)
		mnl_attr_put_u32(req.nlh, IFLA_TXQLEN, TXQUEUELEN);
	*changed = true;
	return nl_request(nl, req.nlh, NULL, NULL);
}

/* Address and route. */

static uint32_t get_ip4(const struct nlattr *attr)
{
	return ntohl(get_u32(attr, 0));
}

static void put_ip4(struct nlmsghdr *nlh, uint16_t type, uint32_t addr)
{
	mnl_attr_put_u32(nlh, type, htonl(addr));
}

static void mark_address(struct survey *s, const struct address *addr)
{
	if (s->n_addresses < MAX_STALE)
		s->addresses[s->n_addresses++] = *addr;
}

static int survey_address(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_MAX + 1] = {};
	struct survey *s = arg;
	struct address addr = {};

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifa) || ifa->ifa_family != AF_INET ||
	    ifa->ifa_index != s->ifindex)
		return 0;
	addr.len = ifa->ifa_prefixlen;
	mnl_attr_parse(nlh, sizeof(*ifa), take_attrs, tb);
	addr.local = get_ip4(tb[IFA_LOCAL]);
	addr.peer = get_ip4(tb[IFA_ADDRESS]);
	if (addr.local == s->subnet.addr && addr.peer == addr.local && addr.len == 32)
		s->has_address = true;
	else if (prefix4_contains(s->network, addr.local))
		mark_address(s, &addr);
	return 0;
}

/* Only what configure() makes looks so; a route that somebody else put on the device does not. */
static bool is_own_route(const struct rtmsg *rtm, const struct nlattr **tb, uint32_t ifindex)
{
	uint32_t table = get_u32(tb[RTA_TABLE], rtm->rtm_table);
	struct prefix4 dst = {get_ip4(tb[RTA_DST]), rtm->rtm_dst_len};

	return table == RT_TABLE_MAIN && rtm->rtm_type == RTN_UNICAST && rtm->rtm_tos == 0 &&
	       rtm->rtm_protocol == RTPROT_STATIC && rtm->rtm_scope == RT_SCOPE_UNIVERSE &&
	       get_u32(tb[RTA_OIF], 0) == ifindex && dst.len <= 32 &&
	       (!tb[RTA_PREFSRC] || prefix4_contains(dst, get_ip4(tb[RTA_PREFSRC]))) &&
	       !tb[RTA_PRIORITY] && !tb[RTA_GATEWAY] && !tb[RTA_VIA] && !tb[RTA_METRICS];
}

static int survey_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_MAX + 1] = {};
	struct survey *s = arg;
	struct address src = {.len = 32};
	struct prefix4 dst;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) || rtm->rtm_family != AF_INET)
		return 0;
	mnl_attr_parse(nlh, sizeof(*rtm), take_attrs, tb);
	if (!is_own_route(rtm, tb, s->ifindex))
		return 0;
	dst = (struct prefix4){get_ip4(tb[RTA_DST]), rtm->rtm_dst_len};
	src.local = src.peer = get_ip4(tb[RTA_PREFSRC]);
	if (dst.addr == s->network.addr && dst.len == s->network.len) {
		/* Without a source: see add_route() */
		s->has_route = !tb[RTA_PREFSRC] || src.local == s->subnet.addr;
		return 0;
	}
	if (!tb[RTA_PREFSRC])
		return 0;
	/* The network itself has changed: this is the former one, with the former address. */
	if (s->n_routes < MAX_STALE)
		s->routes[s->n_routes++] = dst;
	if (src.local != s->subnet.addr && !prefix4_contains(s->network, src.local))
		mark_address(s, &src);
	return 0;
}

static int survey(struct nl *nl, struct survey *s)
{
	struct request req;
	struct ifaddrmsg *ifa = request_begin(&req, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa));
	struct rtmsg *rtm;
	int err;

	s->has_address = s->has_route = false;
	s->n_addresses = s->n_routes = 0;
	ifa->ifa_family = AF_INET;
	err = nl_request(nl, req.nlh, survey_address, s);
	if (err)
		return err;
	rtm = request_begin(&req, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm));
	rtm->rtm_family = AF_INET;
	return nl_request(nl, req.nlh, survey_route, s);
}

static int change_address(struct nl *nl, uint16_t type, uint32_t ifindex,
			  const struct address *addr)
{
	struct request req;
	struct ifaddrmsg *ifa = request_begin(
		&req, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = addr->len;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	ifa->ifa_index = ifindex;
	put_ip4(req.nlh, IFA_LOCAL, addr->local);
	put_ip4(req.nlh, IFA_ADDRESS, addr->peer);
	return nl_request(nl, req.nlh, NULL, NULL);
}

/* prefsrc 0: none, or any (deletion). */
static int change_route(struct nl *nl, uint16_t type, uint32_t ifindex, struct prefix4 dst,
			uint32_t prefsrc)
{
	struct request req;
	struct rtmsg *rtm = request_begin(
		&req, type, type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(*rtm));

	rtm->rtm_family = AF_INET;
	rtm->rtm_dst_len = dst.len;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_UNICAST;
	put_ip4(req.nlh, RTA_DST, dst.addr);
	mnl_attr_put_u32(req.nlh, RTA_OIF, ifindex);
	if (prefsrc)
		put_ip4(req.nlh, RTA_PREFSRC, prefsrc);
	return nl_request(nl, req.nlh, NULL, NULL);
}

/*
 * Before Linux 5.14 the subnet's base is a broadcast address where a bridge has the subnet, and no
 * route takes it for its source. The device has no other address, so it is the source all the same.
 */
static int add_route(struct nl *nl, const struct survey *s)
{
	int err = change_route(nl, RTM_NEWROUTE, s->ifindex, s->network, s->subnet.addr);

	return err == -EINVAL ? change_route(nl, RTM_NEWROUTE, s->ifindex, s->network, 0) : err;
}

/* Gone already is as good as removed. */
static int remove_stale(struct nl *nl, const struct survey *s)
{
	int err;

	for (size_t i = 0; i < s->n_routes; i++) {
		err = change_route(nl, RTM_DELROUTE, s->ifindex, s->routes[i], 0);
		if (err && err != -ESRCH)
			return err;
	}
	for (size_t i = 0; i < s->n_addresses; i++) {
		err = change_address(nl, RTM_DELADDR, s->ifindex, &s->addresses[i]);
		if (err && err != -EADDRNOTAVAIL)
			return err;
	}
	return 0;
}

/*
 * The new address and route come before the old address goes: with its address the kernel would
 * remove the old route too, and for a moment there would be none.
 */
static int configure(struct nl *nl, struct survey *s, uint32_t mtu, bool *changed)
{
	const struct address own = {s->subnet.addr, s->subnet.addr, 32};
	size_t full = MAX_STALE;
	int err = set_link(nl, s->ifindex, mtu, changed);

	while (err == 0 && full == MAX_STALE) {
		err = survey(nl, s);
		if (err == 0 && !s->has_address)
			err = change_address(nl, RTM_NEWADDR, s->ifindex, &own);
		if (err == 0 && !s->has_route)
			err = add_route(nl, s);
		if (err == 0)
			err = remove_stale(nl, s);
		full = s->n_addresses > s->n_routes ? s->n_addresses : s->n_routes;
		*changed |= !s->has_address || !s->has_route || full;
	}
	return err;
}

int overlay_dev_configure(const struct overlay_dev *dev, struct prefix4 network,
			  struct prefix4 subnet, uint32_t mtu, bool *changed)
{
	struct survey s = {.ifindex = dev->ifindex, .network = network, .subnet = subnet};
	struct nl *nl;
	int err = nl_open(0, &nl);

	*changed = false;
	if (err)
		return log_err(err, "%s: no netlink", dev->ifname);
	err = configure(nl, &s, mtu, changed);
	nl_close(nl);
	return err ? log_err(err, "%s: cannot configure", dev->ifname) : 0;
}

/* The device. */

/* A pattern such as tun%d, or nothing, would make the kernel choose a name of its own. */
static bool is_plain_name(const char *name)
{
	return name[0] && strlen(name) < IFNAMSIZ && !strpbrk(name, "%/");
}

static int find_by_name(const char *name, struct link_now *link)
{
	struct nl *nl;
	int err;

	if (!is_plain_name(name))
		return -EINVAL;
	err = nl_open(0, &nl);
	if (err)
		return err;
	err = get_link(nl, name, 0, link);
	nl_close(nl);
	if (err == 0 && link->found && !link->tun)
		return -EEXIST;
	return err;
}

/* flags: IFF_VNET_HDR, IFF_MULTI_QUEUE or none. */
static int tun_attach(const char *name, int flags, int *out)
{
	_close_ int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC);
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | flags)};

	if (fd < 0)
		return log_err(-errno, "%s", TUN_PATH);
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	*out = take_fd(&fd);
	return 0;
}

/* A device keeps for life whether it has one queue or many. */
static int attach_first(const char *name, int *flags, int *out)
{
	int err = tun_attach(name, *flags | IFF_MULTI_QUEUE, out);

	if (err == 0)
		*flags |= IFF_MULTI_QUEUE;
	return err == -EINVAL ? tun_attach(name, *flags, out) : err;
}

static void attach_more(struct overlay_dev *dev, int flags, size_t n)
{
	int err = flags & IFF_MULTI_QUEUE ? 0 : -EOPNOTSUPP;

	while (err == 0 && dev->n_queues < n) {
		err = tun_attach(dev->ifname, flags, &dev->queues[dev->n_queues]);
		dev->n_queues += err == 0;
	}
	if (err && n > 1)
		log_info("%s: %zu of %zu queues: %s", dev->ifname, dev->n_queues, n,
			 strerror(-err));
}

/* What a former owner asked for must not last either. */
static void set_offloads(struct overlay_dev *dev)
{
	const unsigned long basic = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN;
	int fd = dev->queues[0];

	if (dev->vnet && ioctl(fd, TUNSETOFFLOAD, basic | TUN_F_USO4 | TUN_F_USO6) == 0) {
		dev->tso = dev->uso = true;
	} else if (dev->vnet && ioctl(fd, TUNSETOFFLOAD, basic) == 0) {
		dev->tso = true;
		log_info("%s: no UDP segmentation offload: %s", dev->ifname, strerror(errno));
	} else {
		if (dev->vnet)
			log_info("%s: no segmentation offload: %s", dev->ifname, strerror(errno));
		ioctl(fd, TUNSETOFFLOAD, 0UL);
	}
}

static int open_queues(struct overlay_dev *dev, size_t n, bool offloads)
{
	unsigned int features = 0;
	int flags, err;
	_close_ int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && offloads)
		ioctl(fd, TUNGETFEATURES, &features);
	flags = (int)features & IFF_VNET_HDR;
	dev->vnet = flags;
	if (offloads && !dev->vnet)
		log_info("%s: no offloads in this kernel", dev->ifname);
	err = attach_first(dev->ifname, &flags, &dev->queues[0]);
	if (err)
		return err;
	dev->n_queues = 1;
	attach_more(dev, flags, n);
	set_offloads(dev);
	return ioctl(dev->queues[0], TUNSETPERSIST, 1) < 0 ? -errno : 0;
}

/* A device of many queues lets others in; its last owner may be on its way out still. */
static int find_free(const char *name, struct link_now *link)
{
	const struct timespec pause = {.tv_nsec = BUSY_WAIT_MS * 1000000L / BUSY_TRIES};
	int err = find_by_name(name, link);

	for (int i = 0; i < BUSY_TRIES && err == 0 && link->queues; i++) {
		nanosleep(&pause, NULL);
		err = find_by_name(name, link);
	}
	return err == 0 && link->queues ? -EBUSY : err;
}

int overlay_dev_open(const char *name, size_t n_queues, bool offloads, struct overlay_dev *out)
{
	struct overlay_dev dev = {0};
	struct link_now link;
	int err = find_free(name, &link);

	if (err)
		return err;
	memcpy(dev.ifname, name, strlen(name));
	err = open_queues(&dev, n_queues, offloads);
	if (err == 0)
		err = find_by_name(name, &link);
	if (err == 0 && !link.found)
		err = -ENODEV;
	if (err) {
		overlay_dev_close(&dev);
		return err;
	}
	sysctl_disable_ipv6(name);
	dev.ifindex = link.ifindex;
	*out = dev;
	return 0;
}

const char *overlay_dev_offloads(const struct overlay_dev *dev)
{
	if (dev->uso)
		return "checksum tso uso";
	return dev->tso ? "checksum tso" : "none";
}

void overlay_dev_close(struct overlay_dev *dev)
{
	for (size_t i = 0; i < dev->n_queues; i++)
		close(dev->queues[i]);
	dev->n_queues = 0;
}

static int delete_link(uint32_t ifindex)
{
	struct request req;
	struct ifinfomsg *ifi = request_begin(&req, RTM_DELLINK, 0, sizeof(*ifi));
	struct nl *nl;
	int err = nl_open(0, &nl);

	if (err)
		return err;
	ifi->ifi_index = (int)ifindex;
	err = nl_request(nl, req.nlh, NULL, NULL);
	nl_close(nl);
	return err == -ENODEV ? 0 : err;
}

int overlay_dev_delete(const char *name)
{
	struct link_now link;
	_close_ int fd = -1;
	int flags = 0, err = find_by_name(name, &link);

	if (err || !link.found)
		return err;
	err = delete_link(link.ifindex);
	if (err != -EOPNOTSUPP)
		return err;
	/* Some kernels do not delete TUN devices by netlink, but all drop one not persistent. */
	err = attach_first(name, &flags, &fd);
	if (err)
		return err;
	return ioctl(fd, TUNSETPERSIST, 0) < 0 ? -errno : 0;
}
