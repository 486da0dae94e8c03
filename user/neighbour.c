/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "neighbour.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "util.h"

#define TICK_MS 250
#define BACKOFF_MIN_MS 250
#define BACKOFF_MAX_MS 5000
/* Up to this back-off a request counts as lost, and is repeated sooner than the kernel would. */
#define HASTY_MAX_MS 1000
#define PROBE_INTERVAL_MS 1000
/* The kernel's own patience: mcast_solicit (3) requests, retrans_time (1 s) apart. */
#define LOST_MAX_MS 3000
#define ASYMMETRIC_MS 60000 /* up to twice so long, as one timer serves all */
#define MIN_BUCKETS 64

#define NUD_FIXED (NUD_PERMANENT | NUD_NOARP)
/* The kernel knows the MAC or is busy confirming it by itself. */
#define NUD_SETTLED (NUD_FIXED | NUD_REACHABLE | NUD_DELAY | NUD_PROBE)
/* Has a MAC that may be used. */
#define NUD_USABLE (NUD_SETTLED | NUD_STALE)

struct neighbours {
	struct nl *nl;
	struct loop_timer *tick;
	bool ticking;
	struct loop_timer *doubt; /* ends asymmetry */
	bool doubting; /* it is armed */
	bool table_full; /* said so already */
	neighbour_fn fn;
	void *arg;
	struct neighbour **buckets;
	size_t n_buckets; /* a power of 2 */
	size_t n;
};

static struct neighbour **bucket(struct neighbour **buckets, size_t n_buckets, uint32_t ifindex,
				 uint32_t addr)
{
	uint64_t hash = ((uint64_t)ifindex << 32 | addr) * 0x9e3779b97f4a7c15ULL;

	return &buckets[(hash >> 32) & (n_buckets - 1)];
}

static struct neighbour **find(const struct neighbours *t, uint32_t ifindex, uint32_t addr)
{
	struct neighbour **p = bucket(t->buckets, t->n_buckets, ifindex, addr);

	while (*p && ((*p)->addr != addr || (*p)->link->ifindex != ifindex))
		p = &(*p)->next;
	return p;
}

