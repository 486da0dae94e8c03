/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "store_etcd.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "clock.h"
#include "log.h"
#include "registry_cache.h"
#include "store_etcd_priv.h"
#include "util.h"

/* The configuration is asked for this often; the answer also shows that etcd is alive. */
#define HEARTBEAT_MS 5000
/* Many changes make one state. */
#define GATHER_MS 50
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000
/*
 * A lease that is missing from a new listing may have run out while nobody could reach etcd. Its
 * node has this long to come back: several times what it waits between two attempts at most.
 */
#define RETURN_MS 20000
/* Or the registry itself was lost, and must be made anew first. */
#define GRACE_MS 60000
/* One whose key alone was removed puts it back at once; nobody shall lose a packet over it. */
#define LINGER_MS 120
#define ROUNDS 10
/* How far the cache may be behind. */
#define SAVE_MS 10000
#define SAY_AGAIN_MS 60000
#define SAY_OTHER_MS 10000
#define REFUSALS_A_MINUTE 6

int etcd_store_fail(struct etcd_store *s, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->reason, sizeof(s->reason), format, args);
	va_end(args);
	return err;
}

static int from_etcd(struct etcd_store *s, int err)
{
	return err < 0 ? etcd_store_fail(s, err, "%s", etcd_error(s->etcd)) : err;
}

/* Keys */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Each bad key by its name, but not so many that they drown the rest. */
static void note_refusal(struct etcd_store *s, const char *key, const char *reason)
{
	uint64_t now = clock_ms();

	pthread_mutex_lock(&s->lock);
	s->status.refused++;
	s->status.refusals++;
	snprintf(s->status.refusal, sizeof(s->status.refusal), "%.200s: %.300s", key, reason);
	pthread_mutex_unlock(&s->lock);
	if (now - s->refusals_ms >= 60000) {
		s->refusals_ms = now;
		s->refusals = 0;
	}
	if (s->refusals++ < REFUSALS_A_MINUTE)
		log_warn("refused: %.200s: %s%s", key, reason,
			 s->refusals == REFUSALS_A_MINUTE ? " (and maybe more)" : "");
}

static bool is_own(const struct etcd_store *s, const char *key)
{
	char path[STORE_PATH_MAX];
	size_t len = strlen(own_path(s, s->own.subnet, path));

	return s->own.subnet.len && strncmp(key, path, len) == 0 && (!key[len] || key[len] == '&');
}

static int on_kv(const struct etcd_kv *kv, void *arg)
{
	struct etcd_store *s = arg;
	char reason[NETCONF_ERROR_LEN];
	int err;

	if (is_own(s, kv->key))
		s->own_touched = true;
	if (!kv->value) {
		s->sweep_ms = earlier(s->sweep_ms, clock_ms() + LINGER_MS);
		registry_remove(s->registry, kv->key, clock_ms() + LINGER_MS);
		return 0;
	}
	err = registry_put(s->registry, kv, reason);
	if (err == 1)
		s->dirty = true;
	if (err == -EINVAL)
		note_refusal(s, kv->key, reason);
	return err == -ENOMEM ? err : 0;
}

/* Configuration */

struct config_read {
	struct etcd_store *s;
	int err;
	char reason[NETCONF_ERROR_LEN];
};

static int on_config(const struct etcd_kv *kv, void *arg)
{
	struct config_read *read = arg;
	struct etcd_store *s = read->s;
	struct netconf conf;

	read->err = netconf_parse_network(kv->value, kv->value_len, &conf, read->reason);
	if (read->err || (s->conf.network.len && netconf_equal(&conf, &s->conf)))
		return 0;
	s->conf = conf;
	s->dirty = true;
	registry_set_config(s->registry, &s->conf);
	return 0;
}

static const char *config_path(const struct etcd_store *s, char *buf)
{
	snprintf(buf, STORE_PATH_MAX, "%s/config", s->options->prefix);
	return buf;
}

