/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Maps, helpers and contexts of the kernel, as far as the programs see them. What moves a packet
 * moves it to the other room and makes the old one unreadable, as a helper may; nothing behind what
 * is linear can be read.
 */
#include "maps.h"
#include "trace.h"

#include "native.h"

#define ENOMEM 12
#define EINVAL 22
#define ETH_HLEN 14
#define NOW 1000000 /* jiffies */
#define GENERATION 1 /* of cluster.c */
#define MANY 32

void __asan_poison_memory_region(const volatile void *at, unsigned long len);
void __asan_unpoison_memory_region(const volatile void *at, unsigned long len);
void abort(void) __attribute__((noreturn));
void *memmove(void *to, const void *from, unsigned long len);
void *memcpy(void *to, const void *from, unsigned long len);
void *memset(void *to, int byte, unsigned long len);

int weft_port(struct __sk_buff *skb);
int weft_bridge(struct __sk_buff *skb);
int weft_tun(struct __sk_buff *skb);
int weft_uplink(struct __sk_buff *skb);
int weft_aggregate(struct __sk_buff *skb);
int weft_vtep(struct __sk_buff *skb);
int weft_enter(struct __sk_buff *skb);
int weft_deliver(struct __sk_buff *skb);
int weft_strip(struct xdp_md *xdp);

static unsigned char *rooms[2];
static struct native_run *now;

/* The packet: at rooms[room] + head, linear of its len bytes readable, meta bytes in front. */
static struct {
	u32 room, head, len, linear, meta, mac_len;
	struct __sk_buff *skb;
	struct xdp_md *xdp;
} pkt;

static struct weft_state the_state;
static u32 the_routes[WEFT_MAX_ROUTES];
static struct weft_peer the_peers[WEFT_MAX_PEERS];
static struct weft_endpoint the_endpoints[WEFT_MAX_ENDPOINTS];
static struct weft_counter the_counters[WEFT_COUNTER_MAX];
static struct weft_bulk the_bulk[WEFT_BULK_FLOWS];
static struct {
	struct weft_prefix prefix;
	u32 value;
} the_prefixes[MANY];
static struct {
	__be32 addr;
	u32 value;
} the_members[MANY];
static u32 n_prefixes, n_members;
static struct weft_approval the_approval;
static struct weft_hint the_hint;

/* Packets */

static void show(void)
{
	unsigned char *data = rooms[pkt.room] + pkt.head;

	if (pkt.skb) {
		pkt.skb->data = (u32)(unsigned long)data;
		pkt.skb->data_end = (u32)(unsigned long)(data + pkt.linear);
		pkt.skb->data_meta = (u32)(unsigned long)(data - pkt.meta);
		pkt.skb->len = pkt.len;
		return;
	}
	pkt.xdp->data = (u32)(unsigned long)data;
	pkt.xdp->data_end = (u32)(unsigned long)(data + pkt.linear);
	pkt.xdp->data_meta = (u32)(unsigned long)(data - pkt.meta);
}

/* Readable to us; from now on pointers into the old room are not. */
static unsigned char *move(void)
{
	unsigned char *old = rooms[pkt.room], *new = rooms[!pkt.room];

	__asan_unpoison_memory_region(old, NATIVE_ROOM);
	__asan_unpoison_memory_region(new, NATIVE_ROOM);
	memcpy(new, old, NATIVE_ROOM);
	__asan_poison_memory_region(old, NATIVE_ROOM);
	pkt.room = !pkt.room;
	return new;
}

/* Only what a program may read is readable. */
static void hide(void)
{
	unsigned char *room = rooms[pkt.room];

	__asan_poison_memory_region(room, pkt.head - pkt.meta);
	__asan_poison_memory_region(room + pkt.head + pkt.linear,
				    NATIVE_ROOM - pkt.head - pkt.linear);
	show();
}

long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len)
{
	if (now->refusals & NATIVE_NO_PULL || len > pkt.len)
		return -ENOMEM;
	move();
	if (len > pkt.linear)
		pkt.linear = len;
	hide();
	return 0;
}

