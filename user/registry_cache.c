/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "registry_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "util.h"

/* {"config": TEXT, "leases": [{"key": TEXT, "value": TEXT, "created": N, "lease": N}, ...]} */

static json_t *config_json(const struct netconf *conf)
{
	char network[PREFIX4_STRLEN], min[INET_ADDRSTRLEN], max[INET_ADDRSTRLEN];
	_free_ char *text = NULL;
	bool vxlan = conf->format == WEFT_FORMAT_VXLAN;
	json_t *json = json_pack("{s:s, s:i, s:s, s:s, s:{s:s, s:i, s:i}}", "Network",
				 prefix4_format(conf->network, network), "SubnetLen",
				 conf->subnet_len, "SubnetMin", ip4_format(conf->subnet_min, min),
				 "SubnetMax", ip4_format(conf->subnet_max, max), "Backend", "Type",
				 format_name(conf->format), "Port",
				 vxlan ? conf->vxlan_port : conf->port, "VNI", (int)conf->vni);

	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text ? json_string(text) : NULL;
}

static json_t *entry_json(const struct registry_entry *entry)
{
	char key[REGISTRY_KEY_LEN], value[REGISTRY_VALUE_LEN];

	return json_pack("{s:s, s:s, s:I, s:I}", "key", registry_key(entry->lease.subnet, key),
			 "value", registry_value(&entry->lease, value), "created",
			 (json_int_t)entry->create_revision, "lease",
			 (json_int_t)entry->etcd_lease);
}

static char *cache_text(const struct netconf *conf, const struct registry *r)
{
	const struct registry_entry *entry = NULL;
	json_t *leases = json_array(),
	       *json = json_pack("{s:o, s:o}", "config", config_json(conf), "leases", leases);
	char *text;

	while (json && (entry = registry_next(r, entry)))
		if (entry->lease.public_ip)
			json_array_append_new(leases, entry_json(entry));
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

int registry_cache_write(const char *path, const struct netconf *conf, const struct registry *r)
{
	_free_ char *text = cache_text(conf, r);

	return text ? file_replace(path, text, 0600) : -ENOMEM;
}

static int read_config(const json_t *json, struct netconf *conf)
{
	const char *text = json_string_value(json_object_get(json, "config"));
	char ignored[NETCONF_ERROR_LEN];

	return text ? netconf_parse_network(text, strlen(text), conf, ignored) : -EINVAL;
}

static int read_entry(const json_t *json, struct registry *r)
{
	const json_t *lease = json_object_get(json, "lease");
	char ignored[NETCONF_ERROR_LEN];
	struct etcd_kv kv = {
		.key = json_string_value(json_object_get(json, "key")),
		.value = json_string_value(json_object_get(json, "value")),
		.create_revision = json_integer_value(json_object_get(json, "created")),
		.lease = lease ? json_integer_value(lease) : -1, /* older ones say nothing of it */
	};
	int err;

	if (!kv.key || !kv.value)
		return -EINVAL;
	kv.value_len = strlen(kv.value);
	err = registry_put(r, &kv, ignored);
	return err < 0 ? err : 0;
}

static int read_all(const json_t *json, struct netconf *conf, struct registry *r)
{
	const json_t *leases = json_object_get(json, "leases");
	struct netconf read;
	uint64_t next_ms;
	int err = read_config(json, &read);

	if (err)
		return err;
	registry_set_config(r, &read);
	for (size_t i = 0; err == 0 && i < json_array_size(leases); i++)
		err = read_entry(json_array_get(leases, i), r);
	if (err == 0) {
		*conf = read;
		return 0;
	}
	registry_list_begin(r);
	registry_list_end(r, 1);
	registry_sweep(r, 1, &next_ms);
	return err;
}

int registry_cache_read(const char *path, struct netconf *conf, struct registry *r)
{
	_fclose_ FILE *file = NULL;
	int err = file_open_own(path, 0, &file);
	json_t *json;

	if (err)
		return -ENOENT;
	json = json_loadf(file, 0, NULL);
	err = json_is_object(json) ? read_all(json, conf, r) : -EINVAL;
	json_decref(json);
	return err;
}