/* One that turns bad, or goes away, is refused as any other key: the last good one stays. */
static int read_config(struct etcd_store *s)
{
	struct config_read read = {.s = s, .err = -ENOENT, .reason = "no such key"};
	char path[STORE_PATH_MAX];
	int err = etcd_get(s->etcd, config_path(s, path), on_config, &read);

	if (err)
		return from_etcd(s, err);
	if (read.err && (read.err == -ENOMEM || !s->conf.network.len))
		return etcd_store_fail(s, read.err, "%.200s: %.300s", path, read.reason);
	snprintf(s->config_refusal, sizeof(s->config_refusal), "%s", read.err ? read.reason : "");
	return 0;
}

/* Another registry, or an older state of it, under the same name. */
static bool was_replaced(const struct etcd_store *s)
{
	return s->cluster &&
	       (etcd_cluster(s->etcd) != s->cluster || etcd_revision(s->etcd) < s->revision);
}

/* Handing over */

static void publish(struct etcd_store *s)
{
	struct netconf next;
	size_t conflicts;

	if (registry_snapshot(s->registry, &s->conf, s->own.subnet, &next, &conflicts))
		return;
	if (conflicts)
		log_debug("etcd: %zu leases overlap older ones", conflicts);
	pthread_mutex_lock(&s->lock);
	netconf_free(&s->ready);
	s->ready = next;
	pthread_mutex_unlock(&s->lock);
	s->dirty = false;
	s->unsaved = true;
	eventfd_write(s->store.fd, 1);
}

static void save(struct etcd_store *s)
{
	const char *path = s->options->cache_file;
	int err = path && s->unsaved ? registry_cache_write(path, &s->conf, s->registry) : 0;

	if (err)
		log_debug("%s: %s", path, strerror(-err));
	s->unsaved = err != 0;
	s->save_ms = clock_ms() + SAVE_MS;
}

static void save_if_due(struct etcd_store *s)
{
	if (s->unsaved && clock_ms() >= s->save_ms)
		save(s);
}

/* Better than nothing, until etcd says more: pods of the node go on with what was known. */
static void take_cache(struct etcd_store *s)
{
	const struct registry_entry *own;

	if (!s->options->cache_file || !s->has_self || s->conf.network.len ||
	    registry_cache_read(s->options->cache_file, &s->conf, s->registry))
		return;
	own = registry_of_owner(s->registry, s->self.public_ip, NULL);
	if (own) {
		s->own = (struct own_lease){.subnet = own->lease.subnet,
					    .public_ip = s->self.public_ip,
					    .renew_ms = UINT64_MAX};
		log_warn("etcd: away; starting with what was known");
	}
	publish(s);
	s->unsaved = false;
}

static void set_up(struct etcd_store *s, bool up)
{
	pthread_mutex_lock(&s->lock);
	s->status.up = up;
	snprintf(s->status.reason, sizeof(s->status.reason), "%s", up ? "" : s->reason);
	pthread_mutex_unlock(&s->lock);
}

/* Sessions */

static void sweep(struct etcd_store *s)
{
	if (registry_sweep(s->registry, clock_ms(), &s->sweep_ms))
		s->dirty = true;
}

static void count_anew(struct etcd_store *s)
{
	char path[STORE_PATH_MAX];

	pthread_mutex_lock(&s->lock);
	s->status.refused = 0;
	s->status.refusal[0] = '\0';
	pthread_mutex_unlock(&s->lock);
	if (s->config_refusal[0])
		note_refusal(s, config_path(s, path), s->config_refusal);
}

static int list_leases(struct etcd_store *s)
{
	char prefix[STORE_PATH_MAX];
	bool replaced = was_replaced(s);
	int64_t revision;
	int err;

	snprintf(prefix, sizeof(prefix), "%s/subnets/", s->options->prefix);
	registry_list_begin(s->registry);
	count_anew(s);
	err = etcd_list(s->etcd, prefix, &revision, on_kv, s);
	if (err)
		return from_etcd(s, err);
	if (replaced)
		log_warn("etcd: the registry was replaced; known leases stay for %d s",
			 GRACE_MS / 1000);
	s->cluster = etcd_cluster(s->etcd);
	s->revision = revision;
	registry_list_end(s->registry, clock_ms() + (replaced ? GRACE_MS : RETURN_MS));
	sweep(s);
	return 0;
}

