/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "ipsec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <stdlib.h>

#include "netlink.h"
#include "netconf.h"
#include "util.h"

struct list {
	struct ipsec_policy *all;
	size_t n;
};

static bool encrypts(const struct nlmsghdr *nlh)
{
	const struct nlattr *attr;

	mnl_attr_for_each (attr, nlh, sizeof(struct xfrm_userpolicy_info)) {
		if (mnl_attr_get_type(attr) == XFRMA_TMPL)
			return true;
	}
	return false;
}

static int add_policy(const struct nlmsghdr *nlh, void *arg)
{
	const struct xfrm_userpolicy_info *info = mnl_nlmsg_get_payload(nlh);
	const struct xfrm_selector *sel = &info->sel;
	struct list *list = arg;
	struct ipsec_policy *more;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*info) || info->dir != XFRM_POLICY_OUT ||
	    info->action != XFRM_POLICY_ALLOW || sel->family != AF_INET || !encrypts(nlh))
		return 0;
	more = reallocarray(list->all, list->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	list->all = more;
	more[list->n++] = (struct ipsec_policy){
		.src = ntohl(sel->saddr.a4),
		.dst = ntohl(sel->daddr.a4),
		.src_len = sel->prefixlen_s,
		.dst_len = sel->prefixlen_d,
		.protocol = sel->proto,
		.port = ntohs(sel->dport),
		.port_mask = ntohs(sel->dport_mask),
	};
	return 0;
}

int ipsec_read(struct ipsec_policy **out, size_t *n)
{
	char buf[NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct xfrm_userpolicy_id))] = {};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct list list = {};
	struct nl *nl = NULL;
	int err = nl_open_xfrm(&nl);

	nlh->nlmsg_type = XFRM_MSG_GETPOLICY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct xfrm_userpolicy_id));
	if (err == 0)
		err = nl_request(nl, nlh, add_policy, &list);
	nl_close(nl);
	/* A kernel without it encrypts nothing. */
	if (err == -EPROTONOSUPPORT)
		err = 0;
	if (err)
		free(take_ptr(list.all));
	*out = list.all;
	*n = err ? 0 : list.n;
	return err;
}

static bool matches(uint32_t prefix, uint8_t len, uint32_t addr)
{
	return ((prefix ^ addr) & prefix4_mask(len)) == 0;
}

bool ipsec_covers(const struct ipsec_policy *policy, uint32_t src, uint32_t dst, uint8_t protocol,
		  uint16_t port)
{
	return matches(policy->src, policy->src_len, src) &&
	       matches(policy->dst, policy->dst_len, dst) &&
	       (!policy->protocol || policy->protocol == protocol) &&
	       ((policy->port ^ port) & policy->port_mask) == 0;
}
