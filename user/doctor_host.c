/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "conntrack.h"
#include "doctor_priv.h"
#include "format.h"
#include "ipsec.h"
#include "masquerade.h"
#include "nft.h"
#include "sysctl.h"
#include "util.h"

#define RP_STRICT 1

static void check_forwarding(struct doctor *d)
{
	if (sysctl_get("ipv4/ip_forward") == 0)
		doctor_fail(d, "ip_forward", "net.ipv4.ip_forward",
			    "sysctl -w net.ipv4.ip_forward=1, and see who switched it off",
			    "is 0: the host forwards nothing between pods and overlay");
	doctor_done(d, "ip_forward");
}

static bool is_strict(const char *ifname)
{
	char name[64 + IF_NAMESIZE];
	int all = sysctl_get("ipv4/conf/all/rp_filter"), own;

	snprintf(name, sizeof(name), "ipv4/conf/%s/rp_filter", ifname);
	own = sysctl_get(name);
	return (own > all ? own : all) == RP_STRICT;
}

static bool leaves_elsewhere(const struct doctor *d, const struct doctor_peer *peer)
{
	uint32_t ifindex = if_nametoindex(d->uplink);
	struct rtnl_route route;

	return ifindex && rtnl_route_lookup(d->nl, peer->public_ip, 0, &route) == 0 &&
	       route.ifindex != ifindex;
}

static void check_rp_filter(struct doctor *d)
{
	if (is_strict(d->tun))
		doctor_warn(d, "rp_filter", d->tun, "sysctl -w net.ipv4.conf.DEVICE.rp_filter=2",
			    "is strict: what comes through the overlay from addresses that are "
			    "routed elsewhere (clients of a NodePort) is dropped");
	for (size_t i = 0; is_strict(d->uplink) && i < d->n_peers && i < DOCTOR_PEERS; i++)
		if (leaves_elsewhere(d, &d->peers[i]))
			doctor_warn(d, "rp_filter", d->uplink,
				    "sysctl -w net.ipv4.conf.DEVICE.rp_filter=2",
				    "is strict, and %s is routed by another device",
				    doctor_ip(d->peers[i].public_ip));
	doctor_done(d, "rp_filter");
}

static void check_conntrack(struct doctor *d)
{
	const char *approve = json_string_value(json_object_get(d->status, "approve"));

	if (d->bpf && approve && !strcmp(approve, "host") && conntrack_is_strict())
		doctor_warn(d, "conntrack", "net.netfilter.nf_conntrack_tcp_be_liberal",
			    "set it to 1, and see who set it to 0",
			    "is 0: TCP that comes back from the fast path counts as invalid");
	doctor_done(d, "conntrack");
}

static bool has_address(struct doctor *d, uint32_t ifindex, uint32_t addr)
{
	_free_ struct rtnl_addr *all = NULL;
	size_t n = 0;

	if (rtnl_addr_dump(d->nl, &all, &n))
		return true;
	for (size_t i = 0; i < n; i++)
		if (all[i].ifindex == ifindex && all[i].addr == addr)
			return true;
	return false;
}

static bool has_port(struct doctor *d, uint32_t bridge)
{
	_free_ struct rtnl_link *all = NULL;
	size_t n = 0, ports = 0;

	if (rtnl_link_dump(d->nl, &all, &n))
		return true;
	for (size_t i = 0; i < n; i++)
		ports += all[i].master == bridge;
	return ports;
}

/* Where there is no pod there is no port, and no carrier: that is as it should be. */
static void check_bridge(struct doctor *d)
{
	struct rtnl_link link;
	int err = rtnl_link_get(d->nl, 0, d->bridge, &link);

	if (err == -ENODEV)
		doctor_warn(d, "bridge", d->bridge,
			    "start a pod, so that the CNI plugin makes it, or say --bridge",
			    "there is no such bridge");
	else if (err == 0 && d->known && !has_address(d, link.ifindex, d->subnet + 1))
		doctor_warn(d, "bridge", d->bridge,
			    "have the CNI plugin use the subnet that the subnet file names",
			    "lacks the pods' gateway %s", doctor_ip(d->subnet + 1));
	else if (err == 0 && !link.up && (link.set_down || has_port(d, link.ifindex)))
		doctor_warn(d, "bridge", d->bridge, "ip link set DEVICE up",
			    "is down, or has no port that is up");
	doctor_done(d, "bridge");
}