static void pause_random(struct etcd_store *s, unsigned int ms)
{
	struct pollfd wake = {.fd = s->wake_fd, .events = POLLIN};
	unsigned int random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	poll(&wake, 1, (int)(ms / 2 + random % (ms + 1)));
}

static int take_place(struct etcd_store *s)
{
	int err = list_leases(s);

	for (int round = 0; err == 0 && s->has_self && round < ROUNDS; round++) {
		err = own_hold(s);
		if (err <= 0)
			return err;
		if (round)
			pause_random(s, 50);
		err = list_leases(s);
	}
	return err == 0 && s->has_self ? etcd_store_fail(s, -EAGAIN, "others are always faster")
				       : err;
}

static int watch(struct etcd_store *s)
{
	char prefix[STORE_PATH_MAX];

	snprintf(prefix, sizeof(prefix), "%s/subnets/", s->options->prefix);
	s->own_touched = false;
	return from_etcd(s, etcd_watch(s->etcd, prefix, s->revision + 1, on_kv, s));
}

/* The configuration again; a change of it, or of the registry as such, needs a new listing. */
static int heartbeat(struct etcd_store *s)
{
	char refusal[NETCONF_ERROR_LEN];
	bool dirty = s->dirty;
	int err;

	s->dirty = false;
	memcpy(refusal, s->config_refusal, sizeof(refusal));
	err = read_config(s);
	if (err == 0 && (s->dirty || was_replaced(s) || strcmp(refusal, s->config_refusal)))
		err = etcd_store_fail(s, -ESTALE, "the configuration changed");
	s->dirty |= dirty;
	return err;
}

/* What is due, and when the next thing will be. */
static int do_due(struct etcd_store *s, uint64_t *beat_ms, uint64_t *next_ms)
{
	uint64_t now = clock_ms();
	int err = 0;

	if (now >= s->sweep_ms)
		sweep(s);
	if (s->dirty)
		publish(s);
	save_if_due(s);
	if (now >= *beat_ms) {
		*beat_ms = now + HEARTBEAT_MS;
		err = heartbeat(s);
	}
	if (err == 0 && s->own.subnet.len && now >= s->own.renew_ms)
		err = own_renew(s);
	if (err == 0 && s->own.reclaim_ms && now >= s->own.reclaim_ms)
		err = etcd_store_fail(s, -ESTALE, "the own lease's key is to be set right");
	*next_ms = earlier(*beat_ms, s->own.subnet.len ? s->own.renew_ms : UINT64_MAX);
	*next_ms = earlier(*next_ms, s->own.reclaim_ms ? s->own.reclaim_ms : UINT64_MAX);
	*next_ms = earlier(*next_ms, s->sweep_ms);
	*next_ms = earlier(*next_ms, s->unsaved ? s->save_ms : UINT64_MAX);
	return err;
}

/* Until something goes wrong or the own key needs a look. */
static int follow(struct etcd_store *s)
{
	uint64_t beat_ms = clock_ms() + HEARTBEAT_MS, next_ms, now;
	int err;

	for (;;) {
		err = do_due(s, &beat_ms, &next_ms);
		if (err)
			return err;
		now = clock_ms();
		err = etcd_watch_wait(s->etcd, next_ms > now ? (unsigned int)(next_ms - now) : 0);
		if (err)
			return from_etcd(s, err);
		if (s->own_touched)
			return etcd_store_fail(s, -ESTALE, "the own lease's key changed");
		if (s->dirty)
			pause_random(s, GATHER_MS / 2);
	}
}

static int session(struct etcd_store *s)
{
	int err;

	pthread_mutex_lock(&s->lock);
	s->self = s->node;
	s->has_self = s->joined;
	pthread_mutex_unlock(&s->lock);
	err = read_config(s);
	if (err == 0)
		err = take_place(s);
	if (err == 0)
		err = watch(s);
	if (err)
		return err;
	if (!s->status.up)
		log_info("etcd: following %s", etcd_endpoint(s->etcd));
	set_up(s, true);
	s->failures = 0;
	publish(s);
	return follow(s);
}

