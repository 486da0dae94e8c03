/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* BackendType and BackendData of a lease: what its node wants to be sent. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "netconf_priv.h"

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
#define VNI_MAX 0xffffff

static int parse_vtep(const struct json_place *at, struct lease *lease)
{
	struct json_place data = {.index = -1, .error = at->error};
	char quote[JSON_QUOTE_LEN];
	const char *text;
	char path[64];
	json_int_t vni = lease->vtep.vni;
	int found;

	data.object = json_member(at, "BackendData");
	if (!data.object || json_is_null(data.object))
		return 0;
	if (!json_is_object(data.object))
		return json_refuse(at, "BackendData", "must be an object");
	if (at->index < 0)
		snprintf(path, sizeof(path), "%s.BackendData", at->path);
	else
		snprintf(path, sizeof(path), "%s[%d].BackendData", at->path, (int)at->index);
	data.path = path;
	if (json_member_int(&data, "VNI", 0, VNI_MAX, &vni) < 0)
		return -EINVAL;
	lease->vtep.vni = (uint32_t)vni;
	found = json_member_string(&data, "VtepMAC", &text);
	if (found < 0)
		return found;
	if (found && format_parse_mac(text, lease->vtep.mac))
		return json_refuse(&data, "VtepMAC", "%s is not a unicast MAC address",
				   json_quote(text, quote));
	return 0;
}

/* One name for each that we know, whatever its case; flannel writes none for udp. */
static void name_backend(struct lease *lease, const char *type)
{
	if (lease->format == WEFT_FORMAT_UDP || !*type)
		type = "";
	else if (lease->format < WEFT_FORMAT_MAX)
		type = format_name(lease->format);
	snprintf(lease->backend, sizeof(lease->backend), "%s", type);
}

int lease_parse_backend(const struct json_place *at, enum weft_format usual, uint32_t vni,
			struct lease *lease)
{
	char quote[JSON_QUOTE_LEN];
	const char *type = "";

	if (json_member_string(at, "BackendType", &type) < 0)
		return -EINVAL;
	if (strlen(type) >= sizeof(lease->backend))
		return json_refuse(at, "BackendType", "longer than any that is known");
	if (type[strspn(type, NAME_CHARACTERS)])
		return json_refuse(at, "BackendType", "%s is no name", json_quote(type, quote));
	lease->announced = *type;
	lease->format = *type ? format_find(type) : usual;
	name_backend(lease, type);
	lease->vtep.vni = vni;
	format_vtep_mac(lease->public_ip, lease->vtep.mac);
	/* Of another backend's data nothing is known. */
	if (!*type || lease->format == WEFT_FORMAT_VXLAN)
		return parse_vtep(at, lease);
	return 0;
}

bool lease_equal(const struct lease *a, const struct lease *b)
{
	return a->subnet.addr == b->subnet.addr && a->subnet.len == b->subnet.len &&
	       a->public_ip == b->public_ip && a->format == b->format &&
	       a->announced == b->announced && strcmp(a->backend, b->backend) == 0 &&
	       a->vtep.vni == b->vtep.vni && memcmp(a->vtep.mac, b->vtep.mac, 6) == 0;
}

void netconf_set_format(struct netconf *conf, enum weft_format format)
{
	conf->format = format;
	for (size_t i = 0; i < conf->n_leases; i++)
		if (!conf->leases[i].announced)
			conf->leases[i].format = format;
}