/* Room of diff bytes at the front, behind the Ethernet header where there is one. */
static long grow(u32 diff, u32 keep)
{
	unsigned char *room;

	if (diff > pkt.head)
		return -ENOMEM;
	room = move();
	memmove(room + pkt.head - diff, room + pkt.head, keep);
	pkt.head -= diff;
	memset(room + pkt.head + keep, 0xee, diff);
	pkt.len += diff;
	pkt.linear += diff;
	hide();
	return 0;
}

static long shrink(u32 diff, u32 keep)
{
	unsigned char *room;

	if (keep + diff + WEFT_IP4_HLEN > pkt.len)
		return -EINVAL;
	room = move();
	if (pkt.linear < keep + diff)
		pkt.linear = keep + diff;
	memmove(room + pkt.head + diff, room + pkt.head, keep);
	pkt.head += diff;
	pkt.len -= diff;
	pkt.linear -= diff;
	hide();
	return 0;
}

long bpf_skb_adjust_room(struct __sk_buff *skb, __s32 diff, __u32 mode, __u64 flags)
{
	if (mode != BPF_ADJ_ROOM_MAC || !(flags & BPF_F_ADJ_ROOM_FIXED_GSO))
		abort();
	if (now->refusals & NATIVE_NO_ROOM)
		return -ENOMEM;
	if (now->refusals & NATIVE_NO_L2 && flags & BPF_F_ADJ_ROOM_ENCAP_L2_ETH)
		return -EINVAL;
	return diff < 0 ? shrink((u32)-diff, pkt.mac_len) : grow((u32)diff, pkt.mac_len);
}

long bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	return now->refusals & NATIVE_NO_HEAD ? -ENOMEM : grow(len, 0);
}

long bpf_csum_level(struct __sk_buff *skb, __u64 level)
{
	return now->verified ? 0 : -EINVAL;
}

long bpf_set_hash(struct __sk_buff *skb, __u32 hash)
{
	skb->hash = hash;
	return 0;
}

long bpf_skb_get_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size,
			    __u64 flags)
{
	/* Every kernel takes as much as Linux 5.10 has, later ones all of it, too. */
	if (now->refusals & NATIVE_NO_KEY ||
	    (size != __builtin_offsetof(struct bpf_tunnel_key, local_ipv4) &&
	     (size != sizeof(*key) || !now->local)))
		return -EINVAL;
	if (size == sizeof(*key))
		key->local_ipv4 = now->local;
	key->tunnel_id = now->vni;
	key->remote_ipv4 = now->remote;
	return 0;
}

long bpf_xdp_adjust_meta(struct xdp_md *xdp, int delta)
{
	if (now->refusals & NATIVE_NO_META || delta >= 0)
		return -EINVAL;
	move();
	pkt.meta = (u32)-delta;
	hide();
	return 0;
}

/* The metadata goes along. */
long bpf_xdp_adjust_head(struct xdp_md *xdp, int delta)
{
	unsigned char *room;

	if (now->refusals & NATIVE_NO_HEAD || delta < 0 || (u32)delta + ETH_HLEN > pkt.len)
		return -EINVAL;
	room = move();
	memmove(room + pkt.head - pkt.meta + delta, room + pkt.head - pkt.meta, pkt.meta);
	pkt.head += (u32)delta;
	pkt.len -= (u32)delta;
	pkt.linear -= (u32)delta;
	hide();
	return 0;
}

/* Where it goes */

static long redirect(int how, u32 ifindex, u64 flags)
{
	now->redirect = how;
	now->redirect_ifindex = ifindex;
	now->redirect_ingress = flags & BPF_F_INGRESS;
	return 7; /* TC_ACT_REDIRECT */
}

long bpf_redirect(__u32 ifindex, __u64 flags)
{
	return redirect(NATIVE_DEVICE, ifindex, flags);
}

long bpf_redirect_neigh(__u32 ifindex, void *params, int len, __u64 flags)
{
	return redirect(NATIVE_NEIGHBOUR, ifindex, flags);
}

long bpf_redirect_peer(__u32 ifindex, __u64 flags)
{
	return redirect(NATIVE_PEER_NS, ifindex, flags);
}

/* Maps */

static void *element(void *array, u32 index, u32 n, u32 size)
{
	return index < n ? (unsigned char *)array + (unsigned long)index * size : NULL;
}