/* The thread */

static bool is_stopping(struct etcd_store *s)
{
	eventfd_t ignored;
	bool stopping;

	eventfd_read(s->wake_fd, &ignored);
	pthread_mutex_lock(&s->lock);
	stopping = s->stopping;
	pthread_mutex_unlock(&s->lock);
	return stopping;
}

/* Once, and now and then; another reason sooner. */
static bool is_worth_saying(const struct etcd_store *s, uint64_t now)
{
	return s->failures == 0 || now - s->said_ms >= SAY_AGAIN_MS ||
	       (now - s->said_ms >= SAY_OTHER_MS && strcmp(s->reason, s->said));
}

static void note_failure(struct etcd_store *s)
{
	uint64_t now = clock_ms();

	set_up(s, false);
	if (is_worth_saying(s, now)) {
		log_warn("etcd: %s; trying again", s->reason);
		snprintf(s->said, sizeof(s->said), "%s", s->reason);
		s->said_ms = now;
	}
	s->failures++;
	eventfd_write(s->store.fd, 1);
}

static void back_off(struct etcd_store *s)
{
	unsigned int shift = s->failures < 6 ? s->failures : 6;
	unsigned int ms = BACKOFF_MIN_MS << shift;

	pause_random(s, ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
}

static void give_up(struct etcd_store *s)
{
	pthread_mutex_lock(&s->lock);
	s->lost = true;
	snprintf(s->status.reason, sizeof(s->status.reason), "%s", s->reason);
	s->status.up = false;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->store.fd, 1);
}

static void *run(void *arg)
{
	struct etcd_store *s = arg;
	int err = 0;

	while (!is_stopping(s) && err != -EKEYREVOKED) {
		err = session(s);
		if (err == -EKEYREVOKED) {
			give_up(s);
		} else if (err == -ESTALE && s->failures == 0) {
			/* Nothing is wrong, but all must be looked at again. */
			log_debug("etcd: %s", s->reason);
			pause_random(s, s->own_touched ? BACKOFF_MIN_MS / 10 : BACKOFF_MIN_MS);
		} else if (err != -ECANCELED) {
			note_failure(s);
			save_if_due(s);
			take_cache(s);
			back_off(s);
		}
	}
	save(s);
	return NULL;
}

static int start_thread(struct etcd_store *s)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	s->started = true;
	pthread_setname_np(s->thread, "weft-etcd");
	return 0;
}

/* Opening */

static int refuse(char *error, const char *format, const char *what)
{
	snprintf(error, NETCONF_ERROR_LEN, format, what);
	return -EINVAL;
}

/* User and password would be for everybody to see in the list of processes. */
static int check_endpoints(const char *list, char *error)
{
	for (const char *at = list; *at;) {
		size_t len = strcspn(at, ",");

		if (strncasecmp(at, "http://", 7) && strncasecmp(at, "https://", 8))
			return refuse(error, "etcd:URL: %.100s is not http://... or https://...",
				      at);
		if (memchr(at, '@', len))
			return refuse(error, "etcd:URL: no user or password%s: see weft(8)", "");
		if (len > 256)
			return refuse(error, "etcd:URL: %.40s... is too long", at);
		at += len + (at[len] == ',');
	}
	return list[0] ? 0 : refuse(error, "etcd:URL: the endpoint is missing%s", "");
}

static int read_password(const struct store_options *options, char **out, char *error)
{
	const char *environment = getenv("WEFT_ETCD_PASSWORD");
	_fclose_ FILE *file = NULL;
	_free_ char *line = NULL;
	size_t size = 0;

	if (!options->password_file) {
		if (!environment)
			environment = getenv("FLANNELD_ETCD_PASSWORD");
		*out = environment ? strdup(environment) : NULL;
		return environment && !*out ? -ENOMEM : 0;
	}
	file = fopen(options->password_file, "re");
	if (!file || getline(&line, &size, file) < 0)
		return refuse(error, "%.300s: cannot read a password", options->password_file);
	line[strcspn(line, "\r\n")] = '\0';
	*out = take_ptr(line);
	return 0;
}

