/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A client of etcd v3 by its JSON gateway (/v3/kv/range and so on; flannel.md 2.2), for one thread.
 * Calls wait for their answer. A call that fails turns to the next endpoint for the one after it.
 * Returned errors: -EACCES (user, password or role), -ECANCELED (the thread is to end), -EPROTO
 * (not an answer of etcd), -EFBIG, -ENOMEM, -ETIMEDOUT and -EIO; etcd_error() has the reason.
 */
#ifndef WEFT_USER_ETCD_H
#define WEFT_USER_ETCD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETCD_ENDPOINTS_MAX 16
#define ETCD_REQUEST_MS 4000
/* A whole answer; etcd itself refuses values of more than 1.5 MiB. */
#define ETCD_ANSWER_MAX (8u << 20)

struct etcd;

struct etcd_config { /* strings must outlive the client; NULL where there is none */
	const char *endpoints; /* comma-separated http:// or https:// URLs */
	const char *ca_file, *cert_file, *key_file;
	const char *user, *password;
	int wake_fd; /* readable: every call ends with -ECANCELED */
};

/* One key of the registry. Strings are the client's and valid during the call only. */
struct etcd_kv {
	const char *key;
	const char *value; /* NULL in a removal; 0-terminated, but may contain zero bytes */
	size_t value_len;
	int64_t create_revision, mod_revision;
	int64_t lease; /* 0: never expires */
};

typedef int (*etcd_kv_fn)(const struct etcd_kv *kv, void *arg);

int etcd_open(const struct etcd_config *config, struct etcd **out);
void etcd_close(struct etcd *etcd);
/* The endpoint in use. */
const char *etcd_endpoint(const struct etcd *etcd);
const char *etcd_error(const struct etcd *etcd);
/* Of the latest answer. A cluster that was restored has another id or goes back. */
uint64_t etcd_cluster(const struct etcd *etcd);
int64_t etcd_revision(const struct etcd *etcd);

/* fn for the key if it exists. What fn returns other than 0 ends the call with it. */
int etcd_get(struct etcd *etcd, const char *key, etcd_kv_fn fn, void *arg);
/* All keys that begin with prefix, in pages, as of one revision, which *revision becomes. */
int etcd_list(struct etcd *etcd, const char *prefix, int64_t *revision, etcd_kv_fn fn, void *arg);
int etcd_grant(struct etcd *etcd, int64_t ttl_s, int64_t *lease);
/* *ttl_s: what the lease lasts from now, 0 when there is no such lease. */
int etcd_keep_alive(struct etcd *etcd, int64_t lease, int64_t *ttl_s);
int etcd_time_to_live(struct etcd *etcd, int64_t lease, int64_t *ttl_s);
int etcd_revoke(struct etcd *etcd, int64_t lease);
/* Put when the key's last change is mod_revision (0: it does not exist). 1 done, 0 it is not. */
int etcd_put(struct etcd *etcd, const char *key, const char *value, int64_t lease,
	     int64_t mod_revision);
/* Whatever it was before. */
int etcd_put_any(struct etcd *etcd, const char *key, const char *value, int64_t lease);
int etcd_delete_any(struct etcd *etcd, const char *key);
/* As etcd_put(). */
int etcd_delete(struct etcd *etcd, const char *key, int64_t mod_revision);
/* One key in place of another, if both are as they were; as etcd_put(). */
struct etcd_move {
	const char *from, *to, *value;
	int64_t from_revision, to_revision; /* mod_revision; to_revision 0: it does not exist */
	int64_t lease;
};
int etcd_move(struct etcd *etcd, const struct etcd_move *move);

/* Changes of keys that begin with prefix from revision on; fn as above. */
int etcd_watch(struct etcd *etcd, const char *prefix, int64_t revision, etcd_kv_fn fn, void *arg);
/*
 * Waits for changes up to timeout_ms. -ESTALE when they must be listed anew (compacted, or the
 * cluster was restored); other errors as above. The watch is over after any.
 */
int etcd_watch_wait(struct etcd *etcd, unsigned int timeout_ms);

#endif
