/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * This node's own lease (flannel.md 2.3, 2.4). Every write names the revision it is based on, so
 * that of two nodes after one subnet exactly one gets it. The lease in etcd is kept alive, the key
 * is not written again: peers see no change when it is renewed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "log.h"
#include "store_etcd_priv.h"

/* As flannel: one of the first free ones, so that nodes that start together rarely collide. */
#define CANDIDATES 100
/* Of two that both think they are right, neither shall keep the other busy. */
#define RECLAIM_MS 60000

const char *own_path(const struct etcd_store *s, struct prefix4 subnet, char *buf)
{
	char key[REGISTRY_KEY_LEN];

	snprintf(buf, STORE_PATH_MAX, "%s/subnets/%s", s->options->prefix,
		 registry_key(subnet, key));
	return buf;
}

static int from_etcd(struct etcd_store *s, int err)
{
	return err < 0 ? etcd_store_fail(s, err, "%s", etcd_error(s->etcd)) : err;
}

static bool fits(const struct netconf *conf, struct prefix4 subnet)
{
	return subnet.len == conf->subnet_len && subnet.addr >= conf->subnet_min &&
	       subnet.addr <= conf->subnet_max;
}

/* id lasts ttl_s from before the answer came, when it was asked for. */
static void note_lease(struct etcd_store *s, struct prefix4 subnet, int64_t id, int64_t ttl_s,
		       uint64_t asked_ms)
{
	uint64_t ttl = (uint64_t)ttl_s * 1000, margin = (uint64_t)s->options->renew_margin * 1000;
	bool endless = id == 0;

	s->own.subnet = subnet;
	s->own.public_ip = s->self.public_ip;
	s->own.id = id;
	s->own.renew_ms =
		endless ? UINT64_MAX : asked_ms + (margin > ttl / 2 ? ttl / 2 : ttl - margin);
	pthread_mutex_lock(&s->lock);
	s->lease_ends_ms = endless ? UINT64_MAX : asked_ms + ttl;
	pthread_mutex_unlock(&s->lock);
}

/* What we are to be known by. */
static struct lease announcement(const struct etcd_store *s, struct prefix4 subnet)
{
	struct lease lease = {
		.subnet = subnet,
		.public_ip = s->self.public_ip,
		.format =
			s->options->format < WEFT_FORMAT_MAX ? s->options->format : s->conf.format,
		.announced = true,
		.vtep = {.vni = s->conf.vni},
	};

	if (lease.format != WEFT_FORMAT_UDP)
		snprintf(lease.backend, sizeof(lease.backend), "%s", format_name(lease.format));
	format_vtep_mac(lease.public_ip, lease.vtep.mac);
	return lease;
}

/* 1 in any case but an error: the next listing shows who has it. */
static int write_own(struct etcd_store *s, struct prefix4 subnet, int64_t lease,
		     int64_t mod_revision)
{
	char path[STORE_PATH_MAX], value[REGISTRY_VALUE_LEN];
	struct lease self = announcement(s, subnet);
	bool granted = lease < 0;
	int err = 0;

	if (granted) {
		err = etcd_grant(s->etcd, s->options->lease_ttl, &lease);
		s->own.granted = lease;
	}
	if (err == 0)
		err = etcd_put(s->etcd, own_path(s, subnet, path), registry_value(&self, value),
			       lease, mod_revision);
	if (err == 0 && granted)
		err = etcd_revoke(s->etcd, lease);
	return err < 0 ? from_etcd(s, err) : 1;
}

static int create(struct etcd_store *s, struct prefix4 subnet)
{
	char name[PREFIX4_STRLEN];

	log_info("etcd: asking for %s", prefix4_format(subnet, name));
	return write_own(s, subnet, -1, 0);
}

/* The keys of a subnet, as etcd has them now. */
struct keys {
	char plain[STORE_PATH_MAX], dual[STORE_PATH_MAX]; /* paths; dual: names an IPv6 subnet */
	int64_t plain_revision, dual_revision; /* 0: there is none */
	int64_t dual_lease;
};