static void etcd_store_close(struct store *store)
{
	struct etcd_store *s = (struct etcd_store *)store;

	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake_fd, 1);
	if (s->started)
		pthread_join(s->thread, NULL);
	etcd_close(s->etcd);
	registry_free(s->registry);
	netconf_free(&s->ready);
	if (s->password)
		explicit_bzero(s->password, strlen(s->password));
	free(s->password);
	free(s->endpoints);
	cleanup_close(&s->wake_fd);
	cleanup_close(&s->store.fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int open_client(struct etcd_store *s)
{
	const struct store_options *options = s->options;
	const struct etcd_config config = {
		.endpoints = s->endpoints,
		.ca_file = options->ca_file,
		.cert_file = options->cert_file,
		.key_file = options->key_file,
		.user = options->user,
		.password = s->password,
		.wake_fd = s->wake_fd,
	};
	int err = s->endpoints && s->store.fd >= 0 && s->wake_fd >= 0 ? 0 : -ENOMEM;

	if (err == 0)
		err = etcd_open(&config, &s->etcd);
	if (err == 0)
		err = registry_new(&s->registry);
	return err ? err : start_thread(s);
}

static int etcd_store_open(const char *rest, const struct store_options *options,
			   struct store **out, char error[NETCONF_ERROR_LEN])
{
	struct etcd_store *s;
	int err = check_endpoints(rest, error);

	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct etcd_store){.store = {.ops = &store_etcd_ops},
				 .options = options,
				 .endpoints = strdup(rest),
				 .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				 .lease_ends_ms = UINT64_MAX,
				 .sweep_ms = UINT64_MAX};
	s->store.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->lock, NULL);
	err = read_password(options, &s->password, error);
	if (err == 0) {
		err = open_client(s);
		if (err)
			snprintf(error, NETCONF_ERROR_LEN, "etcd: %s", strerror(-err));
	}
	if (err) {
		etcd_store_close(&s->store);
		return err;
	}
	*out = &s->store;
	return 0;
}

/* The control thread's side */

static void etcd_store_join(struct store *store, const struct store_node *node)
{
	struct etcd_store *s = (struct etcd_store *)store;

	pthread_mutex_lock(&s->lock);
	s->node = *node;
	s->joined = true;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake_fd, 1);
}

static bool etcd_store_ack(struct store *store)
{
	eventfd_t ignored;

	return eventfd_read(store->fd, &ignored) == 0;
}

static int copy(const struct netconf *from, struct netconf *to)
{
	struct lease *leases = calloc(from->n_leases + 1, sizeof(*leases));

	if (!leases)
		return -ENOMEM;
	memcpy(leases, from->leases, from->n_leases * sizeof(*leases));
	*to = *from;
	to->leases = leases;
	return 0;
}

static int etcd_store_read(struct store *store, struct netconf *out, char error[NETCONF_ERROR_LEN])
{
	struct etcd_store *s = (struct etcd_store *)store;
	int err;

	pthread_mutex_lock(&s->lock);
	snprintf(error, NETCONF_ERROR_LEN, "%s", s->status.reason);
	if (s->lost)
		err = -ESTALE;
	else if (!s->ready.network.len || (s->joined && !s->ready.own.len))
		err = -EAGAIN;
	else
		err = copy(&s->ready, out);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static bool etcd_store_status(struct store *store, struct store_status *out)
{
	struct etcd_store *s = (struct etcd_store *)store;

	pthread_mutex_lock(&s->lock);
	*out = s->status;
	out->has_lease = s->lease_ends_ms != UINT64_MAX;
	if (out->has_lease)
		out->lease_s = ((int64_t)s->lease_ends_ms - (int64_t)clock_ms()) / 1000;
	pthread_mutex_unlock(&s->lock);
	return true;
}

const struct store_ops store_etcd_ops = {
	.scheme = "etcd",
	.open = etcd_store_open,
	.close = etcd_store_close,
	.join = etcd_store_join,
	.status = etcd_store_status,
	.ack = etcd_store_ack,
	.read = etcd_store_read,
};
