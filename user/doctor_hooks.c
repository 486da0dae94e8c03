/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "attach.h"
#include "doctor_priv.h"
#include "pins.h"
#include "reason.h"
#include "rtnl_msg.h"
#include "util.h"
#include "weft/abi.h"

#define PROGRAMS 64 /* on one hook of one device */

/* Where programs of one kind run one after the other. */
enum place { TCX_IN, TCX_OUT, FILTER_IN, FILTER_OUT, XDP, PLACES };

struct programs {
	uint32_t ids[PROGRAMS]; /* in the order they run; 0: not BPF */
	size_t n;
};

static enum place place_of(const struct doctor_hook *hook)
{
	if (hook_is_xdp(hook->hook))
		return XDP;
	if (hook->pinned)
		return hook_is_egress(hook->hook) ? TCX_OUT : TCX_IN;
	return hook_is_egress(hook->hook) ? FILTER_OUT : FILTER_IN;
}

static const char *way_of(enum place place)
{
	static const char *const ways[] = {"tcx ingress", "tcx egress", "tc ingress", "tc egress",
					   "xdp"};

	return ways[place];
}

static int take_filter(const struct nlmsghdr *nlh, void *arg)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr, *option;
	struct programs *found = arg;
	bool has_options = false;
	uint32_t id = 0;

	mnl_attr_for_each (attr, nlh, sizeof(*tcm)) {
		if (mnl_attr_get_type(attr) != TCA_OPTIONS)
			continue;
		has_options = true;
		mnl_attr_for_each_nested (option, attr) {
			if (is_attr(option, TCA_BPF_ID, sizeof(uint32_t)))
				id = mnl_attr_get_u32(option);
		}
	}
	/* A priority is listed by itself, too, before its filters. */
	if (has_options && found->n < PROGRAMS)
		found->ids[found->n++] = id;
	return MNL_CB_OK;
}

static void list_filters(struct doctor *d, uint32_t ifindex, uint32_t parent,
			 struct programs *found)
{
	struct request_buf buf;
	struct nlmsghdr *nlh = put_header(&buf, RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));

	tcm->tcm_ifindex = (int)ifindex;
	tcm->tcm_parent = parent;
	nl_request(d->nl, nlh, take_filter, found);
}

static void list_programs(struct doctor *d, uint32_t ifindex, enum place place,
			  struct programs *found)
{
	DECLARE_LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = found->ids,
			    .prog_cnt = PROGRAMS);

	*found = (struct programs){};
	switch (place) {
	case TCX_IN:
	case TCX_OUT:
		if (bpf_prog_query_opts((int)ifindex,
					place == TCX_IN ? WEFT_BPF_TCX_INGRESS
							: WEFT_BPF_TCX_EGRESS,
					&opts) == 0)
			found->n = opts.prog_cnt;
		return;
	case FILTER_IN:
		list_filters(d, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), found);
		return;
	case FILTER_OUT:
		list_filters(d, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), found);
		return;
	default:
		if (bpf_xdp_query_id((int)ifindex, 0, &found->ids[0]) == 0 && found->ids[0])
			found->n = 1;
	}
}

/* Its maps, if ids is not NULL. */
static bool program_info(uint32_t id, char name[BPF_OBJ_NAME_LEN], uint32_t *ids, uint32_t *n)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = id ? bpf_prog_get_fd_by_id(id) : -1;

	snprintf(name, BPF_OBJ_NAME_LEN, "?");
	if (ids) {
		info.map_ids = (__u64)(unsigned long)ids;
		info.nr_map_ids = *n;
	}
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	snprintf(name, BPF_OBJ_NAME_LEN, "%s", info.name);
	if (ids)
		*n = info.nr_map_ids < *n ? info.nr_map_ids : *n;
	return true;
}

/* Of the hook that has one there. */
static const struct doctor_hook *hook_at(const struct doctor *d, uint32_t ifindex, enum place place)
{
	for (size_t i = 0; i < d->n_hooks; i++)
		if (d->hooks[i].ifindex == ifindex && place_of(&d->hooks[i]) == place)
			return &d->hooks[i];
	return NULL;
}

static void judge_program(struct doctor *d, const char *ifname, enum place place, uint32_t id,
			  const char *position)
{
	char name[BPF_OBJ_NAME_LEN];

	program_info(id, name, NULL, NULL);
	if (!strncmp(name, "weft_", 5))
		doctor_fail(d, "orphan", ifname,
			    "stop the agent, weft cleanup, and start it; or end the other agent",
			    "%s: program %s (id %u) of weft, which this agent does not know",
			    way_of(place), name, id);
	else if (position)
		doctor_warn(d, "foreign", ifname,
			    "see that it passes the overlay's packets on, and unchanged",
			    "%s: %s %s (id %u) runs %s", way_of(place), id ? "program" : "a filter",
			    id ? name : "that is not BPF", id, position);
}

/* The agent knows its programs by their pins: one that runs without has lost it. */
static uint32_t find_unpinned(struct doctor *d, const char *ifname, const struct doctor_hook *ours,
			      const struct programs *found)
{
	char name[BPF_OBJ_NAME_LEN], want[BPF_OBJ_NAME_LEN];

	snprintf(want, sizeof(want), "weft_%s", hook_name(ours->hook));
	for (size_t i = 0; i < found->n; i++) {
		if (!program_info(found->ids[i], name, NULL, NULL) || strcmp(name, want))
			continue;
		doctor_fail(d, "pins", ifname, "stop the agent, weft cleanup, and start it",
			    "the %s program runs (id %u), but its pin in %s is gone: it ends with "
			    "the agent, which does not know it any more",
			    want, found->ids[i], d->pin_dir);
		return found->ids[i];
	}
	return 0;
}

