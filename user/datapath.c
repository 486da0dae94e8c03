/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "datapath_priv.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "attach.h"
#include "log.h"
#include "pins.h"
#include "reason.h"
#include "util.h"
#include "weft.skel.h"

/* Enough for a new pod or a moved peer to be noticed at once, seen by a person. */
#define HINT_REST_MS 50
/* How soon a program or a pin that somebody removed is back, and the next attempt if it is not. */
#define REPAIR_MS 1000
#define RETRY_MS 5000

/* libbpf's own messages one level down: what matters is reported by the caller. */
static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char line[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
	return 0;
}

static const struct bpf_program *hook_program(const struct datapath *dp, enum weft_hook hook)
{
	switch (hook) {
	case WEFT_HOOK_PORT:
		return dp->skel->progs.weft_port;
	case WEFT_HOOK_BRIDGE:
		return dp->skel->progs.weft_bridge;
	case WEFT_HOOK_TUN:
		return dp->skel->progs.weft_tun;
	case WEFT_HOOK_STRIP:
		return dp->skel->progs.weft_strip;
	case WEFT_HOOK_AGGREGATE:
		return dp->skel->progs.weft_aggregate;
	case WEFT_HOOK_VTEP:
		return dp->skel->progs.weft_vtep;
	case WEFT_HOOK_ENTER:
		return dp->skel->progs.weft_enter;
	case WEFT_HOOK_DELIVER:
		return dp->skel->progs.weft_deliver;
	default:
		return dp->skel->progs.weft_uplink;
	}
}

static void link_pin_path(const char *dir, enum weft_hook hook, uint32_t ifindex,
			  char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/links/%s-%u", dir, hook_name(hook), ifindex);
}

static int open_maps(struct datapath *dp)
{
	const struct map_fds fds = {
		.state = bpf_map__fd(dp->skel->maps.state),
		.routes = bpf_map__fd(dp->skel->maps.routes),
		.prefixes = bpf_map__fd(dp->skel->maps.prefixes),
		.peers = bpf_map__fd(dp->skel->maps.peers),
		.members = bpf_map__fd(dp->skel->maps.members),
		.endpoints = bpf_map__fd(dp->skel->maps.endpoints),
		.counters = bpf_map__fd(dp->skel->maps.counters),
	};

	_close_ int older = dp->migrates ? datapath_open_older(dp, dp->skel->maps.endpoints) : -1;
	int err = maps_open(&fds, &dp->maps);

	if (err == 0 && older >= 0)
		maps_inherit_endpoints(dp->maps, older);
	return err;
}

int datapath_open(const char *pin_dir, enum attach_mode mode, uint32_t approvals,
		  struct datapath **out)
{
	struct datapath *dp = calloc(1, sizeof(*dp));
	int err;

	if (!dp)
		return -ENOMEM;
	libbpf_set_print(print_libbpf);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL & ~LIBBPF_STRICT_AUTO_RLIMIT_MEMLOCK);
	snprintf(dp->dir, sizeof(dp->dir), "%s", pin_dir);
	dp->tcx = mode != ATTACH_CLSACT;
	dp->probe = mode == ATTACH_AUTO;
	err = datapath_load(dp, approvals);
	if (err == 0)
		err = open_maps(dp);
	if (err) {
		/* No program has run with them. */
		if (dp->made_maps)
			pins_remove_maps(dp->dir, WEFT_ABI_VERSION, WEFT_ABI_VERSION);
		datapath_close(dp);
		datapath_remove_dirs(pin_dir);
		return err;
	}
	*out = dp;
	return 0;
}

void datapath_close(struct datapath *dp)
{
	if (!dp)
		return;
	/* Nothing of the older version has been replaced: it may come back. */
	if (dp->migrates && !dp->complete)
		pins_remove_maps(dp->dir, WEFT_ABI_VERSION, WEFT_ABI_VERSION);
	loop_timer_disarm(dp->hint_timer);
	loop_timer_disarm(dp->repair_timer);
	if (dp->hints)
		loop_remove(dp->loop, ring_buffer__epoll_fd(dp->hints));
	ring_buffer__free(dp->hints);
	maps_close(dp->maps);
	weft_bpf__destroy(dp->skel);
	for (size_t i = 0; i < dp->n_attachments; i++)
		cleanup_close(&dp->attachments[i].fd);
	free(dp->attachments);
	free(dp);
}

