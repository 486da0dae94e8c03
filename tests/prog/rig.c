/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rig.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.skel.h"

int n_passed, n_failed;

static struct weft_bpf *skel;
static struct ring_buffer *ring, *trace_ring;
static struct weft_trace last_trace;
static bool have_trace;
static struct weft_hint last_hint;
static bool have_hint;
static bool approves = true;
static struct weft_counter before[WEFT_COUNTER_MAX];

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

static void must(int err, const char *what)
{
	if (err) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static int take_hint(void *arg, void *data, size_t len)
{
	(void)arg;
	if (len >= sizeof(last_hint)) {
		memcpy(&last_hint, data, sizeof(last_hint));
		have_hint = true;
	}
	return 0;
}

/* One at a time: the error stops the rest. */
static int take_trace(void *arg, void *data, size_t len)
{
	(void)arg;
	have_trace = len == sizeof(last_trace);
	memcpy(&last_trace, data, sizeof(last_trace));
	return -EAGAIN;
}

int rig_open(void)
{
	libbpf_set_print(quiet);
	skel = weft_bpf__open_and_load();
	if (!skel)
		return -errno;
	ring = ring_buffer__new(bpf_map__fd(skel->maps.hints), take_hint, NULL, NULL);
	trace_ring = ring_buffer__new(bpf_map__fd(skel->maps.traces), take_trace, NULL, NULL);
	return ring && trace_ring ? 0 : -errno;
}

void rig_close(void)
{
	ring_buffer__free(ring);
	ring_buffer__free(trace_ring);
	weft_bpf__destroy(skel);
}

static void set(struct bpf_map *map, const void *key, const void *value)
{
	must(bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY), bpf_map__name(map));
}

/* For cluster.h. */
static void put(enum cluster_map map, const void *key, const void *value)
{
	struct bpf_map *const maps[] = {
		[CLUSTER_STATE] = skel->maps.state,
		[CLUSTER_PEERS] = skel->maps.peers,
		[CLUSTER_MEMBERS] = skel->maps.members,
		[CLUSTER_ROUTES] = skel->maps.routes,
		[CLUSTER_PREFIXES] = skel->maps.prefixes,
		[CLUSTER_ENDPOINTS] = skel->maps.endpoints,
	};

	set(maps[map], key, value);
}

void rig_configure(uint32_t flags)
{
	cluster_put(put, flags);
}

static struct weft_state state_read(void)
{
	struct weft_state st;
	uint32_t zero = 0;

	must(bpf_map_lookup_elem(bpf_map__fd(skel->maps.state), &zero, &st), "state");
	return st;
}

static void state_write(const struct weft_state *st)
{
	uint32_t zero = 0;

	set(skel->maps.state, &zero, st);
}

void rig_accept(uint16_t formats)
{
	struct weft_state st = state_read();

	st.half[st.active].formats = formats;
	state_write(&st);
	cluster_put_formats(put);
}

void rig_resize_cells(uint32_t shift, uint32_t addr)
{
	struct weft_state st = state_read();

	cluster_clear_routes(put);
	cluster_put_route(put, (addr - IN(0, 0)) >> shift, 1);
	st.half[st.active].cell_shift = shift;
	state_write(&st);
}

void rig_set_network(uint32_t network)
{
	struct weft_state st = state_read();

	st.half[st.active].network = network;
	state_write(&st);
}

void rig_flip_state(void)
{
	struct weft_state st = state_read();

	st.half[!st.active] = st.half[st.active];
	memset(&st.half[st.active], 0, sizeof(st.half[0]));
	st.active = !st.active;
	state_write(&st);
}

/* All values of all CPUs, in one go where the kernel can: 5.13 and later. */
static void read_per_cpu(struct weft_counter *values, int cpus)
{
	static uint32_t keys[WEFT_COUNTER_MAX];
	uint32_t next, n = WEFT_COUNTER_MAX;
	int fd = bpf_map__fd(skel->maps.counters);
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);

	int err = bpf_map_lookup_batch(fd, NULL, &next, keys, values, &n, &opts);

	/* ENOENT: and these are all */
	if ((err == 0 || err == -ENOENT) && n == WEFT_COUNTER_MAX)
		return;
	for (uint32_t key = 0; key < WEFT_COUNTER_MAX; key++)
		must(bpf_map_lookup_elem(fd, &key, values + key * cpus), "counters");
}

static void read_counters(struct weft_counter out[WEFT_COUNTER_MAX])
{
	int n = libbpf_num_possible_cpus();
	struct weft_counter *values = calloc((size_t)n * WEFT_COUNTER_MAX, sizeof(*values));

	must(!values, "counters");
	memset(out, 0, WEFT_COUNTER_MAX * sizeof(*out));
	read_per_cpu(values, n);
	for (int i = 0; i < n * WEFT_COUNTER_MAX; i++) {
		out[i / n].packets += values[i].packets;
		out[i / n].bytes += values[i].bytes;
	}
	free(values);
}

static void diff_counters(struct result *out)
{
	struct weft_counter after[WEFT_COUNTER_MAX];

	read_counters(after);
	out->counters = 0;
	for (uint32_t key = 0; key < WEFT_COUNTER_MAX; key++) {
		if (after[key].packets == before[key].packets)
			continue;
		out->counters++;
		out->counter = key;
		out->by.packets = after[key].packets - before[key].packets;
		out->by.bytes = after[key].bytes - before[key].bytes;
	}
	memcpy(before, after, sizeof(before));
}

