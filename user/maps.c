/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>

#include "log.h"
#include "maps_priv.h"
#include "util.h"

/*
 * MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel sched/membarrier.c); where it is filtered, an
 * interval no softirq lasts stands in.
 */
void maps_wait(void)
{
	if (syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(100 * 1000);
}

static void *map_memory(int fd, size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

#define STATE_BYTES sizeof(struct weft_state)
#define CELLS_BYTES (WEFT_MAX_ROUTES * sizeof(struct cell))
#define PEERS_BYTES (WEFT_MAX_PEERS * sizeof(struct weft_peer))
#define ENDPOINTS_BYTES (WEFT_MAX_ENDPOINTS * sizeof(struct weft_endpoint))

static int map_all(struct maps *m)
{
	m->state = map_memory(m->fds.state, STATE_BYTES);
	m->cells = map_memory(m->fds.routes, CELLS_BYTES);
	m->peers = map_memory(m->fds.peers, PEERS_BYTES);
	m->endpoints = map_memory(m->fds.endpoints, ENDPOINTS_BYTES);
	if (m->state == MAP_FAILED || m->cells == MAP_FAILED || m->peers == MAP_FAILED ||
	    m->endpoints == MAP_FAILED)
		return log_err(-errno, "cannot map the BPF maps");
	return 0;
}
/* What no configuration may be published without; an earlier agent's stays. */
static int adopt_state(struct maps *m)
{
	uint64_t secret[2];

	if (!m->state->generation)
		store_word(&m->state->generation, 1);
	if (m->state->secret[0] || m->state->secret[1])
		return 0;
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return log_err(-errno, "no random numbers");
	memcpy(m->state->secret, secret, sizeof(secret));
	return 0;
}

int maps_open(const struct map_fds *fds, struct maps **out)
{
	struct maps *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->fds = *fds;
	m->ep_dirty = calloc(WEFT_MAX_ENDPOINTS, 1);
	err = m->ep_dirty ? map_all(m) : -ENOMEM;
	if (err == 0)
		err = maps_adopt_tables(m);
	if (err == 0)
		err = adopt_state(m);
	if (err) {
		maps_close(m);
		return err;
	}
	*out = m;
	return 0;
}

static void unmap(void *p, size_t len)
{
	if (p && p != MAP_FAILED)
		munmap(p, len);
}

void maps_close(struct maps *m)
{
	if (!m)
		return;
	unmap(m->state, STATE_BYTES);
	unmap(m->cells, CELLS_BYTES);
	unmap(m->peers, PEERS_BYTES);
	unmap(m->endpoints, ENDPOINTS_BYTES);
	maps_forget_tables(m);
	free(m->ep_dirty);
	free(m);
}

int maps_set_config(struct maps *m, const struct weft_config *config)
{
	uint32_t active = m->state->active & 1;

	if (memcmp(&m->state->half[active], config, sizeof(*config)) == 0)
		return 0;
	if (m->state_dirty)
		maps_wait(); /* rule 4: only now may the other half be written again */
	m->state->half[!active] = *config;
	store_word(&m->state->active, !active);
	m->state_dirty = true;
	return 0;
}

uint32_t generation_advance(struct weft_state *state)
{
	uint32_t generation = __atomic_add_fetch(&state->generation, 1, __ATOMIC_RELEASE);

	return generation ? generation
			  : __atomic_add_fetch(&state->generation, 1, __ATOMIC_RELEASE);
}

/* The coarse clock ticks once per jiffy, so its resolution tells the kernel's HZ. */
static uint32_t to_jiffies(uint32_t seconds)
{
	struct timespec tick;
	uint64_t jiffies;

	if (seconds == 0 || clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_nsec <= 0)
		return UINT32_MAX;
	jiffies = (uint64_t)seconds * 1000000000 / (uint64_t)tick.tv_nsec;
	return jiffies < UINT32_MAX ? (uint32_t)jiffies : UINT32_MAX;
}

void maps_set_lifetimes(struct maps *m, uint32_t tcp_s, uint32_t other_s)
{
	store_word(&m->state->ttl_tcp, to_jiffies(tcp_s));
	store_word(&m->state->ttl_other, to_jiffies(other_s));
}

uint32_t maps_new_generation(struct maps *m)
{
	return generation_advance(m->state);
}
static bool endpoint_equal(const struct weft_endpoint *a, const struct weft_endpoint *b)
{
	return a->ifindex == b->ifindex && a->flags == b->flags && memcmp(a->mac, b->mac, 6) == 0;
}

int maps_set_endpoint(struct maps *m, uint32_t index, const struct weft_endpoint *ep)
{
	struct weft_endpoint *slot;

	if (index >= WEFT_MAX_ENDPOINTS)
		return -ERANGE;
	slot = &m->endpoints[index];
	if (endpoint_equal(slot, ep))
		return 0;
	if (slot->ifindex) {
		store_word(&slot->ifindex, 0); /* rule 3 */
		m->ep_dirty[index] = 1;
	}
	if (!ep->ifindex)
		return 0;
	if (m->ep_dirty[index]) {
		maps_wait();
		memset(m->ep_dirty, 0, WEFT_MAX_ENDPOINTS);
		m->state_dirty = false;
	}
	memcpy(slot->mac, ep->mac, sizeof(slot->mac));
	slot->flags = ep->flags;
	store_word(&slot->ifindex, ep->ifindex);
	return 0;
}

void maps_inherit_endpoints(struct maps *m, int older_fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	size_t size, bytes;
	const uint8_t *older;

	if (bpf_obj_get_info_by_fd(older_fd, &info, &len) || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.max_entries != WEFT_MAX_ENDPOINTS || info.value_size < sizeof(uint32_t))
		return;
	size = (info.value_size + 7) / 8 * 8; /* as in struct cell */
	bytes = info.value_size < sizeof(*m->endpoints) ? info.value_size : sizeof(*m->endpoints);
	older = mmap(NULL, WEFT_MAX_ENDPOINTS * size, PROT_READ, MAP_SHARED, older_fd, 0);
	if (older == MAP_FAILED)
		return;
	for (size_t i = 0; i < WEFT_MAX_ENDPOINTS; i++)
		memcpy(&m->endpoints[i], older + i * size, bytes);
	munmap((void *)older, WEFT_MAX_ENDPOINTS * size);
}

void maps_fill(const struct maps *m, struct datapath_fill *out)
{
	*out = (struct datapath_fill){.peers = (uint32_t)m->n_entries};
	for (size_t i = 0; i < WEFT_MAX_ROUTES; i++)
		out->routes += m->cells[i].value != WEFT_ROUTE_NONE;
	for (size_t i = 0; i < WEFT_MAX_ENDPOINTS; i++)
		out->endpoints += m->endpoints[i].ifindex != 0;
}

int maps_counters(const struct maps *m, struct weft_counter out[WEFT_COUNTER_MAX])
{
	int n = libbpf_num_possible_cpus();
	_free_ struct weft_counter *cpu = n > 0 ? calloc(n, sizeof(*cpu)) : NULL;

	if (!cpu)
		return n < 0 ? n : -ENOMEM;
	memset(out, 0, WEFT_COUNTER_MAX * sizeof(*out));
	for (uint32_t key = 0; key < WEFT_COUNTER_MAX; key++) {
		if (bpf_map_lookup_elem(m->fds.counters, &key, cpu))
			return -errno;
		for (int i = 0; i < n; i++) {
			out[key].packets += cpu[i].packets;
			out[key].bytes += cpu[i].bytes;
		}
	}
	return 0;
}
