/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The network part of the document and the entry points; the leases are in netconf_leases.c. */
#include "netconf.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <weft/abi.h>

#include "json_path.h"
#include "netconf_priv.h"
#include "prefix4.h"
#include "util.h"

static_assert(NETCONF_ERROR_LEN == JSON_ERROR_LEN, "one buffer serves both");

#define MAX_SUBNET_LEN 30 /* two host addresses: the tunnel's and the bridge's */
#define MAX_NETWORK_LEN 28 /* four subnets of MAX_SUBNET_LEN */
#define USUAL_SUBNET_LEN 24
#define USUAL_VNI 1 /* flannel's */
#define VNI_MAX 0xffffff

static const struct prefix4 not_for_pods[] = {
	{0x00000000, 8}, /* "this network"; also what a default route would contain */
	{0x7f000000, 8}, /* loopback */
	{0xe0000000, 4}, /* multicast */
};

static bool overlaps(struct prefix4 a, struct prefix4 b)
{
	return prefix4_contains(a, b.addr) || prefix4_contains(b, a.addr);
}

/* EnableIPv4 and EnableIPv6: what flannel would do must be what happens, or nothing. */
static int check_families(const struct json_place *root)
{
	bool v4 = true, v6 = false;

	if (json_member_bool(root, "EnableIPv4", &v4) < 0 ||
	    json_member_bool(root, "EnableIPv6", &v6) < 0)
		return -EINVAL;
	if (!v4)
		return json_refuse(root, "EnableIPv4", "false is not possible: weft is IPv4 only");
	if (v6)
		return json_refuse(root, "EnableIPv6",
				   "true is not available yet: weft is IPv4 only");
	return 0;
}

static int parse_network(const struct json_place *root, struct netconf *conf)
{
	char quote[JSON_QUOTE_LEN];
	const char *text;
	int found = json_member_string(root, "Network", &text);

	if (found < 0)
		return found;
	if (!found)
		return json_refuse(root, "Network", "missing");
	if (strchr(text, ':'))
		return json_refuse(root, "Network", "%s is not IPv4, and weft is IPv4 only",
				   json_quote(text, quote));
	if (prefix4_parse(text, &conf->network))
		return json_refuse(root, "Network", "%s is not an IPv4 prefix (a.b.c.d/len)",
				   json_quote(text, quote));
	for (size_t i = 0; i < ARRAY_SIZE(not_for_pods); i++) {
		if (overlaps(conf->network, not_for_pods[i]))
			return json_refuse(root, "Network", "%s contains addresses no pod can have",
					   json_quote(text, quote));
	}
	return 0;
}

static int default_subnet_len(const struct json_place *root, struct netconf *conf)
{
	uint8_t len = conf->network.len;

	if (len > MAX_NETWORK_LEN)
		return json_refuse(root, "Network", "/%u is too small: at most /%u", len,
				   MAX_NETWORK_LEN);
	conf->subnet_len = len + 2 > USUAL_SUBNET_LEN ? len + 2 : USUAL_SUBNET_LEN;
	return 0;
}

static int parse_subnet_len(const struct json_place *root, struct netconf *conf)
{
	json_int_t len = 0;

	if (json_member_int(root, "SubnetLen", 0, MAX_SUBNET_LEN, &len) < 0)
		return -EINVAL;
	if (len == 0)
		return default_subnet_len(root, conf);
	if (len < conf->network.len + 2)
		return json_refuse(root, "SubnetLen",
				   "%d leaves no room for four subnets in a /%u network", (int)len,
				   conf->network.len);
	conf->subnet_len = len;
	return 0;
}

/* SubnetMin or SubnetMax: 0.0.0.0 is absent, as in flannel. */
static int parse_bound(const struct json_place *root, const char *key, const struct netconf *conf,
		       uint32_t *out)
{
	char quote[JSON_QUOTE_LEN];
	const char *text;
	uint32_t addr;
	int found = json_member_string(root, key, &text);

	if (found <= 0)
		return found;
	json_quote(text, quote);
	if (prefix4_parse_addr(text, &addr))
		return json_refuse(root, key, "%s is not an IPv4 address", quote);
	if (addr == 0)
		return 0;
	if (!prefix4_contains(conf->network, addr))
		return json_refuse(root, key, "%s is outside Network", quote);
	if (addr & ~prefix4_mask(conf->subnet_len))
		return json_refuse(root, key, "%s is not the start of a /%u subnet", quote,
				   conf->subnet_len);
	*out = addr;
	return 0;
}

/* The first subnet is never used unless SubnetMin names it. Min above Max is legal in flannel. */
static int parse_bounds(const struct json_place *root, struct netconf *conf)
{
	uint32_t size = ~prefix4_mask(conf->subnet_len) + 1;
	uint32_t last = conf->network.addr | ~prefix4_mask(conf->network.len);

	conf->subnet_min = conf->network.addr + size;
	conf->subnet_max = last - size + 1;
	if (parse_bound(root, "SubnetMin", conf, &conf->subnet_min) ||
	    parse_bound(root, "SubnetMax", conf, &conf->subnet_max))
		return -EINVAL;
	return 0;
}

/* Two formats cannot share a port. */
static int refuse_port(const struct json_place *backend, const struct netconf *conf)
{
	if (conf->port != conf->vxlan_port)
		return 0;
	return json_refuse(
		backend, "Port", "%u is that of format %s", conf->port,
		format_name(conf->format == WEFT_FORMAT_UDP ? WEFT_FORMAT_VXLAN : WEFT_FORMAT_UDP));
}