/*
 * When those run that are attached the other way than ours in the same direction; NULL: none of
 * ours is. TCX comes before the filters (sch_handle_ingress(), sch_handle_egress()).
 */
static const char *beside_ours(const struct doctor *d, uint32_t ifindex, enum place place)
{
	static const enum place other[] = {FILTER_IN, FILTER_OUT, TCX_IN, TCX_OUT, XDP};

	if (!hook_at(d, ifindex, other[place]))
		return NULL;
	return place == TCX_IN || place == TCX_OUT ? "before ours" : "after ours";
}

static void judge_place(struct doctor *d, const char *ifname, uint32_t ifindex, enum place place)
{
	const struct doctor_hook *ours = hook_at(d, ifindex, place);
	uint32_t id = ours ? ours->prog_id : 0;
	const char *position;
	struct programs found;
	bool seen = false;

	list_programs(d, ifindex, place, &found);
	if (ours && !id && ours->pinned)
		id = find_unpinned(d, ifname, ours, &found);
	position = ours ? "before ours" : beside_ours(d, ifindex, place);
	for (size_t i = 0; i < found.n; i++) {
		if (id && found.ids[i] == id) {
			seen = true;
			position = "after ours";
		} else {
			judge_program(d, ifname, place, found.ids[i], position);
		}
	}
	if (ours && !seen)
		doctor_fail(d, "hook", ifname, "restart the agent: it attaches what is missing",
			    "%s: the %s program is not there", way_of(place),
			    hook_name(ours->hook));
}

static void judge_device(struct doctor *d, const struct rtnl_link *link)
{
	for (enum place place = 0; place < PLACES; place++)
		judge_place(d, link->ifname, link->ifindex, place);
	/* XDP comes before everything, wherever our receiving program is. */
	if (!strcmp(link->ifname, d->uplink) && !hook_at(d, link->ifindex, XDP)) {
		struct programs found;

		list_programs(d, link->ifindex, XDP, &found);
		if (found.n)
			judge_program(d, link->ifname, XDP, found.ids[0], "before ours");
	}
}

static uint32_t map_id(const char *path)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = bpf_obj_get(path);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

static void check_maps(struct doctor *d, const struct doctor_hook *hook, const char *ifname)
{
	uint32_t ids[32], n = ARRAY_SIZE(ids), pinned;
	char name[BPF_OBJ_NAME_LEN], path[PATH_MAX];

	pins_map_path(d->pin_dir, WEFT_ABI_VERSION, "state", path);
	pinned = map_id(path);
	if (!program_info(hook->prog_id, name, ids, &n))
		return;
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] == pinned)
			return;
	doctor_fail(d, "pins", ifname, "stop the agent, weft cleanup, and start it",
		    "the %s program does not use the pinned maps in %s", hook_name(hook->hook),
		    d->pin_dir);
}

static void check_pin(struct doctor *d, const struct doctor_hook *hook)
{
	char path[PATH_MAX], ifname[IF_NAMESIZE] = "?";
	int64_t id;

	if_indextoname(hook->ifindex, ifname);
	snprintf(path, sizeof(path), "%s/links/%s-%u", d->pin_dir, hook_name(hook->hook),
		 hook->ifindex);
	id = hook->pinned ? attached_link(path, hook->ifindex) : hook->prog_id;
	if (id == -ENOENT)
		doctor_fail(d, "pins", ifname, "restart the agent",
			    "%s is not there: the %s program ends with the agent", path,
			    hook_name(hook->hook));
	else if (id != hook->prog_id)
		doctor_fail(d, "pins", ifname, "restart the agent",
			    "%s holds program %lld, the agent has attached %u", path, (long long)id,
			    hook->prog_id);
	else
		check_maps(d, hook, ifname);
}

/* Without an agent to say what it attached, all that its pins hold. */
static void find_hooks(struct doctor *d, const struct rtnl_link *links, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (enum weft_hook hook = 0; hook <= WEFT_HOOK_LAST_BPF; hook++) {
			struct doctor_hook *more;
			char path[PATH_MAX];
			int64_t id;

			snprintf(path, sizeof(path), "%s/links/%s-%u", d->pin_dir, hook_name(hook),
				 links[i].ifindex);
			id = attached_link(path, links[i].ifindex);
			if (id < 0)
				id = attached_clsact(links[i].ifindex, hook);
			more = id < 0 ? NULL
				      : reallocarray(d->hooks, d->n_hooks + 1, sizeof(*more));
			if (!more)
				continue;
			d->hooks = more;
			more[d->n_hooks++] = (struct doctor_hook){
				.hook = hook,
				.ifindex = links[i].ifindex,
				.prog_id = (uint32_t)id,
				.pinned = access(path, F_OK) == 0,
			};
		}
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

void doctor_hooks(struct doctor *d)
{
	static const char *const checks[] = {"hook", "foreign", "orphan", "pins"};
	_free_ struct rtnl_link *links = NULL;
	size_t n = 0;
	__u32 id;

	libbpf_set_print(quiet);
	/* Any query will do; the kernel wants CAP_NET_ADMIN for it, and CAP_BPF for programs. */
	if (bpf_prog_get_next_id(0, &id) && errno == EPERM) {
		doctor_warn(d, "hook", "programs", "run weft doctor as root",
			    "without privilege programs and pins cannot be looked at");
		return;
	}
	if (rtnl_link_dump(d->nl, &links, &n))
		return;
	if (!d->status && d->pin_dir[0])
		find_hooks(d, links, n);
	for (size_t i = 0; i < n; i++)
		judge_device(d, &links[i]);
	for (size_t i = 0; i < d->n_hooks && d->pin_dir[0]; i++)
		if (d->hooks[i].prog_id)
			check_pin(d, &d->hooks[i]);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		doctor_done(d, checks[i]);
}
