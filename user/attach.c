/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "log.h"
#include "netlink.h"
#include "orphan.h"
#include "reason.h"
#include "util.h"

int attach_link_info(int fd, struct dev_link_info *info)
{
	__u32 len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(fd, info, &len) ? -errno : 0;
}

/* The link now runs prog_fd; -ENOLINK when it is dead or for another device. */
static int update_link(int fd, uint32_t ifindex, int prog_fd)
{
	struct dev_link_info info;
	int err = attach_link_info(fd, &info);

	if (err)
		return err;
	if (info.ifindex != ifindex)
		return -ENOLINK;
	return bpf_link_update(fd, prog_fd, NULL) ? -errno : 0;
}

/* Its descriptor, or -errno as of update_link(); -ENOENT when there is no pin. */
static int update_pinned(const char *pin, uint32_t ifindex, int prog_fd)
{
	_close_ int fd = bpf_obj_get(pin);
	int err = fd < 0 ? -errno : update_link(fd, ifindex, prog_fd);

	return err ? err : take_fd(&fd);
}

static enum bpf_attach_type attach_type(enum weft_hook hook)
{
	if (hook_is_xdp(hook))
		return BPF_XDP;
	return hook_is_egress(hook) ? WEFT_BPF_TCX_EGRESS : WEFT_BPF_TCX_INGRESS;
}

static int find_orphan(uint32_t ifindex, enum weft_hook hook)
{
	char name[BPF_OBJ_NAME_LEN];

	snprintf(name, sizeof(name), "weft_%s", hook_name(hook));
	return orphan_find(ifindex, attach_type(hook), name);
}

/* A pin that is lost does not end the link as long as somebody holds it: two would run then. */
static int update_unpinned(int held, uint32_t ifindex, enum weft_hook hook, int prog_fd)
{
	_close_ int fd = held >= 0 ? fcntl(held, F_DUPFD_CLOEXEC, 0) : -1;
	int err = fd < 0 ? -ENOLINK : update_link(fd, ifindex, prog_fd);

	if (err == 0)
		return take_fd(&fd);
	cleanup_close(&fd);
	fd = find_orphan(ifindex, hook);
	if (fd < 0)
		return fd;
	return bpf_link_update(fd, prog_fd, NULL) ? -errno : take_fd(&fd);
}

int attach_link(const char *pin, uint32_t ifindex, enum weft_hook hook, int prog_fd, int *held)
{
	/* What the kernel offers where a driver knows no XDP comes behind GRO, too late for us. */
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts,
			    .flags = hook_is_xdp(hook) ? XDP_FLAGS_DRV_MODE : 0);
	_close_ int fd = update_pinned(pin, ifindex, prog_fd);
	bool pinned = fd >= 0;

	if (fd == -ENOLINK && unlink(pin))
		return -errno;
	if (fd == -ENOENT || fd == -ENOLINK)
		fd = update_unpinned(*held, ifindex, hook, prog_fd);
	if (fd == -ENOENT)
		fd = bpf_link_create(prog_fd, ifindex, attach_type(hook), &opts);
	if (fd < 0)
		return fd;
	if (!pinned && bpf_obj_pin(fd, pin))
		return -errno;
	cleanup_close(held);
	*held = take_fd(&fd);
	return 0;
}

void detach_orphan(uint32_t ifindex, enum weft_hook hook)
{
	_close_ int fd = find_orphan(ifindex, hook);

	if (fd >= 0)
		bpf_link_detach(fd);
}

int detach_link(const char *pin)
{
	_close_ int fd = bpf_obj_get(pin);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* The agent that a crash left behind may still hold the link; detach for good. */
	bpf_link_detach(fd);
	return unlink(pin) ? -errno : 0;
}

int64_t attached_link(const char *pin, uint32_t ifindex)
{
	struct dev_link_info info;
	_close_ int fd = bpf_obj_get(pin);
	int err;

	if (fd < 0)
		return -errno;
	err = attach_link_info(fd, &info);
	if (err)
		return err;
	return info.ifindex == ifindex ? (int64_t)info.prog_id : -ENOLINK;
}

static struct bpf_tc_hook tc_hook(uint32_t ifindex, bool egress)
{
	return (struct bpf_tc_hook){
		.sz = sizeof(struct bpf_tc_hook),
		.ifindex = ifindex,
		.attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS,
	};
}

int attach_clsact(uint32_t ifindex, enum weft_hook hook, int prog_fd)
{
	struct bpf_tc_hook where = tc_hook(ifindex, hook_is_egress(hook));
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .handle = ATTACH_TC_HANDLE,
			    .priority = ATTACH_TC_PRIORITY, .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&where);

	if (err && err != -EEXIST)
		return err;
	return bpf_tc_attach(&where, &opts);
}