static void check_device(struct doctor *d)
{
	enum weft_format format =
		format_find(json_string_value(json_object_get(d->status, "format")) ?: "udp");
	struct rtnl_link tun, uplink;

	if (rtnl_link_get(d->nl, 0, d->tun, &tun)) {
		doctor_fail(d, "device", d->tun, "restart the agent", "there is no such device");
	} else {
		if (d->mtu && tun.mtu != d->mtu)
			doctor_fail(d, "mtu", d->tun,
				    "ip link set DEVICE mtu N, or restart the agent",
				    "has MTU %u, the agent gave it %u", tun.mtu, d->mtu);
		else if (d->status && rtnl_link_get(d->nl, 0, d->uplink, &uplink) == 0 &&
			 tun.mtu + format_overhead(format) > uplink.mtu)
			doctor_fail(d, "mtu", d->tun, "restart the agent",
				    "has MTU %u: with %u bytes of headers more than the %u of %s",
				    tun.mtu, format_overhead(format), uplink.mtu, d->uplink);
		if (!has_address(d, tun.ifindex, d->subnet))
			doctor_fail(d, "device", d->tun, "restart the agent",
				    "lacks its address %s", doctor_ip(d->subnet));
	}
	doctor_done(d, "device");
}

/* Ports of the pods' bridge; the CNI plugin gives the other end of a veth, in the pod, the same. */
static void check_pods(struct doctor *d)
{
	_free_ struct rtnl_link *all = NULL;
	const struct rtnl_link *first = NULL;
	uint32_t bridge = if_nametoindex(d->bridge);
	size_t n = 0, larger = 0;

	if (rtnl_link_dump(d->nl, &all, &n))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		if (!bridge || all[i].master != bridge || !d->mtu || all[i].mtu <= d->mtu)
			continue;
		first = first ? first : &all[i];
		larger++;
	}
	if (first)
		doctor_warn(
			d, "pod_mtu", first->ifname,
			"have the CNI plugin give pods the MTU of the subnet file; --mss-clamp "
			"helps TCP meanwhile",
			"has MTU %u, the overlay %u: packets of full size do not fit (%zu ports)",
			first->mtu, d->mtu, larger);
	doctor_done(d, "pod_mtu");
}

static void check_ways(struct doctor *d)
{
	char ip[INET_ADDRSTRLEN];

	for (size_t i = 0; i < d->n_peers; i++) {
		const struct doctor_peer *peer = &d->peers[i];
		uint32_t need = d->mtu + format_overhead(peer->format);

		if (!d->mtu || !peer->mtu || peer->mtu >= need)
			continue;
		snprintf(ip, sizeof(ip), "%s", doctor_ip(peer->public_ip));
		doctor_warn(d, "mtu", ip,
			    "give all nodes' underlays one MTU, or pods the smaller one",
			    "the way there takes %u bytes, packets of full size have %u", peer->mtu,
			    need);
	}
}

static void check_forward_policy(struct doctor *d)
{
	struct nft_ctx *nft = nft_open();
	char table[NFT_TABLE_LEN];
	_free_ char *shadow = NULL;

	if (nft)
		shadow = masquerade_shadow(nft, nft_table_name(d->tun, table));
	if (shadow)
		doctor_warn(d, "forward_policy", shadow,
			    "have that chain accept what comes from and goes to pods",
			    "drops by policy what it does not accept: no other table can help");
	if (nft)
		nft_ctx_free(nft);
	doctor_done(d, "forward_policy");
}

static bool is_encrypted(const struct doctor *d, const struct doctor_peer *peer,
			 const struct ipsec_policy *policies, size_t n)
{
	uint16_t port = peer->format == WEFT_FORMAT_VXLAN ? d->vxlan_port : d->port;
	uint8_t protocol = format_protocol(peer->format);
	const struct ipsec_flow flow = {
		.src = d->local,
		.dst = peer->public_ip,
		.protocol = protocol,
		.port = protocol == IPPROTO_UDP ? port : 0,
	};

	return ipsec_encrypts(policies, n, &flow);
}

static void check_ipsec(struct doctor *d)
{
	_free_ struct ipsec_policy *policies = NULL;
	size_t n = 0;

	if (d->bpf && ipsec_read(&policies, &n))
		doctor_warn(d, "ipsec", "policies", "run weft doctor as root",
			    "without privilege policies of IPsec cannot be looked at");
	for (size_t i = 0; i < d->n_peers; i++)
		if (is_encrypted(d, &d->peers[i], policies, n))
			doctor_fail(d, "ipsec", doctor_ip(d->peers[i].public_ip),
				    "use --datapath tun, or encrypt by a device, such as "
				    "WireGuard's or an xfrm interface",
				    "a policy encrypts what goes there, and the fast path, which "
				    "meets no policy, sends it as it is");
	doctor_done(d, "ipsec");
}

void doctor_host(struct doctor *d)
{
	check_forwarding(d);
	check_rp_filter(d);
	check_conntrack(d);
	check_bridge(d);
	check_forward_policy(d);
	if (!d->known)
		return;
	check_ipsec(d);
	check_device(d);
	check_pods(d);
	check_ways(d);
}
