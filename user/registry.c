/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "registry.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/abi.h>

#include "netconf_priv.h"
#include "prefix4.h"
#include "util.h"

#define MAX_LEASE_LEN 30 /* two host addresses: the tunnel's and the bridge's */

struct registry {
	struct prefix4 network;
	uint32_t vni;
	unsigned int listing; /* the latest */
	struct registry_entry *entries; /* by address, the wider of two first */
	size_t n, room;
};

/* Keys and values */

const char *registry_key(struct prefix4 subnet, char *buf)
{
	char ip[INET_ADDRSTRLEN];

	snprintf(buf, REGISTRY_KEY_LEN, "%s-%u", ip4_format(subnet.addr, ip), subnet.len);
	return buf;
}

const char *registry_value(const struct lease *lease, char *buf)
{
	char ip[INET_ADDRSTRLEN], mac[MAC_STRLEN];
	int n = snprintf(buf, REGISTRY_VALUE_LEN, "{\"PublicIP\":\"%s\",\"PublicIPv6\":null",
			 ip4_format(lease->public_ip, ip));

	if (lease->format != WEFT_FORMAT_UDP)
		n += snprintf(buf + n, REGISTRY_VALUE_LEN - n, ",\"BackendType\":\"%s\"",
			      lease->backend);
	if (lease->format == WEFT_FORMAT_VXLAN)
		n += snprintf(buf + n, REGISTRY_VALUE_LEN - n,
			      ",\"BackendData\":{\"VNI\":%u,\"VtepMAC\":\"%s\"}", lease->vtep.vni,
			      format_mac(lease->vtep.mac, mac));
	snprintf(buf + n, REGISTRY_VALUE_LEN - n, "}");
	return buf;
}

static int refuse(char *error, const char *reason)
{
	snprintf(error, NETCONF_ERROR_LEN, "%s", reason);
	return -EINVAL;
}

/*
 * "fd00:9:17::-64", as flannel appends it of a node with both families; "::10.0.0.0" is an address,
 * too, and no key to flannel.
 */
static bool is_key6(const char *text)
{
	const char *dash = strrchr(text, '-');
	char host[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	size_t digits;

	if (!dash || (size_t)(dash - text) >= sizeof(host) || strchr(text, '.'))
		return false;
	memcpy(host, text, (size_t)(dash - text));
	host[dash - text] = '\0';
	digits = strspn(dash + 1, "0123456789");
	return inet_pton(AF_INET6, host, &addr) == 1 && digits >= 1 && digits <= 3 &&
	       !dash[1 + digits] && strtoul(dash + 1, NULL, 10) <= 127;
}

/* The last part of a path: "10.9.17.0-24" or "10.9.17.0-24&fd00:9:17::-64". */
static int parse_key(const char *path, struct prefix4 *out, bool *dual, char *error)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	const char *dash = strchr(name, '-'), *other = strchr(name, '&');
	size_t len = other ? (size_t)(other - name) : strlen(name);
	char text[PREFIX4_STRLEN];
	uint32_t addr;

	if (!dash || len >= sizeof(text) || (size_t)(dash - name) >= len)
		return refuse(error, "the key is not that of a lease");
	memcpy(text, name, len);
	text[len] = '\0';
	text[dash - name] = '/';
	if (prefix4_split(text, &addr, &out->len) || (other && !is_key6(other + 1)))
		return refuse(error, "the key is not that of a lease");
	*dual = other;
	out->addr = addr & prefix4_mask(out->len);
	if (out->addr != addr)
		return refuse(error, "the key's address has host bits set");
	return out->len > MAX_LEASE_LEN ? refuse(error, "the subnet is smaller than a /30") : 0;
}

/* An address of the overlay would send the overlay's own packets into the overlay. */
bool registry_can_own(struct prefix4 network, uint32_t addr)
{
	return netconf_is_node_address(addr) && !prefix4_contains(network, addr);
}

