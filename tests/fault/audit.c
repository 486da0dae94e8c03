/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: audit PIN-DIR      in the node's network namespace
 *
 * Is the datapath one whole? Each pinned link holds a program of ours on its device and is the only
 * one there, no program of ours runs without a pin, every program's maps are the pinned ones, and
 * every pin can be read. Each offence is a line that starts with "bad" and makes the exit status 1.
 * The other lines say what the maps hold, without numbers that differ from one start to the next,
 * so that two states can be compared.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "netconf.h"
#include "util.h"
#include "weft/abi.h"

/* linux/bpf.h of 6.6 and later; Debian 12's header is older. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define PROGS_MAX 64
/* Where this version's maps are pinned (pins.h). */
#define TEXT_OF(number) #number
#define NAME_OF(version) "maps-" TEXT_OF(version)
#define MAPS NAME_OF(WEFT_ABI_VERSION)
#define MAPS_MAX 64

static int status;
static const char *dir;

static void bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void bad(const char *format, ...)
{
	va_list args;

	printf("bad ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	status = 1;
}

static int open_pin(const char *kind, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s/%s", dir, kind, name);
	return bpf_obj_get(path);
}

/* What is pinned */

static uint32_t map_ids[MAPS_MAX];
static size_t n_maps;

struct pinned_link {
	char name[64];
	uint32_t prog_id, ifindex, attach_type;
};

static struct pinned_link links[PROGS_MAX];
static size_t n_links;

static void take_map(const char *name)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = open_pin(MAPS, name);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len)) {
		bad("maps/%s: %s", name, strerror(errno));
		return;
	}
	map_ids[n_maps++] = info.id;
}

static void take_link(const char *name)
{
	struct {
		__u32 type, id, prog_id, pad, ifindex, attach_type;
		__u8 rest[64];
	} info = {};
	__u32 len = sizeof(info);
	_close_ int fd = open_pin("links", name);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len)) {
		bad("links/%s: %s", name, strerror(errno));
		return;
	}
	snprintf(links[n_links].name, sizeof(links[n_links].name), "%s", name);
	links[n_links].prog_id = info.prog_id;
	links[n_links].ifindex = info.ifindex;
	links[n_links++].attach_type = info.attach_type;
}

static void each_pin(const char *kind, void (*take)(const char *name))
{
	char path[PATH_MAX];
	const struct dirent *entry;
	DIR *pins;

	snprintf(path, sizeof(path), "%s/%s", dir, kind);
	pins = opendir(path);
	if (!pins)
		bad("%s: %s", path, strerror(errno));
	while (pins && (entry = readdir(pins)) != NULL)
		if (entry->d_name[0] != '.')
			take(entry->d_name);
	if (pins)
		closedir(pins);
}

/* What runs */

/* A program's own, which go with it */
static bool has_no_pin(uint32_t id)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	_close_ int fd = bpf_map_get_fd_by_id(id);
	const char *dot;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	dot = strchr(info.name, '.');
	return !strcmp(info.name, "traces") || (dot && !strcmp(dot, ".bss"));
}

static bool has_pin_of_map(uint32_t id)
{
	for (size_t i = 0; i < n_maps; i++)
		if (map_ids[i] == id)
			return true;
	return false;
}

/* "" for a program of somebody else. */
static void check_program(uint32_t id, char name[BPF_OBJ_NAME_LEN])
{
	_close_ int fd = bpf_prog_get_fd_by_id(id);
	uint32_t ids[MAPS_MAX];
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)ids};
	__u32 len = sizeof(info);

	name[0] = '\0';
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || strncmp(info.name, "weft_", 5))
		return;
	strcpy(name, info.name + strlen("weft_"));
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (!has_pin_of_map(ids[i]) && !has_no_pin(ids[i]))
			bad("%s: its map %u is none of the pinned ones", info.name, ids[i]);
}

static bool is_pinned(uint32_t ifindex, const char *hook, uint32_t prog_id)
{
	char name[64];

	snprintf(name, sizeof(name), "%s-%u", hook, ifindex);
	for (size_t i = 0; i < n_links; i++)
		if (!strcmp(links[i].name, name) && links[i].ifindex == ifindex)
			return links[i].prog_id == prog_id;
	return false;
}

static uint32_t query(uint32_t ifindex, uint32_t type, uint32_t ids[PROGS_MAX])
{
	union bpf_attr attr = {};

	attr.query.target_fd = ifindex;
	attr.query.attach_type = type;
	attr.query.prog_ids = (uintptr_t)ids;
	attr.query.prog_cnt = PROGS_MAX;
	return syscall(__NR_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) ? 0 : attr.query.prog_cnt;
}

static uint32_t n_attached;

static void check_hook(const struct if_nameindex *dev, uint32_t type)
{
	char seen[PROGS_MAX][BPF_OBJ_NAME_LEN];
	uint32_t ids[PROGS_MAX], n = query(dev->if_index, type, ids);

	for (uint32_t i = 0; i < n; i++) {
		check_program(ids[i], seen[i]);
		if (!seen[i][0])
			continue;
		n_attached++;
		printf("hook %s %s\n", seen[i], dev->if_name);
		if (!is_pinned(dev->if_index, seen[i], ids[i]))
			bad("%s: the %s program has no pin", dev->if_name, seen[i]);
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(seen[i], seen[j]))
				bad("%s: two %s programs", dev->if_name, seen[i]);
	}
}