static int count_filter(const struct nlmsghdr *nlh, void *arg)
{
	(void)nlh;
	++*(size_t *)arg;
	return MNL_CB_OK;
}

static int each_filter(struct nl *nl, uint32_t ifindex, uint32_t parent, mnl_cb_t fn, void *arg)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));

	nlh->nlmsg_type = RTM_GETTFILTER;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	tcm->tcm_ifindex = ifindex;
	tcm->tcm_parent = parent;
	return nl_request(nl, nlh, fn, arg);
}

static uint32_t parent_of(bool egress)
{
	return TC_H_MAKE(TC_H_CLSACT, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
}

static void destroy_unused_clsact(uint32_t ifindex)
{
	struct bpf_tc_hook where = tc_hook(ifindex, false);
	struct nl *nl = NULL;
	size_t n = 0;

	if (nl_open(0, &nl))
		return;
	if (each_filter(nl, ifindex, parent_of(false), count_filter, &n) == 0 &&
	    each_filter(nl, ifindex, parent_of(true), count_filter, &n) == 0 && n == 0) {
		where.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		bpf_tc_hook_destroy(&where);
	}
	nl_close(nl);
}

struct filter {
	char name[32]; /* as libbpf gives it: the program's, and its id */
	uint32_t prog_id;
};

static int read_filter(const struct nlmsghdr *nlh, void *arg)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr, *option;
	struct filter *out = arg;

	if (tcm->tcm_handle != ATTACH_TC_HANDLE || tcm->tcm_info >> 16 != ATTACH_TC_PRIORITY)
		return MNL_CB_OK;
	mnl_attr_for_each (attr, nlh, sizeof(*tcm)) {
		if (mnl_attr_get_type(attr) != TCA_OPTIONS)
			continue;
		mnl_attr_for_each_nested (option, attr) {
			if (mnl_attr_get_type(option) == TCA_BPF_ID)
				out->prog_id = mnl_attr_get_u32(option);
			else if (mnl_attr_get_type(option) == TCA_BPF_NAME)
				snprintf(out->name, sizeof(out->name), "%s",
					 mnl_attr_get_str(option));
		}
	}
	return MNL_CB_OK;
}

/*
 * A filter with our number but a program of another name is not ours, or not the hook's. Asked of
 * the filter, not of the program: to open that by its id takes CAP_SYS_ADMIN.
 */
static int64_t find_filter(uint32_t ifindex, bool egress, const char *pattern)
{
	struct filter filter = {};
	struct nl *nl = NULL;
	int err = nl_open(0, &nl);

	if (err == 0)
		err = each_filter(nl, ifindex, parent_of(egress), read_filter, &filter);
	nl_close(nl);
	if (err)
		return err;
	filter.name[strcspn(filter.name, ":")] = '\0';
	return filter.prog_id && fnmatch(pattern, filter.name, 0) == 0 ? (int64_t)filter.prog_id
								       : -ENOENT;
}

static int remove_filter(uint32_t ifindex, bool egress, const char *pattern)
{
	struct bpf_tc_hook where = tc_hook(ifindex, egress);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = ATTACH_TC_HANDLE,
			    .priority = ATTACH_TC_PRIORITY);
	int err;

	if (find_filter(ifindex, egress, pattern) < 0)
		return 0;
	err = bpf_tc_detach(&where, &opts);
	if (err && err != -ENOENT)
		return err;
	destroy_unused_clsact(ifindex);
	return 0;
}

static void name_program(enum weft_hook hook, char name[BPF_OBJ_NAME_LEN])
{
	snprintf(name, BPF_OBJ_NAME_LEN, "weft_%s", hook_name(hook));
}

int detach_clsact(uint32_t ifindex, enum weft_hook hook)
{
	char name[BPF_OBJ_NAME_LEN];

	name_program(hook, name);
	return remove_filter(ifindex, hook_is_egress(hook), name);
}

int64_t attached_clsact(uint32_t ifindex, enum weft_hook hook)
{
	char name[BPF_OBJ_NAME_LEN];

	name_program(hook, name);
	return find_filter(ifindex, hook_is_egress(hook), name);
}

void prune_clsact(uint32_t ifindex, bool egress)
{
	remove_filter(ifindex, egress, "weft_*");
}

bool attach_has_xdp_frags(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	DECLARE_LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "weft_probe", "GPL", pass,
				       ARRAY_SIZE(pass), &opts);

	return fd >= 0;
}
