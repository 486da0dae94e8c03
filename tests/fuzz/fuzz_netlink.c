/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers and events of rtnetlink. The first byte is the question; then come datagrams: flags, a
 * length of two bytes, and the messages. Whatever the kernel says, nothing behind a message is
 * read, names end, and what is refused leaves its output as it was.
 */
#include "fuzz.h"

#include <errno.h>

/* The kernel is the input. */
#define mnl_socket_open2 fuzz_open2
#define mnl_socket_bind fuzz_bind
#define mnl_socket_setsockopt fuzz_setsockopt
#define mnl_socket_sendto fuzz_sendto
#define mnl_socket_get_fd fuzz_get_fd
#define mnl_socket_close fuzz_close
#define recvmsg fuzz_recvmsg
#include "netlink.c"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

#include "bridge.h"
#include "link.h"
#include "overlay_dev.h"
#include "rtnl.h"
#include "sysctl.h"
#include "vxlan_dev.h"

enum flags { FROM_OTHERS = 1, CUT = 2, LOST = 4, INTERRUPTED = 8, FOREIGN = 16 };

static struct input answers;
static uint32_t seq;
static void *poisoned;
static size_t n_poisoned;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

struct mnl_socket *fuzz_open2(int bus, int flags)
{
	(void)bus;
	(void)flags;
	return (void *)&answers;
}

int fuzz_bind(struct mnl_socket *nl, unsigned int groups, pid_t pid)
{
	(void)nl;
	(void)groups;
	(void)pid;
	return 0;
}

int fuzz_setsockopt(const struct mnl_socket *nl, int type, void *buf, socklen_t len)
{
	(void)nl;
	(void)type;
	(void)buf;
	(void)len;
	return 0;
}

/* A request is whole, too. */
ssize_t fuzz_sendto(const struct mnl_socket *nl, const void *req, size_t size)
{
	const struct nlmsghdr *nlh = req;

	(void)nl;
	CHECK(mnl_nlmsg_ok(nlh, (int)size) && size == nlh->nlmsg_len);
	seq = nlh->nlmsg_seq;
	return (ssize_t)size;
}

int fuzz_get_fd(const struct mnl_socket *nl)
{
	(void)nl;
	return -1;
}

int fuzz_close(struct mnl_socket *nl)
{
	(void)nl;
	return 0;
}

/* In place of sysctl.c: what is written there is of no interest, and not ours to write. */
void sysctl_disable_ipv6(const char *ifname)
{
	CHECK(strlen(ifname) < IF_NAMESIZE);
}

/* The number of the request that it answers; no input would have it. */
static void put_seq(char *data, size_t len)
{
	struct nlmsghdr *nlh = (void *)data;
	int left = (int)len;

	for (; nl_is_message(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		nlh->nlmsg_seq = seq;
}

static ssize_t deliver(struct iovec *iov, uint8_t flags)
{
	size_t len = take16(&answers);
	_free_ char *data = (char *)take_copy(&answers, &len);

	if (!(flags & FOREIGN))
		put_seq(data, len);
	memcpy(iov->iov_base, data, len);
	poisoned = (char *)iov->iov_base + len;
	n_poisoned = iov->iov_len - len;
	ASAN_POISON_MEMORY_REGION(poisoned, n_poisoned);
	return (ssize_t)len;
}

ssize_t fuzz_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct sockaddr_nl *from = msg->msg_name;
	uint8_t how;

	(void)fd;
	ASAN_UNPOISON_MEMORY_REGION(poisoned, n_poisoned);
	n_poisoned = 0;
	if (!answers.left) {
		errno = flags & MSG_DONTWAIT ? EAGAIN : ENODATA;
		return -1;
	}
	how = take8(&answers);
	if (how & (LOST | INTERRUPTED)) {
		errno = how & LOST ? ENOBUFS : EINTR;
		return -1;
	}
	from->nl_pid = how & FROM_OTHERS;
	msg->msg_flags = how & CUT ? MSG_TRUNC : 0;
	return deliver(msg->msg_iov, how);
}

static bool is_untouched(const void *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((const uint8_t *)out)[i] != 0xa5)
			return false;
	return true;
}

#define CHECK_OUT(err, out) CHECK((err) <= 0 && (!(err) || is_untouched(&(out), sizeof(out))))
#define IS_NAME(name) (strnlen(name, sizeof(name)) < sizeof(name))

/* Events */

static void check_range(const struct nlmsghdr *nlh)
{
	uint32_t first = 1, last = 0;
	int err = rtnl_route_range(nlh, &first, &last);

	CHECK(err == 0 || err == -EPROTO);
	CHECK(err ? first == 1 && last == 0 : first <= last);
}