static void *find_prefix(const struct weft_prefix *key)
{
	u32 best = 0, addr = bpf_ntohl(key->addr);
	void *found = NULL;

	for (u32 i = 0; i < n_prefixes; i++) {
		u32 len = the_prefixes[i].prefix.prefixlen, own = the_prefixes[i].prefix.addr;

		if (len >= best && (!len || (addr ^ bpf_ntohl(own)) >> (32 - len) == 0)) {
			best = len;
			found = &the_prefixes[i].value;
		}
	}
	return found;
}

static void *find_member(__be32 addr)
{
	for (u32 i = 0; i < n_members; i++)
		if (the_members[i].addr == addr)
			return &the_members[i].value;
	return NULL;
}

void *bpf_map_lookup_elem(const void *map, const void *key)
{
	u32 index = *(const u32 *)key;

	if (map == &state)
		return element(&the_state, index, 1, sizeof(the_state));
	if (map == &routes)
		return element(the_routes, index, WEFT_MAX_ROUTES, sizeof(the_routes[0]));
	if (map == &peers)
		return element(the_peers, index, WEFT_MAX_PEERS, sizeof(the_peers[0]));
	if (map == &endpoints)
		return element(the_endpoints, index, WEFT_MAX_ENDPOINTS, sizeof(the_endpoints[0]));
	if (map == &counters)
		return element(the_counters, index, WEFT_COUNTER_MAX, sizeof(the_counters[0]));
	if (map == &bulk_flows)
		return element(the_bulk, index, WEFT_BULK_FLOWS, sizeof(the_bulk[0]));
	if (map == &prefixes)
		return find_prefix(key);
	if (map == &members)
		return find_member(index);
	if (map == &approvals)
		return now->approval == NATIVE_UNAPPROVED ? NULL : &the_approval;
	abort();
}

long bpf_map_update_elem(const void *map, const void *key, const void *value, __u64 flags)
{
	if (map != &approvals)
		abort();
	now->approvals_made++;
	return 0;
}

long bpf_map_delete_elem(const void *map, const void *key)
{
	if (map != &approvals)
		abort();
	now->approvals_lost++;
	return 0;
}

void *bpf_ringbuf_reserve(const void *map, __u64 size, __u64 flags)
{
	if (map != &hints || size != sizeof(the_hint))
		abort();
	return now->refusals & NATIVE_NO_HINT ? NULL : &the_hint;
}

void bpf_ringbuf_submit(void *data, __u64 flags)
{
	now->hints++;
}

long bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 len)
{
	unsigned char *room = rooms[pkt.room];

	if (offset + len > pkt.len)
		return -EINVAL;
	__asan_unpoison_memory_region(room, NATIVE_ROOM);
	memcpy(to, room + pkt.head + offset, len);
	hide();
	return 0;
}

long bpf_ringbuf_output(const void *map, void *data, __u64 size, __u64 flags)
{
	const struct weft_trace *record = data;

	if (map != &traces || size != sizeof(*record))
		abort();
	now->traces++;
	now->traced_len = record->head_len;
	memcpy(now->traced, record->head, record->head_len);
	return 0;
}

__u32 bpf_get_prandom_u32(void)
{
	return 0;
}

__u64 bpf_ktime_get_ns(void)
{
	return NOW;
}

__u64 bpf_jiffies64(void)
{
	return NOW;
}

__u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

void native_put(int map, const void *key, const void *value)
{
	u32 index = *(const u32 *)key;

	switch (map) {
	case 0:
		the_state = *(const struct weft_state *)value;
		break;
	case 1:
		the_peers[index] = *(const struct weft_peer *)value;
		break;
	case 2:
		the_members[n_members].addr = index;
		the_members[n_members++].value = 1;
		break;
	case 3:
		the_routes[index] = *(const u32 *)value;
		break;
	case 4:
		the_prefixes[n_prefixes].prefix = *(const struct weft_prefix *)key;
		the_prefixes[n_prefixes++].value = *(const u32 *)value;
		break;
	default:
		the_endpoints[index] = *(const struct weft_endpoint *)value;
	}
}

/* Runs */

static void set_approval(enum native_approval how)
{
	struct weft_approved yes = {.generation = GENERATION, .since = NOW};

	if (how == NATIVE_OLD_RULES)
		yes.generation = GENERATION + 1;
	the_state.ttl_tcp = the_state.ttl_other = how == NATIVE_STALE ? 10 : 0xffffffff;
	if (how == NATIVE_STALE)
		yes.since = NOW - 11;
	the_approval = (struct weft_approval){.by = {yes, yes}};
}