static void check_hooks(void)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *dev = all; dev && dev->if_index; dev++) {
		check_hook(dev, TCX_INGRESS);
		check_hook(dev, TCX_EGRESS);
	}
	if_freenameindex(all);
	if (n_attached != n_links)
		bad("%u programs, %zu pinned links", n_attached, n_links);
}

/* What the maps hold */

static const void *memory_of(const char *name, size_t len)
{
	_close_ int fd = open_pin(MAPS, name);
	void *memory = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	if (fd < 0 || memory == MAP_FAILED)
		bad("maps/%s: %s", name, strerror(errno));
	return memory == MAP_FAILED ? NULL : memory;
}

static const char *device(uint32_t ifindex, char name[IF_NAMESIZE])
{
	return if_indextoname(ifindex, name) ? name : ifindex ? "(gone)" : "-";
}

static const struct weft_config *show_config(void)
{
	const struct weft_state *st = memory_of("state", sizeof(*st));
	const struct weft_config *c = st ? &st->half[st->active & 1] : NULL;
	char tun[IF_NAMESIZE], up[IF_NAMESIZE], merge[IF_NAMESIZE];
	const uint8_t *mac;

	if (!c)
		return NULL;
	mac = c->bridge_mac;
	printf("config flags %x network %08x/%08x subnet %08x/%08x shift %u ip %08x\n", c->flags,
	       c->network, c->network_mask, c->subnet, c->subnet_mask, c->cell_shift,
	       ntohl(c->local_ip));
	printf("config ports %u %u vni %x formats %x tun %s uplink %s merge %s\n", ntohs(c->port),
	       ntohs(c->vxlan_port), ntohl(c->vxlan_vni), c->formats, device(c->tun_ifindex, tun),
	       device(c->uplink_ifindex, up), device(c->aggregate_ifindex, merge));
	printf("config bridge %02x%02x%02x%02x%02x%02x ttl %u %u secret %s generation %s\n", mac[0],
	       mac[1], mac[2], mac[3], mac[4], mac[5], st->ttl_tcp, st->ttl_other,
	       st->secret[0] | st->secret[1] ? "yes" : "no", st->generation ? "yes" : "no");
	return c;
}

static void show_slot(uint32_t addr, uint32_t value, const struct weft_peer *peers)
{
	char ip[INET_ADDRSTRLEN], peer[INET_ADDRSTRLEN], out[IF_NAMESIZE];
	const struct weft_peer *p = &peers[value];

	ip4_format(addr, ip);
	if (value == WEFT_ROUTE_LOCAL || value == WEFT_ROUTE_LPM) {
		printf("route %s %s\n", ip, value == WEFT_ROUTE_LOCAL ? "local" : "prefixes");
		return;
	}
	if (value >= WEFT_MAX_PEERS) {
		bad("route %s: slot %u", ip, value);
		return;
	}
	printf("route %s peer %s%s dev %s mtu %u port %u format %u overhead %u mac %02x%02x%02x\n",
	       ip, ip4_format(ntohl(p->daddr), peer),
	       p->flags & WEFT_PEER_RESOLVED ? " resolved" : "", device(p->ifindex, out), p->mtu,
	       ntohs(p->dport), p->format, p->overhead, p->eth_dst[3], p->eth_dst[4],
	       p->eth_dst[5]);
}

static void show_routes(const struct weft_config *c)
{
	const struct {
		_Alignas(8) uint32_t value;
	} *cells = memory_of("routes", WEFT_MAX_ROUTES * 8);
	const struct weft_peer *peers = memory_of("peers", WEFT_MAX_PEERS * sizeof(*peers));
	_close_ int prefixes = open_pin(MAPS, "prefixes"), members = open_pin(MAPS, "members");
	struct weft_prefix key, *from = NULL;
	char ip[INET_ADDRSTRLEN];
	uint32_t value;
	__be32 member, *last = NULL;

	for (uint32_t i = 0; cells && peers && i < WEFT_MAX_ROUTES; i++)
		if (cells[i].value != WEFT_ROUTE_NONE)
			show_slot(c->network + (i << c->cell_shift), cells[i].value, peers);
	while (peers && bpf_map_get_next_key(prefixes, from, &key) == 0) {
		if (bpf_map_lookup_elem(prefixes, &key, &value) == 0)
			show_slot(ntohl(key.addr), value, peers);
		from = &key;
	}
	while (bpf_map_get_next_key(members, last, &member) == 0) {
		printf("member %s\n", ip4_format(ntohl(member), ip));
		last = &member;
	}
}

static void show_endpoints(const struct weft_config *c)
{
	const struct weft_endpoint *all = memory_of("endpoints", WEFT_MAX_ENDPOINTS * sizeof(*all));
	char ip[INET_ADDRSTRLEN], port[IF_NAMESIZE];

	for (uint32_t i = 0; all && i < WEFT_MAX_ENDPOINTS; i++)
		if (all[i].ifindex)
			printf("endpoint %s %s flags %u mac %02x%02x%02x\n",
			       ip4_format(c->subnet + i, ip), device(all[i].ifindex, port),
			       all[i].flags, all[i].mac[3], all[i].mac[4], all[i].mac[5]);
}

int main(int argc, char **argv)
{
	const struct weft_config *c;

	if (argc != 2) {
		fprintf(stderr, "usage: audit PIN-DIR\n");
		return 2;
	}
	dir = argv[1];
	each_pin(MAPS, take_map);
	each_pin("links", take_link);
	check_hooks();
	c = show_config();
	if (c) {
		show_routes(c);
		show_endpoints(c);
	}
	return status;
}
