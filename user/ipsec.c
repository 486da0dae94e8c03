/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "ipsec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <stdlib.h>

#include "netconf.h"
#include "netlink.h"
#include "rtnl_msg.h"
#include "util.h"

struct list {
	struct ipsec_policy *all;
	size_t n;
};

/* What attributes say: does it encrypt, and does it apply to packets without mark and interface? */
static void read_attrs(const struct nlmsghdr *nlh, bool *encrypts, bool *applies)
{
	const struct nlattr *attr;

	*encrypts = false;
	*applies = true;
	mnl_attr_for_each (attr, nlh, sizeof(struct xfrm_userpolicy_info)) {
		const struct xfrm_mark *mark = mnl_attr_get_payload(attr);

		if (mnl_attr_get_type(attr) == XFRMA_TMPL)
			*encrypts = true;
		else if (is_attr(attr, XFRMA_IF_ID, sizeof(uint32_t)))
			*applies &= !mnl_attr_get_u32(attr);
		else if (is_attr(attr, XFRMA_MARK, sizeof(*mark)))
			*applies &= !mark->v;
	}
}

static int add_policy(const struct nlmsghdr *nlh, void *arg)
{
	const struct xfrm_userpolicy_info *info = mnl_nlmsg_get_payload(nlh);
	const struct xfrm_selector *sel = &info->sel;
	struct list *list = arg;
	struct ipsec_policy *more;
	bool encrypts, applies;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*info) || info->dir != XFRM_POLICY_OUT ||
	    sel->family != AF_INET)
		return 0;
	read_attrs(nlh, &encrypts, &applies);
	if (!applies)
		return 0;
	more = reallocarray(list->all, list->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	list->all = more;
	more[list->n++] = (struct ipsec_policy){
		.priority = info->priority,
		.encrypts = info->action == XFRM_POLICY_ALLOW && encrypts,
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

static bool covers(const struct ipsec_policy *policy, const struct ipsec_flow *flow)
{
	return matches(policy->src, policy->src_len, flow->src) &&
	       matches(policy->dst, policy->dst_len, flow->dst) &&
	       (!policy->protocol || policy->protocol == flow->protocol) &&
	       ((policy->port ^ flow->port) & policy->port_mask) == 0;
}

bool ipsec_encrypts(const struct ipsec_policy *policies, size_t n, const struct ipsec_flow *flow)
{
	const struct ipsec_policy *first = NULL;

	/* The kernel lists the newest first, and of equal priority takes the oldest. */
	for (size_t i = 0; i < n; i++)
		if (covers(&policies[i], flow) &&
		    (!first || policies[i].priority <= first->priority))
			first = &policies[i];
	return first && first->encrypts;
}