static int parse_members(const struct json_place *root, struct prefix4 network, struct lease *lease)
{
	char quote[JSON_QUOTE_LEN];
	const char *text;
	int found;

	if (!json_is_object(root->object))
		return json_refuse(root, NULL, "must be an object");
	found = json_member_string(root, "PublicIP", &text);
	if (found < 0)
		return found;
	if (!found)
		return json_refuse(root, "PublicIP", "missing");
	json_quote(text, quote);
	if (prefix4_parse_addr(text, &lease->public_ip))
		return json_refuse(root, "PublicIP", "%s is not an IPv4 address", quote);
	if (!registry_can_own(network, lease->public_ip))
		return json_refuse(root, "PublicIP", "%s is not an address a node can have", quote);
	return 0;
}

static int parse_value(const struct registry *r, const struct etcd_kv *kv, struct lease *lease,
		       char *error)
{
	struct json_place root = {.path = "$", .index = -1, .error = error};
	json_t *document = json_loadb(kv->value, kv->value_len, 0, NULL);
	int err;

	if (!document)
		return refuse(error, "the value is not JSON");
	root.object = document;
	err = parse_members(&root, r->network, lease);
	if (err == 0) /* absent and empty mean udp (flannel.md 11.7) */
		err = lease_parse_backend(&root, WEFT_FORMAT_UDP, r->vni, lease);
	lease->announced = true;
	json_decref(document);
	return err;
}

/* The table */

static int compare(struct prefix4 a, struct prefix4 b)
{
	if (a.addr != b.addr)
		return a.addr < b.addr ? -1 : 1;
	return (int)a.len - b.len;
}

/* Index of the first entry that is not before subnet. */
static size_t lower_bound(const struct registry *r, struct prefix4 subnet)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(r->entries[middle].lease.subnet, subnet) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct registry_entry *find(const struct registry *r, struct prefix4 subnet)
{
	size_t at = lower_bound(r, subnet);

	if (at == r->n || compare(r->entries[at].lease.subnet, subnet))
		return NULL;
	return &r->entries[at];
}

const struct registry_entry *registry_find(const struct registry *r, struct prefix4 subnet)
{
	return find(r, subnet);
}

static struct registry_entry *insert(struct registry *r, struct prefix4 subnet)
{
	size_t at = lower_bound(r, subnet);

	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct registry_entry *more = reallocarray(r->entries, room, sizeof(*more));

		if (!more)
			return NULL;
		r->entries = more;
		r->room = room;
	}
	memmove(&r->entries[at + 1], &r->entries[at], (r->n - at) * sizeof(*r->entries));
	r->n++;
	r->entries[at] = (struct registry_entry){.lease = {.subnet = subnet}};
	return &r->entries[at];
}

static void note_seen(const struct registry *r, struct registry_entry *entry)
{
	entry->gone_ms = 0;
	entry->listing = r->listing;
}

static void note_revisions(const struct registry *r, struct registry_entry *entry,
			   const struct etcd_kv *kv, bool dual)
{
	entry->create_revision = kv->create_revision;
	entry->mod_revision = kv->mod_revision;
	entry->etcd_lease = kv->lease;
	entry->dual = dual;
	note_seen(r, entry);
	entry->contested = false;
}

/*
 * What is not believed moves nothing but the revision that a writer must name. Where nobody was
 * known to be, it takes the subnet, for somebody's it is.
 */
static int note_refused(struct registry *r, struct prefix4 subnet, const struct etcd_kv *kv,
			bool dual, int err)
{
	struct registry_entry *entry = find(r, subnet);

	if (!entry && r->n < WEFT_MAX_ROUTES)
		entry = insert(r, subnet);
	if (entry) {
		entry->mod_revision = kv->mod_revision;
		entry->dual = dual;
		note_seen(r, entry);
		entry->contested = true;
	}
	return err;
}

/* Of what is known from a cache alone much may have happened since. */
static bool is_claim(const struct registry_entry *entry, const struct etcd_kv *kv,
		     const struct lease *lease)
{
	return entry->mod_revision && entry->lease.public_ip &&
	       entry->lease.public_ip != lease->public_ip &&
	       entry->create_revision == kv->create_revision && entry->etcd_lease != kv->lease;
}