static int on_key(const struct etcd_kv *kv, void *arg)
{
	struct keys *keys = arg;
	size_t len = strlen(keys->plain);

	if (kv->key[len] == '\0')
		keys->plain_revision = kv->mod_revision;
	if (kv->key[len] != '&' || strlen(kv->key) >= sizeof(keys->dual))
		return 0;
	strcpy(keys->dual, kv->key);
	keys->dual_revision = kv->mod_revision;
	keys->dual_lease = kv->lease;
	return 0;
}

static int find_keys(struct etcd_store *s, struct prefix4 subnet, struct keys *keys)
{
	int64_t ignored;

	*keys = (struct keys){};
	own_path(s, subnet, keys->plain);
	return from_etcd(s, etcd_list(s->etcd, keys->plain, &ignored, on_key, keys));
}

/*
 * Our subnet under a key that names an IPv6 subnet, too, as flannel leaves it: we announce none,
 * under the same lease. 1, as above.
 */
static int replace_dual(struct etcd_store *s, struct prefix4 subnet)
{
	struct lease self = announcement(s, subnet);
	char value[REGISTRY_VALUE_LEN];
	struct keys keys;
	int err = find_keys(s, subnet, &keys); /* fills keys in any case */
	const struct etcd_move move = {.from = keys.dual,
				       .from_revision = keys.dual_revision,
				       .to = keys.plain,
				       .to_revision = keys.plain_revision,
				       .value = registry_value(&self, value),
				       .lease = keys.dual_lease};

	if (err < 0 || !keys.dual_revision)
		return err < 0 ? err : 1;
	log_info("etcd: %s becomes a key without IPv6", keys.dual);
	err = etcd_move(s->etcd, &move);
	return err < 0 ? from_etcd(s, err) : 1;
}

/* The key is there with our address; make sure that it stays. */
static int keep(struct etcd_store *s, const struct registry_entry *entry)
{
	const struct registry_entry known = *entry; /* as a call may change the table */
	const struct lease self = announcement(s, known.lease.subnet);
	uint64_t asked_ms = clock_ms();
	int64_t ttl_s = 0;
	int err = 0;

	if (known.dual)
		return replace_dual(s, known.lease.subnet);
	if (!lease_equal(&known.lease, &self))
		return write_own(s, known.lease.subnet, known.etcd_lease, known.mod_revision);
	if (known.etcd_lease)
		err = etcd_keep_alive(s->etcd, known.etcd_lease, &ttl_s);
	if (err)
		return from_etcd(s, err);
	/* It has ended, or is of a length that another process asked for. */
	if (known.etcd_lease &&
	    (ttl_s == 0 || (known.etcd_lease != s->own.granted && ttl_s != s->options->lease_ttl)))
		return write_own(s, known.lease.subnet, -1, known.mod_revision);
	note_lease(s, known.lease.subnet, known.etcd_lease, ttl_s, asked_ms);
	return 0;
}

/*
 * Somebody wrote another address, or nonsense, over our key. While our lease lasts that is not
 * theirs to do: peers that run weft do not believe it, and the key is set right, though not over
 * and over. What was a reservation stays one; else peers know the key by its lease, which may have
 * ended since without a key to take along.
 */
static int reclaim(struct etcd_store *s, const struct registry_entry *entry)
{
	const struct registry_entry known = *entry; /* as a call may change the table */
	bool reserved = known.etcd_lease == 0 && known.lease.public_ip;
	uint64_t now = clock_ms();
	int64_t ttl_s = 0;
	int err = 0;

	if (s->own.reclaimed_ms && now - s->own.reclaimed_ms < RECLAIM_MS) {
		s->own.reclaim_ms = s->own.reclaimed_ms + RECLAIM_MS;
		return 0;
	}
	if (known.etcd_lease > 0)
		err = etcd_keep_alive(s->etcd, known.etcd_lease, &ttl_s);
	if (err)
		return from_etcd(s, err);
	err = write_own(s, known.lease.subnet, reserved || ttl_s ? known.etcd_lease : -1,
			known.mod_revision);
	if (err >= 0)
		s->own.reclaimed_ms = now;
	return err;
}

