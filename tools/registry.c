/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: registry URL PREFIX config JSON           the network configuration
 *        registry URL PREFIX fill N SUBNET ADDR    N /24 leases from SUBNET on, owners from ADDR on
 *        registry URL PREFIX churn N SUBNET ADDR RATE SECONDS
 *                                                  changes of such leases, RATE a second, in turns:
 *                                                  removed, back, another owner, the owner again
 *
 * A cluster's worth of nodes as etcd sees them. Each change of churn is printed as "MS KEY OWNER",
 * by CLOCK_REALTIME and once etcd has taken it; OWNER is - for a removal. Exit status: 0, 1 when
 * etcd refuses, 2 usage.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "etcd.h"
#include "registry.h"
#include "util.h"

#define TTL_S 86400
#define OTHER_OWNER 0x00010000 /* a node nobody else is */

struct cluster {
	struct etcd *etcd;
	const char *prefix;
	uint32_t count, subnet, addr;
	int64_t lease;
};

static int die(const struct cluster *c)
{
	fprintf(stderr, "registry: %s\n", etcd_error(c->etcd));
	return 1;
}

static const char *key_of(const struct cluster *c, uint32_t i, char *buf, size_t len)
{
	const struct prefix4 subnet = {c->subnet + (i << 8), 24};
	char key[REGISTRY_KEY_LEN];

	snprintf(buf, len, "%s/subnets/%s", c->prefix, registry_key(subnet, key));
	return buf;
}

/* Whatever the key's revision: removed first, so that it is a new lease. */
static int write_lease(const struct cluster *c, uint32_t i, uint32_t owner)
{
	const struct lease lease = {.public_ip = owner};
	char key[256], value[REGISTRY_VALUE_LEN];

	return etcd_put_any(c->etcd, key_of(c, i, key, sizeof(key)), registry_value(&lease, value),
			    c->lease);
}

static int fill(struct cluster *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (write_lease(c, i, c->addr + i) < 0)
			return die(c);
	return 0;
}

static double now_s(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int change(const struct cluster *c, unsigned int n)
{
	uint32_t i = n / 4 % c->count, owner = c->addr + i + (n % 4 == 2 ? OTHER_OWNER : 0);
	char key[256], ip[INET_ADDRSTRLEN] = "-";
	int err;

	key_of(c, i, key, sizeof(key));
	if (n % 4 == 0) {
		err = etcd_delete_any(c->etcd, key);
	} else {
		err = write_lease(c, i, owner);
		ip4_format(owner, ip);
	}
	if (err < 0)
		return err;
	printf("%.0f %s %s\n", now_s(CLOCK_REALTIME) * 1000, strrchr(key, '/') + 1, ip);
	return 0;
}

static int churn(const struct cluster *c, unsigned int rate, unsigned int seconds)
{
	double start = now_s(CLOCK_MONOTONIC);

	for (unsigned int n = 0; n < rate * seconds; n++) {
		double wait = start + (double)n / rate - now_s(CLOCK_MONOTONIC);

		if (wait > 0)
			usleep((useconds_t)(wait * 1e6));
		if (change(c, n))
			return die(c);
	}
	return 0;
}

static int config(const struct cluster *c, const char *json)
{
	char key[256];

	snprintf(key, sizeof(key), "%s/config", c->prefix);
	return etcd_put_any(c->etcd, key, json, 0) < 0 ? die(c) : 0;
}

static int parse_cluster(struct cluster *c, char **argv)
{
	struct in_addr subnet, addr;

	if (inet_pton(AF_INET, argv[1], &subnet) != 1 || inet_pton(AF_INET, argv[2], &addr) != 1)
		return -1;
	c->count = (uint32_t)strtoul(argv[0], NULL, 10);
	c->subnet = ntohl(subnet.s_addr);
	c->addr = ntohl(addr.s_addr);
	return c->count ? 0 : -1;
}

static int usage(void)
{
	fputs("usage: registry URL PREFIX config JSON\n"
	      "       registry URL PREFIX fill N SUBNET ADDR\n"
	      "       registry URL PREFIX churn N SUBNET ADDR RATE SECONDS\n",
	      stderr);
	return 2;
}

static int run(struct cluster *c, int argc, char **argv)
{
	const char *verb = argv[0];

	if (strcmp(verb, "config") == 0 && argc == 2)
		return config(c, argv[1]);
	if (argc < 4 || parse_cluster(c, argv + 1))
		return usage();
	if (etcd_grant(c->etcd, TTL_S, &c->lease))
		return die(c);
	if (strcmp(verb, "fill") == 0 && argc == 4)
		return fill(c);
	if (strcmp(verb, "churn") == 0 && argc == 6)
		return churn(c, (unsigned int)atoi(argv[4]), (unsigned int)atoi(argv[5]));
	return usage();
}

int main(int argc, char **argv)
{
	struct etcd_config etcd = {.wake_fd = -1};
	struct cluster c = {};
	int rc;

	if (argc < 5)
		return usage();
	etcd.endpoints = argv[1];
	c.prefix = argv[2];
	if (etcd_open(&etcd, &c.etcd))
		return usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	rc = run(&c, argc - 3, argv + 3);
	etcd_close(c.etcd);
	return rc;
}