static int program_fd(enum rig_program program)
{
	struct bpf_program *const programs[] = {
		[RIG_PORT] = skel->progs.weft_port,
		[RIG_BRIDGE] = skel->progs.weft_bridge,
		[RIG_UPLINK] = skel->progs.weft_uplink,
		[RIG_AGGREGATE] = skel->progs.weft_aggregate,
		[RIG_DELIVER] = skel->progs.weft_deliver,
		[RIG_STRIP] = skel->progs.weft_strip,
		[RIG_TUN] = skel->progs.weft_tun,
		[RIG_ENTER] = skel->progs.weft_enter,
		[RIG_VTEP] = skel->progs.weft_vtep,
	};

	return bpf_program__fd(programs[program]);
}

void rig_approves(bool yes)
{
	approves = yes;
}

void rig_set_approval(const struct weft_flow *flow, const struct weft_approval *approval)
{
	set(skel->maps.approvals, flow, approval);
}

bool rig_get_approval(const struct weft_flow *flow, struct weft_approval *out)
{
	return bpf_map_lookup_elem(bpf_map__fd(skel->maps.approvals), flow, out) == 0;
}

void rig_forget_approvals(void)
{
	struct weft_flow flow;

	while (bpf_map_get_next_key(bpf_map__fd(skel->maps.approvals), NULL, &flow) == 0)
		must(bpf_map_delete_elem(bpf_map__fd(skel->maps.approvals), &flow), "approvals");
}

void rig_set_age(uint32_t ttl_tcp, uint32_t ttl_other, uint32_t generation)
{
	struct weft_state st = state_read();

	st.ttl_tcp = ttl_tcp;
	st.ttl_other = ttl_other;
	st.generation = generation;
	state_write(&st);
}

bool rig_flow_of(enum rig_program program, size_t overhead, const struct frame *frame,
		 struct weft_flow *out)
{
	bool egress = program == RIG_PORT || program == RIG_BRIDGE;
	bool wrapped = program == RIG_UPLINK || program == RIG_STRIP;
	size_t at = wrapped ? WEFT_ETH_HLEN + overhead : WEFT_ETH_HLEN;
	const uint8_t *ip = frame->data + at, *l4 = ip + WEFT_IP4_HLEN;
	uint16_t asks_local = htons(WEFT_ECHO_LOCAL);

	*out = (struct weft_flow){0};
	if (frame->len < at + WEFT_IP4_HLEN + 8 || ip[0] != 0x45)
		return false;
	memcpy(&out->local, ip + (egress ? 12 : 16), 4);
	memcpy(&out->remote, ip + (egress ? 16 : 12), 4);
	out->protocol = ip[9];
	if (ip[9] != 1) {
		memcpy(&out->local_port, l4 + (egress ? 0 : 2), 2);
		memcpy(&out->remote_port, l4 + (egress ? 2 : 0), 2);
		return true;
	}
	memcpy(&out->local_port, l4 + 4, 2);
	if ((l4[0] == 8) == egress)
		memcpy(&out->remote_port, &asks_local, 2);
	return true;
}

static void approve(enum rig_program program, size_t overhead, const struct frame *frame)
{
	const struct weft_approval both = {.by = {{.generation = 1}, {.generation = 1}}};
	struct weft_flow flow;

	if (rig_flow_of(program, overhead, frame, &flow))
		rig_set_approval(&flow, &both);
}

bool rig_run(enum rig_program program, const struct frame *in, uint32_t gso_size,
	     struct result *out)
{
	return rig_run_as(program, WEFT_OVERHEAD_UDP, in, gso_size, out);
}

bool rig_run_as(enum rig_program program, size_t overhead, const struct frame *in,
		uint32_t gso_size, struct result *out)
{
	struct __sk_buff ctx = {.gso_size = gso_size};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->data, .data_size_in = in->len,
			    .data_out = out->out.data, .data_size_out = sizeof(out->out.data),
			    .ctx_in = program == RIG_STRIP ? NULL : &ctx,
			    .ctx_size_in = program == RIG_STRIP ? 0 : sizeof(ctx));

	if (approves)
		approve(program, overhead, in);
	memset(out->out.data, 0xee, sizeof(out->out.data));
	if (bpf_prog_test_run_opts(program_fd(program), &opts)) {
		/* The test run itself wants an IPv4 header behind an IPv4 EtherType. */
		must(errno != EINVAL || in->len >= RIG_MIN_LEN, "test run");
		return false;
	}
	out->act = (int)opts.retval;
	out->out.len = opts.data_size_out;
	diff_counters(out);
	return true;
}

bool rig_hint(struct weft_hint *out)
{
	have_hint = false;
	ring_buffer__consume(ring);
	*out = last_hint;
	return have_hint;
}

void rig_trace(const struct weft_trace_wish *wish)
{
	skel->bss->trace_wish = *wish;
}

bool rig_traced(struct weft_trace *out)
{
	have_trace = false;
	ring_buffer__consume(trace_ring);
	*out = last_trace;
	return have_trace;
}

uint64_t rig_trace_lost(void)
{
	return skel->bss->trace_lost;
}

static void dump(const char *what, const struct frame *frame)
{
	if (!frame)
		return;
	printf("# %s, %zu bytes:", what, frame->len);
	for (size_t i = 0; i < frame->len && i < 96; i++)
		printf("%s%02x", i % 16 ? " " : "\n#   ", frame->data[i]);
	printf("\n");
}

void report(bool ok, const char *name, const struct frame *want, const struct frame *got)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", n_passed + n_failed + 1, name);
	if (ok) {
		n_passed++;
		return;
	}
	n_failed++;
	dump("want", want);
	dump("got", got);
}
