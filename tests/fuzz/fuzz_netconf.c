/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The configuration document. What is refused leaves its output untouched and says why; what is
 * accepted keeps the promises of netconf.h, and written out and read again it is the same.
 */
#include "fuzz.h"

#include <errno.h>

#include "netconf.h"
#include "util.h"

#define FEW 64 /* leases of which all pairs are looked at */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

static bool is_aligned(uint32_t addr, uint8_t len)
{
	return !(addr & ~prefix4_mask(len));
}

static void check_network(const struct netconf *c)
{
	CHECK(c->network.len && is_aligned(c->network.addr, c->network.len));
	CHECK(c->subnet_len >= c->network.len + 2 && c->subnet_len <= 30);
	CHECK(prefix4_contains(c->network, c->subnet_min) &&
	      is_aligned(c->subnet_min, c->subnet_len));
	CHECK(prefix4_contains(c->network, c->subnet_max) &&
	      is_aligned(c->subnet_max, c->subnet_len));
	CHECK(c->format < WEFT_FORMAT_MAX && c->vni <= 0xffffff);
	CHECK(c->port && c->vxlan_port && c->port != c->vxlan_port);
}

static void check_lease(const struct netconf *c, size_t i)
{
	const struct lease *lease = &c->leases[i];

	CHECK(lease->subnet.len >= c->network.len && lease->subnet.len <= 30);
	CHECK(is_aligned(lease->subnet.addr, lease->subnet.len));
	CHECK(prefix4_contains(c->network, lease->subnet.addr));
	CHECK(netconf_is_node_address(lease->public_ip));
	CHECK(!prefix4_contains(c->network, lease->public_ip));
	CHECK(lease->format <= WEFT_FORMAT_MAX && strlen(lease->backend) < LEASE_BACKEND_LEN);
	CHECK(lease->vtep.vni <= 0xffffff && !(lease->vtep.mac[0] & 1));
	CHECK(netconf_lease_of(c, lease->public_ip) == lease);
	CHECK(netconf_find_lease(c, lease->subnet) == lease);
	for (size_t j = i + 1; j < c->n_leases && j < FEW; j++) {
		CHECK(c->leases[j].subnet.addr >
		      (lease->subnet.addr | ~prefix4_mask(lease->subnet.len)));
		CHECK(c->leases[j].public_ip != lease->public_ip);
	}
}

static void print_lease(FILE *out, const struct lease *lease)
{
	char subnet[PREFIX4_STRLEN], ip[INET_ADDRSTRLEN], mac[MAC_STRLEN];
	bool known = lease->format < WEFT_FORMAT_MAX;

	fprintf(out, "{\"Subnet\":\"%s\",\"PublicIP\":\"%s\"",
		prefix4_format(lease->subnet, subnet), ip4_format(lease->public_ip, ip));
	if (lease->announced)
		fprintf(out, ",\"BackendType\":\"%s\"",
			known ? format_name(lease->format) : lease->backend);
	if (!lease->announced || lease->format == WEFT_FORMAT_VXLAN)
		fprintf(out, ",\"BackendData\":{\"VNI\":%u,\"VtepMAC\":\"%s\"}", lease->vtep.vni,
			format_mac(lease->vtep.mac, mac));
	fprintf(out, "}");
}

static void print(FILE *out, const struct netconf *c)
{
	char network[PREFIX4_STRLEN], min[INET_ADDRSTRLEN], max[INET_ADDRSTRLEN];

	fprintf(out, "{\"Network\":\"%s\",\"SubnetLen\":%u,\"SubnetMin\":\"%s\",",
		prefix4_format(c->network, network), c->subnet_len, ip4_format(c->subnet_min, min));
	fprintf(out, "\"SubnetMax\":\"%s\",\"Backend\":{\"Type\":\"%s\",\"VNI\":%u",
		ip4_format(c->subnet_max, max), format_name(c->format), c->vni);
	if (c->format != WEFT_FORMAT_IPIP)
		fprintf(out, ",\"Port\":%u",
			c->format == WEFT_FORMAT_VXLAN ? c->vxlan_port : c->port);
	fprintf(out, "},\"Leases\":[");
	for (size_t i = 0; i < c->n_leases; i++) {
		fprintf(out, i ? "," : "");
		print_lease(out, &c->leases[i]);
	}
	fprintf(out, "]}");
}

static void check_again(const struct netconf *c)
{
	char error[NETCONF_ERROR_LEN] = "";
	_free_ char *text = NULL;
	struct netconf again;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	print(out, c);
	fclose(out);
	CHECK(netconf_parse(text, len, &again, error) == 0);
	CHECK(netconf_equal(c, &again) && netconf_equal(&again, c));
	netconf_free(&again);
}

static void check_refused(int err, const struct netconf *out, const char *error)
{
	static uint8_t untouched[sizeof(struct netconf)];

	memset(untouched, 0xa5, sizeof(untouched));
	CHECK(err == -EINVAL && memcmp(out, untouched, sizeof(untouched)) == 0);
	check_reason(error, NETCONF_ERROR_LEN);
}

/* The network alone: what a document with bad leases has, too. */
static void check_alone(const char *text, size_t size, const struct netconf *whole)
{
	char error[NETCONF_ERROR_LEN];
	struct netconf alone;
	int err;

	memset(error, 0xff, sizeof(error));
	memset(&alone, 0xa5, sizeof(alone));
	err = netconf_parse_network(text, size, &alone, error);
	CHECK(err == 0 || !whole);
	if (err) {
		check_refused(err, &alone, error);
		return;
	}
	check_network(&alone);
	CHECK(!alone.leases && !alone.n_leases && !alone.own.len);
	CHECK(!whole ||
	      (netconf_same_backend(&alone, whole) && alone.network.addr == whole->network.addr));
	netconf_free(&alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[NETCONF_ERROR_LEN];
	struct input in = {data, size};
	_free_ char *text = (char *)take_copy(&in, &size);
	struct netconf conf;
	int err;

	memset(error, 0xff, sizeof(error));
	memset(&conf, 0xa5, sizeof(conf));
	err = netconf_parse(text, size, &conf, error);
	check_alone(text, size, err ? NULL : &conf);
	if (err) {
		check_refused(err, &conf, error);
		return 0;
	}
	check_network(&conf);
	for (size_t i = 0; i < conf.n_leases && i < FEW; i++)
		check_lease(&conf, i);
	check_again(&conf);
	netconf_set_format(&conf, WEFT_FORMAT_IPIP);
	for (size_t i = 0; i < conf.n_leases; i++)
		CHECK(conf.leases[i].announced || netconf_is_routed(&conf, &conf.leases[i]));
	netconf_free(&conf);
	return 0;
}