/* The direction that a program asks for is not approved. */
static void set_other_way(enum native_program program)
{
	bool egress = program == NATIVE_PORT || program == NATIVE_BRIDGE || program == NATIVE_TUN;

	the_approval.by[egress ? WEFT_EGRESS : WEFT_INGRESS].generation = 0;
}

static void place(const struct native_run *run, enum native_program program)
{
	unsigned char *room = rooms[0];

	__asan_unpoison_memory_region(rooms[0], NATIVE_ROOM);
	__asan_unpoison_memory_region(rooms[1], NATIVE_ROOM);
	memset(room, 0xdd, NATIVE_ROOM);
	memcpy(room + NATIVE_HEADROOM, run->data, run->len);
	pkt.room = 0;
	pkt.head = NATIVE_HEADROOM;
	pkt.len = run->len;
	pkt.linear = run->linear < run->len && program != NATIVE_STRIP ? run->linear : run->len;
	pkt.mac_len = program == NATIVE_TUN || program == NATIVE_ENTER ? 0 : ETH_HLEN;
	pkt.meta = run->marked ? 4 : 0;
	if (run->marked)
		memcpy(room + pkt.head - 4, "weft", 4);
	hide();
}

static int run_skb(enum native_program program, struct native_run *run)
{
	static int (*const programs[])(struct __sk_buff *) = {
		[NATIVE_PORT] = weft_port,
		[NATIVE_BRIDGE] = weft_bridge,
		[NATIVE_TUN] = weft_tun,
		[NATIVE_UPLINK] = weft_uplink,
		[NATIVE_AGGREGATE] = weft_aggregate,
		[NATIVE_VTEP] = weft_vtep,
		[NATIVE_ENTER] = weft_enter,
		[NATIVE_DELIVER] = weft_deliver,
	};
	struct __sk_buff skb = {
		.protocol = bpf_htons((u16)run->protocol),
		.pkt_type = run->pkt_type,
		.vlan_present = run->vlan_present,
		.vlan_tci = run->vlan_tci,
		.ifindex = run->ifindex,
		.gso_size = run->gso_size,
		.hash = run->hash,
		.tc_index = run->tc_index,
	};
	int act;

	pkt.skb = &skb;
	place(run, program);
	act = programs[program](&skb);
	run->out_hash = skb.hash;
	run->out_tc_index = skb.tc_index;
	return act;
}

static int run_xdp(struct native_run *run)
{
	struct xdp_md xdp = {.ingress_ifindex = run->ifindex};

	pkt.xdp = &xdp;
	place(run, NATIVE_STRIP);
	return weft_strip(&xdp);
}

static void read_counters(struct native_run *run)
{
	for (u32 i = 0; i < WEFT_COUNTER_MAX; i++) {
		if (!the_counters[i].packets)
			continue;
		run->counters += (unsigned int)the_counters[i].packets;
		run->counter = i;
		run->counted_bytes = the_counters[i].bytes;
		the_counters[i] = (struct weft_counter){};
	}
}

void native_open(unsigned char *first, unsigned char *second)
{
	rooms[0] = first;
	rooms[1] = second;
}

void native_run(enum native_program program, struct native_run *run)
{
	unsigned char *data;

	now = run;
	pkt.skb = NULL;
	pkt.xdp = NULL;
	memset(the_bulk, 0, sizeof(the_bulk));
	set_approval(run->approval);
	if (run->approval == NATIVE_OTHER_WAY)
		set_other_way(program);
	trace_wish = (struct weft_trace_wish){.sample = run->tracing,
					      .hooks = 0xffffffff,
					      .verdicts = 0xffffffff,
					      .reasons = 0xffffffffffffffffULL,
					      .until = NOW + 1};
	run->act = program == NATIVE_STRIP ? run_xdp(run) : run_skb(program, run);
	read_counters(run);
	__asan_unpoison_memory_region(rooms[pkt.room], NATIVE_ROOM);
	data = rooms[pkt.room] + pkt.head;
	run->out_len = pkt.len;
	memcpy(run->out, data, pkt.len);
	run->out_marked = pkt.meta == 4 && *(const u32 *)(data - 4) == 0x74666577;
}