/* Attachments. */

static struct attachment *find_attachment(const struct datapath *dp, enum weft_hook hook,
					  uint32_t ifindex)
{
	for (size_t i = 0; i < dp->n_attachments; i++)
		if (dp->attachments[i].hook == hook && dp->attachments[i].ifindex == ifindex)
			return &dp->attachments[i];
	return NULL;
}

/* The one there is, or a new one; NULL when there is no memory. */
static struct attachment *remember(struct datapath *dp, enum weft_hook hook, uint32_t ifindex)
{
	struct attachment *known = find_attachment(dp, hook, ifindex);
	struct attachment *more;

	if (known)
		return known;
	more = realloc(dp->attachments, (dp->n_attachments + 1) * sizeof(*more));
	if (!more)
		return NULL;
	dp->attachments = more;
	more[dp->n_attachments] = (struct attachment){.hook = hook, .ifindex = ifindex, .fd = -1};
	return &more[dp->n_attachments++];
}

static void forget(struct datapath *dp, struct attachment *a)
{
	cleanup_close(&a->fd);
	*a = dp->attachments[--dp->n_attachments];
}

/* The new program runs before the old way of attaching goes: no packet meets an empty hook. */
static int attach_either(struct datapath *dp, const char *pin, struct attachment *a, int prog_fd)
{
	int err;

	if (hook_is_xdp(a->hook))
		return attach_link(pin, a->ifindex, a->hook, prog_fd, &a->fd);
	if (dp->tcx) {
		err = attach_link(pin, a->ifindex, a->hook, prog_fd, &a->fd);
		if (err == 0)
			return detach_clsact(a->ifindex, a->hook);
		if (err == -EINVAL && !dp->probe)
			return log_err(-EOPNOTSUPP, "there is no TCX before Linux 6.6");
		if (err != -EINVAL)
			return err;
		log_info("no TCX in this kernel, using clsact");
		dp->tcx = false;
	}
	err = attach_clsact(a->ifindex, a->hook, prog_fd);
	if (err)
		return err;
	cleanup_close(&a->fd);
	a->fd = -1;
	return detach_link(pin);
}

static int attach_program(struct datapath *dp, enum weft_hook hook, uint32_t ifindex)
{
	struct attachment *a = remember(dp, hook, ifindex);
	char pin[PATH_MAX];
	int err;

	if (!a)
		return -ENOMEM;
	link_pin_path(dp->dir, hook, ifindex, pin);
	if (!dp->complete &&
	    (attached_link(pin, ifindex) >= 0 || attached_clsact(ifindex, hook) >= 0))
		return 0;
	err = attach_either(dp, pin, a, bpf_program__fd(hook_program(dp, hook)));
	if (err == 0 && !hook_is_xdp(hook))
		dp->probe = false;
	a->link = dp->tcx || hook_is_xdp(hook);
	return err;
}

int datapath_attach(struct datapath *dp, enum weft_hook hook, uint32_t ifindex)
{
	char ifname[IF_NAMESIZE] = "?";
	int err = attach_program(dp, hook, ifindex);

	if (err == 0)
		return 0;
	if_indextoname(ifindex, ifname);
	return log_err(err, "%s (%u): cannot attach the %s program", ifname, ifindex,
		       hook_name(hook));
}

int datapath_detach(struct datapath *dp, enum weft_hook hook, uint32_t ifindex)
{
	struct attachment *a = find_attachment(dp, hook, ifindex);
	char pin[PATH_MAX];
	int err;

	if (a)
		forget(dp, a);
	link_pin_path(dp->dir, hook, ifindex, pin);
	err = detach_link(pin);
	if (err == 0)
		err = detach_clsact(ifindex, hook);
	return err == -ENODEV ? 0 : err;
}