static int grow(struct neighbours *t)
{
	size_t n_buckets = t->n_buckets ? 2 * t->n_buckets : MIN_BUCKETS, i;
	struct neighbour **buckets, **to, *n;

	if (t->n < t->n_buckets)
		return 0;
	buckets = calloc(n_buckets, sizeof(struct neighbour *));
	if (!buckets)
		return -ENOMEM;
	for (i = 0; i < t->n_buckets; i++) {
		while ((n = t->buckets[i])) {
			t->buckets[i] = n->next;
			to = bucket(buckets, n_buckets, n->link->ifindex, n->addr);
			n->next = *to;
			*to = n;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->n_buckets = n_buckets;
	return 0;
}

/* Whoever was asked because of traffic, and answers as before, will go on doing so. */
static bool is_asymmetric(struct neighbours *t, const struct neighbour *n)
{
	if (n->probing && !t->doubting) {
		t->doubting = true;
		loop_timer_arm(t->doubt, ASYMMETRIC_MS, 0);
	}
	return n->probing || n->asymmetric;
}

static void set_resolved(struct neighbours *t, struct neighbour *n, const uint8_t mac[6])
{
	bool same =
		n->resolved == (mac != NULL) && (!mac || memcmp(n->mac, mac, sizeof(n->mac)) == 0);
	bool asymmetric = same && mac && is_asymmetric(t, n);

	if (mac)
		n->probing = false;
	if (same && asymmetric == n->asymmetric)
		return;
	n->resolved = mac != NULL;
	n->asymmetric = asymmetric;
	if (mac)
		memcpy(n->mac, mac, sizeof(n->mac));
	if (n->peers)
		t->fn(n, t->arg);
}

/* What the kernel now says. An entry without an answer yet keeps its last MAC for a while. */
static void observe(struct neighbours *t, struct neighbour *n, uint16_t state, const uint8_t *mac)
{
	n->state = state;
	if (mac && (state & NUD_USABLE)) {
		n->lost_ms = 0;
		if (state & NUD_SETTLED)
			n->backoff_ms = BACKOFF_MIN_MS;
		set_resolved(t, n, mac);
		return;
	}
	if (!n->lost_ms)
		n->lost_ms = clock_ms();
	if (state & NUD_FAILED)
		set_resolved(t, n, NULL);
}

static void read_state(struct neighbours *t, struct neighbour *n)
{
	struct rtnl_neigh now = {};
	int err;

	err = rtnl_neigh_get(t->nl, n->link->ifindex, n->addr, &now);
	if (err && err != -ENOENT && err != -ENODEV)
		log_debug("%s: cannot read a neighbour: %s", n->link->ifname, strerror(-err));
	observe(t, n, now.state, now.has_mac ? now.mac : NULL);
}

static void schedule_tick(struct neighbours *t)
{
	if (t->ticking)
		return;
	t->ticking = true;
	loop_timer_arm(t->tick, TICK_MS, 0);
}

static void report_ask_error(struct neighbours *t, const struct neighbour *n, int err)
{
	if (err != -ENOBUFS || t->table_full) {
		log_debug("%s: cannot resolve a neighbour: %s", n->link->ifname, strerror(-err));
		return;
	}
	t->table_full = true;
	log_warn("the kernel's neighbour table is full: raise net.ipv4.neigh.default.gc_thresh3");
}

/* Never for a fixed entry, which this would unfix. */
static void ask(struct neighbours *t, struct neighbour *n)
{
	int err;

	n->next_ask_ms = clock_ms() + n->backoff_ms;
	n->backoff_ms = 2 * n->backoff_ms < BACKOFF_MAX_MS ? 2 * n->backoff_ms : BACKOFF_MAX_MS;
	err = rtnl_neigh_use(t->nl, n->link->ifindex, n->addr, true);
	if (err)
		report_ask_error(t, n, err);
	else if (n->state & NUD_STALE)
		n->state = NUD_DELAY; /* the one change that the kernel does not announce */
	else if (!(n->state & NUD_SETTLED))
		read_state(t, n);
}

/*
 * A request goes out at once, by broadcast. Otherwise the kernel confirms a known MAC by unicast,
 * to an address that may be the wrong one, and repeats an unanswered request after a second.
 */
static void ask_afresh(struct neighbours *t, struct neighbour *n)
{
	rtnl_neigh_delete(t->nl, n->link->ifindex, n->addr);
	n->state = 0;
	ask(t, n);
}

static bool wants_answer(const struct neighbour *n)
{
	return n->link->up && !(n->state & NUD_SETTLED);
}

/* Do what n is due for. True while it must be looked at again. */
static bool attend(struct neighbours *t, struct neighbour *n)
{
	uint64_t now = clock_ms();

	if (!wants_answer(n))
		return false;
	if (now >= n->next_ask_ms) {
		/* A fixed entry may have come about whose event is still on its way. */
		read_state(t, n);
		if (wants_answer(n) && (n->state & NUD_INCOMPLETE) && n->backoff_ms <= HASTY_MAX_MS)
			ask_afresh(t, n);
		else if (wants_answer(n))
			ask(t, n);
	}
	if (n->lost_ms && now >= n->lost_ms + LOST_MAX_MS)
		set_resolved(t, n, NULL);
	return wants_answer(n);
}

static void attend_soon(struct neighbours *t, struct neighbour *n)
{
	if (attend(t, n))
		schedule_tick(t);
}

static void on_tick(void *arg)
{
	struct neighbours *t = arg;
	struct neighbour *n;
	bool restless = false;
	size_t i;

	t->ticking = false;
	for (i = 0; i < t->n_buckets; i++) {
		for (n = t->buckets[i]; n; n = n->next)
			restless |= attend(t, n);
	}
	if (restless)
		schedule_tick(t);
}

static void on_doubt(void *arg)
{
	struct neighbours *t = arg;

	t->doubting = false;
	for (size_t i = 0; i < t->n_buckets; i++) {
		for (struct neighbour *n = t->buckets[i]; n; n = n->next) {
			if (!n->asymmetric)
				continue;
			n->asymmetric = false;
			if (n->peers)
				t->fn(n, t->arg);
		}
	}
}

int neighbours_new(struct loop *loop, struct nl *nl, neighbour_fn fn, void *arg,
		   struct neighbours **out)
{
	struct neighbours *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->nl = nl;
	t->fn = fn;
	t->arg = arg;
	err = grow(t);
	if (!err)
		err = loop_timer_new(loop, on_tick, t, &t->tick);
	if (!err)
		err = loop_timer_new(loop, on_doubt, t, &t->doubt);
	if (err) {
		neighbours_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void neighbours_free(struct neighbours *t)
{
	struct neighbour *n;
	size_t i;

	if (!t)
		return;
	/* The timers live as long as the loop. */
	loop_timer_disarm(t->tick);
	loop_timer_disarm(t->doubt);
	for (i = 0; i < t->n_buckets; i++) {
		while ((n = t->buckets[i])) {
			t->buckets[i] = n->next;
			free(n);
		}
	}
	free(t->buckets);
	free(t);
}

/* Resolve from the start: nothing that was known before counts. */
static void restart(struct neighbours *t, struct neighbour *n)
{
	n->backoff_ms = BACKOFF_MIN_MS;
	n->next_ask_ms = 0;
	if (!n->link->up) {
		n->state = 0;
		n->lost_ms = 0;
		set_resolved(t, n, NULL);
		return;
	}
	read_state(t, n);
	/* Also when all is well: this is what makes the kernel keep it so. */
	if (!(n->state & NUD_FIXED))
		ask(t, n);
	if (wants_answer(n))
		schedule_tick(t);
}

int neighbour_get(struct neighbours *t, const struct rtnl_link *link, uint32_t addr,
		  struct neighbour **out)
{
	struct neighbour **p = find(t, link->ifindex, addr), *n;

	if (!*p) {
		if (grow(t))
			return -ENOMEM;
		n = calloc(1, sizeof(*n));
		if (!n)
			return -ENOMEM;
		n->link = link;
		n->addr = addr;
		p = bucket(t->buckets, t->n_buckets, link->ifindex, addr);
		n->next = *p;
		*p = n;
		t->n++;
		restart(t, n);
		*out = n;
		return 0;
	}
	*out = *p;
	return 0;
}

void neighbour_put(struct neighbours *t, struct neighbour *n)
{
	struct neighbour **p = find(t, n->link->ifindex, n->addr);
	struct rtnl_neigh now;

	*p = n->next;
	t->n--;
	if (rtnl_neigh_get(t->nl, n->link->ifindex, n->addr, &now) == 0 && !(now.state & NUD_FIXED))
		rtnl_neigh_use(t->nl, n->link->ifindex, n->addr, false);
	free(n);
}

void neighbours_event(struct neighbours *t, const struct rtnl_neigh *event, bool deleted)
{
	struct neighbour *n = *find(t, event->ifindex, event->addr);

	if (!n || !n->link->up)
		return;
	/*
	 * Bad news may be about an entry that is long replaced, by our own probe for one, and the
	 * kernel says "failed" for any deletion as well: only its present state counts.
	 */
	if (deleted || !event->has_mac || !(event->state & NUD_USABLE))
		read_state(t, n);
	else
		observe(t, n, event->state, event->mac);
	attend_soon(t, n);
}

void neighbours_restart(struct neighbours *t, const struct rtnl_link *link)
{
	struct neighbour *n;
	size_t i;

	for (i = 0; i < t->n_buckets; i++) {
		for (n = t->buckets[i]; n; n = n->next) {
			if (!link || n->link == link)
				restart(t, n);
		}
	}
}

void neighbour_probe(struct neighbours *t, struct neighbour *n)
{
	uint64_t now = clock_ms();

	if (!n->link->up || (n->probed_ms && now < n->probed_ms + PROBE_INTERVAL_MS))
		return;
	n->probed_ms = now;
	read_state(t, n);
	if (n->state & NUD_FIXED)
		return;
	n->backoff_ms = BACKOFF_MIN_MS;
	n->probing = true;
	ask_afresh(t, n);
	if (wants_answer(n))
		schedule_tick(t);
}