static int take_event(const struct nlmsghdr *nlh, void *arg)
{
	struct rtnl_link link;
	struct rtnl_neigh neigh;
	struct bridge_link port;
	struct bridge_fdb fdb;
	int err;

	memset(&link, 0xa5, sizeof(link));
	memset(&neigh, 0xa5, sizeof(neigh));
	memset(&port, 0xa5, sizeof(port));
	memset(&fdb, 0xa5, sizeof(fdb));
	err = rtnl_link_parse(nlh, &link);
	CHECK_OUT(err, link);
	CHECK(err || (IS_NAME(link.ifname) && (!link.up || nlh->nlmsg_type == RTM_NEWLINK)));
	err = rtnl_neigh_parse(nlh, &neigh);
	CHECK_OUT(err, neigh);
	err = bridge_link_parse(nlh, &port);
	CHECK_OUT(err, port);
	CHECK(err || IS_NAME(port.ifname));
	err = bridge_fdb_parse(nlh, &fdb);
	CHECK_OUT(err, fdb);
	CHECK(err || fdb.master);
	check_range(nlh);
	++*(unsigned int *)arg;
	return nlh->nlmsg_type == RTM_DELNEIGH ? -ECANCELED : 0;
}

static void ask_events(struct nl *nl)
{
	unsigned int n = 0;
	bool overrun;
	int err = nl_receive(nl, take_event, &n, &overrun);

	CHECK(err == 0 || (err == -ECANCELED && n));
}

/* Questions */

static void ask_link(struct nl *nl)
{
	struct rtnl_link link;
	int err;

	memset(&link, 0xa5, sizeof(link));
	err = rtnl_link_get(nl, 0, "eth0", &link);
	CHECK_OUT(err, link);
	CHECK(err || IS_NAME(link.ifname));
	rtnl_link_set_up(nl, 3);
	CHECK(rtnl_link_delete(nl, "eth0") != -ENODEV);
}

static void ask_links(struct nl *nl)
{
	struct rtnl_link *links = NULL;
	size_t n = 77;

	if (rtnl_link_dump(nl, &links, &n)) {
		CHECK(!links && n == 77);
		return;
	}
	for (size_t i = 0; i < n; i++)
		CHECK(IS_NAME(links[i].ifname));
	free(links);
}

static void ask_addresses(struct nl *nl)
{
	struct rtnl_addr *addrs = NULL;
	size_t n = 77;

	if (rtnl_addr_dump(nl, &addrs, &n))
		CHECK(!addrs && n == 77);
	free(addrs);
}

static void ask_route(struct nl *nl)
{
	struct rtnl_route route;
	uint32_t ifindex = 0xa5a5a5a5;
	int err;

	memset(&route, 0xa5, sizeof(route));
	err = rtnl_route_lookup(nl, 0xc0000202, 0xc0000201, &route);
	CHECK_OUT(err, route);
	err = rtnl_default_route(nl, &ifindex);
	CHECK_OUT(err, ifindex);
	CHECK(err || ifindex);
}

static void ask_neighbour(struct nl *nl)
{
	struct rtnl_neigh neigh;
	int err;

	memset(&neigh, 0xa5, sizeof(neigh));
	err = rtnl_neigh_get(nl, 3, 0xc0000202, &neigh);
	CHECK_OUT(err, neigh);
	rtnl_neigh_use(nl, 3, 0xc0000202, true);
	rtnl_neigh_delete(nl, 3, 0xc0000202);
}

static void ask_bridge(struct nl *nl)
{
	static const uint8_t mac[6] = {2};
	struct bridge_link link;
	struct bridge_fdb fdb;
	int err;

	memset(&link, 0xa5, sizeof(link));
	memset(&fdb, 0xa5, sizeof(fdb));
	err = bridge_link_get(nl, "cni0", &link);
	CHECK_OUT(err, link);
	CHECK(err || (link.bridge && IS_NAME(link.ifname)));
	err = bridge_fdb_get(nl, 4, mac, &fdb);
	CHECK_OUT(err, fdb);
	bridge_neigh_use(nl, 4, 0x0af40102);
	bridge_neigh_verify(nl, 4, 0x0af40102);
}

static void ask_dump(struct nl *nl)
{
	unsigned int n = 0;

	bridge_dump(nl, RTM_GETNEIGH, AF_BRIDGE, take_event, &n);
}

static void ask_veth(struct nl *nl)
{
	link_peer_is_elsewhere(nl, 7);
}

static void ask_vxlan(struct nl *nl)
{
	static const uint8_t mac[6] = {2};
	uint32_t ifindex = 0xa5a5a5a5;
	int err = vxlan_dev_open(nl, "flannel0", 8472, mac, &ifindex);

	CHECK_OUT(err, ifindex);
	vxlan_dev_delete(nl, "flannel0");
}

static void ask_overlay(struct nl *nl)
{
	const struct overlay_dev dev = {.ifindex = 5, .ifname = "flannel0"};
	bool changed;

	(void)nl;
	overlay_dev_configure(&dev, (struct prefix4){0x0af40000, 16},
			      (struct prefix4){0x0af40100, 24}, 1472, &changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const questions[])(struct nl *) = {
		ask_events, ask_link, ask_links, ask_addresses, ask_route,  ask_neighbour,
		ask_bridge, ask_dump, ask_veth,	 ask_vxlan,	ask_overlay};
	struct nl *nl;
	uint8_t which;

	answers = (struct input){data, size};
	which = take8(&answers);
	CHECK(nl_open(1, &nl) == 0);
	questions[which % ARRAY_SIZE(questions)](nl);
	ASAN_UNPOISON_MEMORY_REGION(poisoned, n_poisoned);
	n_poisoned = 0;
	nl_close(nl);
	return 0;
}