static int refuse_claim(const struct registry_entry *entry, const struct lease *lease, char *error)
{
	char owner[INET_ADDRSTRLEN], ip[INET_ADDRSTRLEN];

	snprintf(error, NETCONF_ERROR_LEN, "%s claims what is %s's",
		 ip4_format(lease->public_ip, ip), ip4_format(entry->lease.public_ip, owner));
	return -EINVAL;
}

/* Is the entry that of the subnet's other key, which is there as well? */
static bool is_twin(const struct registry *r, const struct registry_entry *entry, bool dual)
{
	return entry->dual != dual && entry->listing == r->listing && !entry->gone_ms;
}

/* Of one owner the later written counts, of two the older. */
static bool prevails(const struct registry_entry *twin, const struct etcd_kv *kv,
		     const struct lease *lease)
{
	if (twin->lease.public_ip && twin->lease.public_ip != lease->public_ip)
		return kv->create_revision < twin->create_revision;
	return twin->contested || kv->mod_revision > twin->mod_revision;
}

static int check_place(const struct registry *r, struct prefix4 subnet, char *error)
{
	char name[PREFIX4_STRLEN];

	if (subnet.len > r->network.len && prefix4_contains(r->network, subnet.addr))
		return 0;
	snprintf(error, NETCONF_ERROR_LEN, "outside Network %s", prefix4_format(r->network, name));
	return -EINVAL;
}

int registry_put(struct registry *r, const struct etcd_kv *kv, char error[NETCONF_ERROR_LEN])
{
	struct registry_entry *entry;
	struct lease lease = {};
	bool dual = false;
	int err = parse_key(kv->key, &lease.subnet, &dual, error);

	if (err == 0)
		err = check_place(r, lease.subnet, error);
	if (err)
		return err;
	entry = find(r, lease.subnet);
	err = parse_value(r, kv, &lease, error);
	if (entry && is_twin(r, entry, dual) && (err || !prevails(entry, kv, &lease)))
		return err;
	if (err == 0 && entry && is_claim(entry, kv, &lease))
		err = refuse_claim(entry, &lease, error);
	if (err)
		return note_refused(r, lease.subnet, kv, dual, err);
	if (entry && lease_equal(&entry->lease, &lease)) {
		note_revisions(r, entry, kv, dual);
		return 0;
	}
	if (!entry && r->n == WEFT_MAX_ROUTES)
		return refuse(error, "more leases than the kernel's maps hold");
	entry = entry ? entry : insert(r, lease.subnet);
	if (!entry)
		return -ENOMEM;
	entry->lease = lease;
	note_revisions(r, entry, kv, dual);
	return 1;
}

void registry_remove(struct registry *r, const char *key, uint64_t until_ms)
{
	char ignored[NETCONF_ERROR_LEN];
	struct registry_entry *entry;
	struct prefix4 subnet;
	bool dual;

	if (parse_key(key, &subnet, &dual, ignored))
		return;
	entry = find(r, subnet);
	if (entry && entry->dual == dual)
		entry->gone_ms = until_ms;
}

static bool is_inside(const struct registry *r, const struct registry_entry *entry)
{
	char ignored[NETCONF_ERROR_LEN];

	return check_place(r, entry->lease.subnet, ignored) == 0 &&
	       registry_can_own(r->network, entry->lease.public_ip);
}

void registry_set_config(struct registry *r, const struct netconf *conf)
{
	size_t kept = 0;

	r->network = conf->network;
	r->vni = conf->vni;
	for (size_t i = 0; i < r->n; i++)
		if (is_inside(r, &r->entries[i]))
			r->entries[kept++] = r->entries[i];
	r->n = kept;
}

void registry_list_begin(struct registry *r)
{
	r->listing++;
}