static int parse_backend_object(const struct json_place *backend, struct netconf *conf)
{
	char quote[JSON_QUOTE_LEN];
	json_int_t port = 0, vni = conf->vni;
	const char *type;
	int found = json_member_string(backend, "Type", &type);

	if (found < 0)
		return found;
	if (!found)
		return json_refuse(backend, "Type", "missing");
	conf->format = format_find(type);
	if (conf->format == WEFT_FORMAT_MAX)
		return json_refuse(backend, "Type", "%s is not available: udp, vxlan and ipip are",
				   json_quote(type, quote));
	if (json_member_int(backend, "Port", conf->format == WEFT_FORMAT_VXLAN ? 0 : 1, UINT16_MAX,
			    &port) < 0 ||
	    json_member_int(backend, "VNI", 0, VNI_MAX, &vni) < 0)
		return -EINVAL;
	if (port && conf->format == WEFT_FORMAT_VXLAN)
		conf->vxlan_port = port;
	else if (port && conf->format == WEFT_FORMAT_UDP)
		conf->port = port;
	conf->vni = (uint32_t)vni;
	return refuse_port(backend, conf);
}

static int parse_backend(const struct json_place *root, struct netconf *conf)
{
	struct json_place backend = *root;

	backend.object = json_member(root, "Backend");
	backend.path = "$.Backend";
	conf->port = WEFT_UDP_PORT;
	conf->vxlan_port = WEFT_VXLAN_PORT;
	conf->vni = USUAL_VNI;
	if (!backend.object)
		return 0;
	if (!json_is_object(backend.object))
		return json_refuse(&backend, NULL, "must be an object");
	return parse_backend_object(&backend, conf);
}

static int parse_document(const struct json_place *root, struct netconf *conf)
{
	int err;

	if (!json_is_object(root->object))
		return json_refuse(root, NULL, "must be an object");
	err = check_families(root);
	if (err == 0)
		err = parse_network(root, conf);
	if (err == 0)
		err = parse_subnet_len(root, conf);
	if (err == 0)
		err = parse_bounds(root, conf);
	if (err == 0)
		err = parse_backend(root, conf);
	return err;
}

/* jansson quotes the source near the error: keep it on one line and off the terminal's controls. */
static int refuse_syntax(const json_error_t *where, char *error)
{
	snprintf(error, NETCONF_ERROR_LEN, "line %d, column %d: %s", where->line, where->column,
		 where->text[0] ? where->text : "not JSON");
	for (char *c = error; *c; c++) {
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	}
	return json_error_code(where) == json_error_out_of_memory ? -ENOMEM : -EINVAL;
}

static bool is_blank(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && memchr(" \t\r\n", text[i], 4))
		i++;
	return i == len;
}

static int refuse_before_parsing(const char *text, size_t len, char *error)
{
	const char *reason = NULL;

	if (len > NETCONF_MAX_SIZE)
		reason = "larger than " NETCONF_MAX_SIZE_TEXT;
	else if (is_blank(text, len))
		reason = "line 1, column 1: the document is empty";
	else if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		reason = "line 1, column 1: starts with a byte order mark; JSON has none";
	if (!reason)
		return 0;
	snprintf(error, NETCONF_ERROR_LEN, "%s", reason);
	return -EINVAL;
}

static int parse(const char *text, size_t len, bool leases, struct netconf *out, char *error)
{
	struct json_place root = {.path = "$", .index = -1, .error = error};
	struct netconf conf = {};
	json_error_t where;
	json_t *document;
	int err = refuse_before_parsing(text, len, error);

	if (err)
		return err;
	document = json_loadb(text, len, 0, &where);
	if (!document)
		return refuse_syntax(&where, error);
	root.object = document;
	err = parse_document(&root, &conf);
	if (err == 0 && leases)
		err = netconf_parse_leases(&root, &conf);
	json_decref(document);
	if (err)
		netconf_free(&conf);
	else
		*out = conf;
	return err;
}

int netconf_parse(const char *text, size_t len, struct netconf *out, char error[NETCONF_ERROR_LEN])
{
	return parse(text, len, true, out, error);
}

int netconf_parse_network(const char *text, size_t len, struct netconf *out,
			  char error[NETCONF_ERROR_LEN])
{
	return parse(text, len, false, out, error);
}

void netconf_free(struct netconf *conf)
{
	free(conf->leases);
	*conf = (struct netconf){};
}

static bool same_prefix(struct prefix4 a, struct prefix4 b)
{
	return a.addr == b.addr && a.len == b.len;
}

bool netconf_same_backend(const struct netconf *a, const struct netconf *b)
{
	return a->format == b->format && a->port == b->port && a->vxlan_port == b->vxlan_port &&
	       a->vni == b->vni;
}

bool netconf_equal(const struct netconf *a, const struct netconf *b)
{
	if (!same_prefix(a->network, b->network) || a->subnet_len != b->subnet_len ||
	    a->subnet_min != b->subnet_min || a->subnet_max != b->subnet_max ||
	    !netconf_same_backend(a, b) || !same_prefix(a->own, b->own) ||
	    a->n_leases != b->n_leases)
		return false;
	for (size_t i = 0; i < a->n_leases; i++)
		if (!lease_equal(&a->leases[i], &b->leases[i]))
			return false;
	return true;
}

const struct lease *netconf_lease_of(const struct netconf *conf, uint32_t public_ip)
{
	for (size_t i = 0; i < conf->n_leases; i++) {
		if (conf->leases[i].public_ip == public_ip)
			return &conf->leases[i];
	}
	return NULL;
}

static int by_subnet(const void *key, const void *element)
{
	const struct prefix4 *a = key, *b = &((const struct lease *)element)->subnet;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	return (int)a->len - b->len;
}

const struct lease *netconf_find_lease(const struct netconf *conf, struct prefix4 subnet)
{
	return bsearch(&subnet, conf->leases, conf->n_leases, sizeof(*conf->leases), by_subnet);
}