int datapath_complete(struct datapath *dp)
{
	int err = 0;

	dp->complete = true;
	for (size_t i = 0; i < dp->n_attachments && err == 0; i++)
		err = datapath_attach(dp, dp->attachments[i].hook, dp->attachments[i].ifindex);
	return err;
}

static bool is_link_of(const struct datapath *dp, const char *name)
{
	char pin[PATH_MAX];

	for (size_t i = 0; dp && i < dp->n_attachments; i++) {
		link_pin_path(dp->dir, dp->attachments[i].hook, dp->attachments[i].ifindex, pin);
		if (strcmp(strrchr(pin, '/') + 1, name) == 0)
			return true;
	}
	return false;
}

/* Every pinned link below dir that keep (may be NULL) does not want, of whatever version. */
static void prune_links(const char *dir, const struct datapath *keep)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *links;

	snprintf(path, sizeof(path), "%s/links", dir);
	links = pins_opendir(path);
	while (links && (entry = readdir(links)) != NULL) {
		if (entry->d_name[0] == '.' || is_link_of(keep, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/links/%s", dir, entry->d_name);
		detach_link(path);
	}
	if (links)
		closedir(links);
}

static void detach_orphans(void)
{
	struct if_nameindex *all = if_nameindex();

	for (struct if_nameindex *i = all; i && i->if_index; i++)
		for (int h = WEFT_HOOK_PORT; h <= WEFT_HOOK_LAST_BPF; h++)
			detach_orphan(i->if_index, h);
	if_freenameindex(all);
}

static bool has_filter(const struct datapath *dp, uint32_t ifindex, bool egress)
{
	for (size_t i = 0; dp && i < dp->n_attachments; i++)
		if (!dp->attachments[i].link && dp->attachments[i].ifindex == ifindex &&
		    hook_is_egress(dp->attachments[i].hook) == egress)
			return true;
	return false;
}

/* Filters are found by looking at every device: they need no file to remember them. */
static void prune_filters(const struct datapath *keep)
{
	struct if_nameindex *all = if_nameindex();

	for (struct if_nameindex *i = all; i && i->if_index; i++)
		for (int egress = 0; egress <= 1; egress++)
			if (!has_filter(keep, i->if_index, egress))
				prune_clsact(i->if_index, egress);
	if_freenameindex(all);
}

void datapath_prune(struct datapath *dp)
{
	prune_links(dp->dir, dp);
	prune_filters(dp);
	pins_remove_maps(dp->dir, 0, WEFT_ABI_VERSION - 1);
}

static int64_t attached_program(const struct datapath *dp, const struct attachment *a)
{
	char pin[PATH_MAX];

	if (!a->link)
		return attached_clsact(a->ifindex, a->hook);
	link_pin_path(dp->dir, a->hook, a->ifindex, pin);
	return attached_link(pin, a->ifindex);
}

static const char *attach_name(const struct attachment *a)
{
	if (hook_is_xdp(a->hook))
		return "xdp";
	return a->link ? "tcx" : "clsact";
}

static uint32_t program_id(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len) ? 0 : info.id;
}

static bool holds_program(const struct datapath *dp, const struct attachment *a)
{
	return attached_program(dp, a) == program_id(hook_program(dp, a->hook));
}

typedef void (*fault_fn)(const char *fault, void *arg);

static void hook_fault(enum weft_hook hook, const char *ifname, fault_fn fn, void *arg)
{
	char text[128];

	snprintf(text, sizeof(text), "hook %s%s%s does not hold our program", hook_name(hook),
		 *ifname ? " on " : "", ifname);
	fn(text, arg);
}

static void each_hook_fault(const struct datapath *dp, fault_fn fn, void *arg)
{
	bool uplink = false, tun = false;

	for (size_t i = 0; i < dp->n_attachments; i++) {
		const struct attachment *a = &dp->attachments[i];
		char ifname[IF_NAMESIZE] = "";

		uplink |= a->hook == WEFT_HOOK_UPLINK;
		tun |= a->hook == WEFT_HOOK_TUN;
		if (holds_program(dp, a))
			continue;
		if_indextoname(a->ifindex, ifname);
		hook_fault(a->hook, ifname, fn, arg);
	}
	if (!uplink)
		hook_fault(WEFT_HOOK_UPLINK, "", fn, arg);
	if (!tun)
		hook_fault(WEFT_HOOK_TUN, "", fn, arg);
}