void registry_list_end(struct registry *r, uint64_t until_ms)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->entries[i].listing != r->listing && !r->entries[i].gone_ms)
			r->entries[i].gone_ms = until_ms;
}

size_t registry_sweep(struct registry *r, uint64_t now_ms, uint64_t *next_ms)
{
	size_t kept = 0, before = r->n;

	*next_ms = UINT64_MAX;
	for (size_t i = 0; i < r->n; i++) {
		uint64_t gone_ms = r->entries[i].gone_ms;

		if (gone_ms && gone_ms <= now_ms)
			continue;
		if (gone_ms && gone_ms < *next_ms)
			*next_ms = gone_ms;
		r->entries[kept++] = r->entries[i];
	}
	r->n = kept;
	return before - kept;
}

const struct registry_entry *registry_next(const struct registry *r,
					   const struct registry_entry *after)
{
	size_t i = after ? (size_t)(after - r->entries) + 1 : 0;

	return i < r->n ? &r->entries[i] : NULL;
}

const struct registry_entry *registry_of_owner(const struct registry *r, uint32_t public_ip,
					       const struct registry_entry *after)
{
	while ((after = registry_next(r, after)))
		if (after->lease.public_ip == public_ip)
			return after;
	return NULL;
}

static bool overlaps(struct prefix4 a, struct prefix4 b)
{
	return prefix4_contains(a, b.addr) || prefix4_contains(b, a.addr);
}

bool registry_is_used(const struct registry *r, struct prefix4 subnet)
{
	size_t at = lower_bound(r, subnet);

	/* What is inside it follows; what it is inside of stands somewhere before. */
	if (at < r->n && overlaps(r->entries[at].lease.subnet, subnet))
		return true;
	for (uint8_t len = r->network.len + 1; len < subnet.len; len++)
		if (find(r, (struct prefix4){subnet.addr & prefix4_mask(len), len}))
			return true;
	return false;
}

size_t registry_unused(const struct registry *r, const struct netconf *conf, struct prefix4 *out,
		       size_t max)
{
	uint64_t size = (uint64_t)~prefix4_mask(conf->subnet_len) + 1;
	size_t n = 0;

	for (uint64_t addr = conf->subnet_min; addr <= conf->subnet_max && n < max; addr += size) {
		struct prefix4 subnet = {(uint32_t)addr, conf->subnet_len};

		if (!registry_is_used(r, subnet))
			out[n++] = subnet;
	}
	return n;
}

/* Does a count before b, with which it overlaps? */
static bool precedes(const struct registry_entry *a, const struct registry_entry *b,
		     struct prefix4 own)
{
	if (own.len && compare(a->lease.subnet, own) == 0)
		return true;
	if (own.len && compare(b->lease.subnet, own) == 0)
		return false;
	return a->create_revision <= b->create_revision;
}

/* Two prefixes nest or are apart, so only the one kept last can be in the way of the next. */
static size_t choose(const struct registry *r, struct prefix4 own, struct lease *out,
		     size_t *refused)
{
	const struct registry_entry *last = NULL;
	size_t n = 0;

	*refused = 0;
	for (size_t i = 0; i < r->n; i++) {
		const struct registry_entry *entry = &r->entries[i];

		if (!entry->lease.public_ip)
			continue;
		if (last && overlaps(last->lease.subnet, entry->lease.subnet)) {
			(*refused)++;
			if (precedes(last, entry, own))
				continue;
			n--;
		}
		out[n++] = entry->lease;
		last = entry;
	}
	return n;
}

int registry_snapshot(const struct registry *r, const struct netconf *conf, struct prefix4 own,
		      struct netconf *out, size_t *refused)
{
	struct lease *leases = calloc(r->n + 1, sizeof(*leases));

	if (!leases)
		return -ENOMEM;
	*out = *conf;
	out->own = own;
	out->leases = leases;
	out->n_leases = choose(r, own, leases, refused);
	return 0;
}

int registry_new(struct registry **out)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*out = r;
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	free(r->entries);
	free(r);
}