static int lose(struct etcd_store *s, const struct registry_entry *entry)
{
	char name[PREFIX4_STRLEN], ip[INET_ADDRSTRLEN];

	return etcd_store_fail(s, -EKEYREVOKED, "the lease of %s has ended and is now %s's",
			       prefix4_format(s->own.subnet, name),
			       ip4_format(entry->lease.public_ip, ip));
}

/* A write that was broken off may have been made: what is under our lease is of our hand. */
static bool is_others(const struct etcd_store *s, const struct registry_entry *entry)
{
	return entry->lease.public_ip && entry->lease.public_ip != s->self.public_ip &&
	       entry->lease.public_ip != s->own.public_ip &&
	       (s->own.id == 0 || entry->etcd_lease != s->own.id);
}

/* A key of our subnet that is to go. 1, as above. */
static int drop(struct etcd_store *s, const struct registry_entry *entry, const char *reason)
{
	int64_t revision = entry->mod_revision;
	bool dual = entry->dual;
	struct keys keys;
	int err = find_keys(s, entry->lease.subnet, &keys);

	if (err < 0 || (dual && !keys.dual_revision))
		return err < 0 ? err : 1;
	log_info("etcd: giving %s back: %s", dual ? keys.dual : keys.plain, reason);
	err = etcd_delete(s->etcd, dual ? keys.dual : keys.plain,
			  dual ? keys.dual_revision : revision);
	return err < 0 ? from_etcd(s, err) : 1;
}

static int hold_known(struct etcd_store *s)
{
	const struct registry_entry *entry = registry_find(s->registry, s->own.subnet);

	if (!entry || entry->gone_ms)
		return create(s, s->own.subnet);
	if (is_others(s, entry))
		return lose(s, entry);
	if (entry->contested && entry->dual)
		return drop(s, entry, "it is not of our hand");
	return entry->contested ? reclaim(s, entry) : keep(s, entry);
}

static int choose_free(struct etcd_store *s)
{
	struct prefix4 unused[CANDIDATES];
	size_t n = registry_unused(s->registry, &s->conf, unused, CANDIDATES);
	uint32_t random = 0;

	if (n == 0)
		return etcd_store_fail(s, -ENOSPC,
				       "out of subnets: every /%u of the network is "
				       "leased",
				       s->conf.subnet_len);
	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (uint32_t)clock_ms();
	return create(s, unused[random % n]);
}

/* All, we among them, would refuse a key with such an address, and we would ask for ever more. */
static int refuse_self(struct etcd_store *s)
{
	char network[PREFIX4_STRLEN], ip[INET_ADDRSTRLEN];

	return etcd_store_fail(s, -EADDRNOTAVAIL,
			       "this node's address %s is not one a node of Network %s can have",
			       ip4_format(s->self.public_ip, ip),
			       prefix4_format(s->conf.network, network));
}

int own_hold(struct etcd_store *s)
{
	const struct registry_entry *entry = NULL;
	struct prefix4 previous = s->self.previous;

	s->own.reclaim_ms = 0;
	if (!registry_can_own(s->conf.network, s->self.public_ip))
		return refuse_self(s);
	if (s->own.subnet.len && fits(&s->conf, s->own.subnet))
		return hold_known(s);
	while ((entry = registry_of_owner(s->registry, s->self.public_ip, entry))) {
		if (entry->gone_ms)
			continue;
		if (fits(&s->conf, entry->lease.subnet))
			return keep(s, entry);
		/* It is in the way of nobody but us. */
		return drop(s, entry, "it does not suit the network configuration");
	}
	if (previous.len && fits(&s->conf, previous) && !registry_is_used(s->registry, previous))
		return create(s, previous);
	return choose_free(s);
}

int own_renew(struct etcd_store *s)
{
	uint64_t asked_ms = clock_ms();
	int64_t ttl_s = 0;
	int err = etcd_keep_alive(s->etcd, s->own.id, &ttl_s);

	if (err)
		return from_etcd(s, err);
	if (ttl_s == 0)
		return etcd_store_fail(s, -ENOENT, "the own lease has ended");
	note_lease(s, s->own.subnet, s->own.id, ttl_s, asked_ms);
	log_debug("etcd: lease renewed for %" PRId64 " s", ttl_s);
	return 0;
}