void datapath_each_fault(const struct datapath *dp, fault_fn fn, void *arg)
{
	const struct bpf_map *map;
	char text[128];

	each_hook_fault(dp, fn, arg);
	bpf_object__for_each_map(map, dp->skel->obj)
	{
		if (datapath_pin_holds(dp, map))
			continue;
		snprintf(text, sizeof(text), "map %s is not pinned", bpf_map__name(map));
		fn(text, arg);
	}
}

static int repair_hook(struct datapath *dp, const struct attachment *a)
{
	char ifname[IF_NAMESIZE] = "?";
	enum weft_hook hook = a->hook;
	int err;

	if_indextoname(a->ifindex, ifname);
	err = attach_program(dp, hook, a->ifindex);
	log_warn("%s: the %s program was missing: %s", ifname, hook_name(hook),
		 err ? strerror(-err) : "attached again");
	return err;
}

static int repair_maps(struct datapath *dp)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, dp->skel->obj)
	{
		int map_err;

		if (datapath_pin_holds(dp, map))
			continue;
		map_err = datapath_pin_map(dp, map);
		if (map_err == 0)
			log_warn("map %s was not pinned: pinned again", bpf_map__name(map));
		err = err ? err : map_err;
	}
	return err;
}

/* Without a place for its pin, a link would go again as soon as it came; a filter needs none. */
static int repair_hooks(struct datapath *dp, bool place)
{
	int err = 0;

	for (size_t i = 0; i < dp->n_attachments; i++) {
		const struct attachment *a = &dp->attachments[i];
		int hook_err = 0;

		if ((place || !a->link) && !holds_program(dp, a))
			hook_err = repair_hook(dp, a);
		err = err ? err : hook_err;
	}
	return err;
}

static void note_fault(const char *fault, void *arg)
{
	(void)fault;
	*(bool *)arg = true;
}

/* What cannot be mended keeps nothing else from it. A bpffs that went is for others to mount. */
static void repair(void *arg)
{
	struct datapath *dp = arg;
	bool faulty = false;
	int err = 0, hook_err = 0;

	datapath_each_fault(dp, note_fault, &faulty);
	if (faulty) {
		int place = datapath_make_dirs(dp->dir);

		err = place ? place : repair_maps(dp);
		hook_err = repair_hooks(dp, place == 0);
	}
	loop_timer_arm(dp->repair_timer, err || hook_err ? RETRY_MS : REPAIR_MS, 0);
}

int datapath_maintain(struct datapath *dp, struct loop *loop)
{
	int err = loop_timer_new(loop, repair, dp, &dp->repair_timer);

	if (err == 0)
		loop_timer_arm(dp->repair_timer, REPAIR_MS, 0);
	return err;
}

size_t datapath_hooks(const struct datapath *dp, struct datapath_hook *out, size_t max)
{
	for (size_t i = 0; i < dp->n_attachments && i < max; i++) {
		const struct attachment *a = &dp->attachments[i];
		int64_t id = attached_program(dp, a);

		out[i] = (struct datapath_hook){
			.hook = a->hook,
			.ifindex = a->ifindex,
			.attach = attach_name(a),
			.prog_id = id > 0 ? (uint32_t)id : 0,
		};
		if_indextoname(a->ifindex, out[i].ifname);
	}
	return dp->n_attachments;
}

/* The directory itself may be given to us, to be used and not to be removed. */
static bool is_empty(const char *dir)
{
	DIR *entries = pins_opendir(dir);
	const struct dirent *entry;
	size_t n = 0;

	while (entries && (entry = readdir(entries)) != NULL)
		n += entry->d_name[0] != '.';
	if (entries)
		closedir(entries);
	return n == 0;
}

int datapath_cleanup(const char *pin_dir)
{
	libbpf_set_print(print_libbpf);
	detach_orphans();
	prune_filters(NULL);
	if (!pin_dir)
		return 0;
	/* Somebody's link leads to somebody's files. */
	if (!pins_is_dir(pin_dir))
		return access(pin_dir, F_OK) == 0 ? log_err(-EPERM, "%s", pin_dir) : 0;
	prune_links(pin_dir, NULL);
	pins_remove_maps(pin_dir, 0, UINT32_MAX);
	datapath_remove_dirs(pin_dir);
	return is_empty(pin_dir) ? 0 : log_err(-ENOTEMPTY, "%s", pin_dir);
}

/* Contents. */

int datapath_set_config(struct datapath *dp, const struct weft_config *config)
{
	return maps_set_config(dp->maps, config);
}

void datapath_set_lifetimes(struct datapath *dp, uint32_t tcp_s, uint32_t other_s)
{
	maps_set_lifetimes(dp->maps, tcp_s, other_s);
}

uint32_t datapath_new_generation(struct datapath *dp)
{
	return maps_new_generation(dp->maps);
}

int datapath_set_routes(struct datapath *dp, uint32_t network, uint8_t cell_shift,
			const struct datapath_route *routes, size_t n)
{
	return maps_set_routes(dp->maps, network, cell_shift, routes, n);
}

bool datapath_peer_is_resolved(const struct datapath *dp, uint32_t public_ip)
{
	return maps_peer_is_resolved(dp->maps, public_ip);
}

int datapath_set_peer(struct datapath *dp, uint32_t public_ip, const struct weft_peer *peer)
{
	return maps_set_peer(dp->maps, public_ip, peer);
}

int datapath_set_endpoint(struct datapath *dp, uint32_t index, const struct weft_endpoint *ep)
{
	return maps_set_endpoint(dp->maps, index, ep);
}

void datapath_fill(const struct datapath *dp, struct datapath_fill *out)
{
	maps_fill(dp->maps, out);
}

int datapath_approvals(const struct datapath *dp)
{
	return bpf_map__fd(dp->skel->maps.approvals);
}

void datapath_trace(const struct datapath *dp, struct datapath_trace *out)
{
	out->ring_fd = bpf_map__fd(dp->skel->maps.traces);
	out->wish = &dp->skel->bss->trace_wish;
	out->lost = &dp->skel->bss->trace_lost;
}

int datapath_counters(const struct datapath *dp, struct weft_counter out[WEFT_COUNTER_MAX])
{
	return maps_counters(dp->maps, out);
}

static void consume_hints(void *arg);

static int take_hint(void *arg, void *data, size_t len)
{
	struct datapath *dp = arg;

	if (len >= sizeof(struct weft_hint))
		dp->hint_fn(data, dp->hint_arg);
	return 0;
}

/*
 * A pod can provoke a hint with every packet. After a look the ring rests, and what does not fit
 * meanwhile is lost, so that a flood costs the agent HINT_REST_MS apart at most.
 */
static void watch_hints(void *arg)
{
	struct datapath *dp = arg;

	if (loop_add(dp->loop, ring_buffer__epoll_fd(dp->hints), consume_hints, dp))
		loop_timer_arm(dp->hint_timer, HINT_REST_MS, 0);
}

static void consume_hints(void *arg)
{
	struct datapath *dp = arg;

	ring_buffer__consume(dp->hints);
	loop_remove(dp->loop, ring_buffer__epoll_fd(dp->hints));
	loop_timer_arm(dp->hint_timer, HINT_REST_MS, 0);
}

int datapath_on_hint(struct datapath *dp, struct loop *loop,
		     void (*fn)(const struct weft_hint *hint, void *arg), void *arg)
{
	int err = loop_timer_new(loop, watch_hints, dp, &dp->hint_timer);

	if (err)
		return err;
	dp->loop = loop;
	dp->hint_fn = fn;
	dp->hint_arg = arg;
	dp->hints = ring_buffer__new(bpf_map__fd(dp->skel->maps.hints), take_hint, dp, NULL);
	if (!dp->hints)
		return -errno;
	return loop_add(loop, ring_buffer__epoll_fd(dp->hints), consume_hints, dp);
}
