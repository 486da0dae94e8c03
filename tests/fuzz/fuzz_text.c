/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Short texts: prefixes, MACs, addresses with ports, and subnet.env, which anybody may have
 * written. What is read is read whole, and written out it is the same again.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <strings.h>

#include "http_server.h"
#include "prefix4.h"
#include "subnet_env.h"
#include "util.h"

static int fd;
static char path[] = "/tmp/fuzz_text.XXXXXX"; /* a file of ours: no other one is read */

static void forget(void)
{
	unlink(path);
}

static int read_env(const void *text, size_t len, struct prefix4 *out)
{
	CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, text, len, 0) == (ssize_t)len);
	return subnet_env_read(path, out);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char env[] = "FLANNEL_SUBNET=10.244.1.1/24\n";
	struct prefix4 subnet;

	(void)argc;
	(void)argv;
	fuzz_quiet();
	fd = mkstemp(path);
	CHECK(fd >= 0 && atexit(forget) == 0);
	CHECK(read_env(env, sizeof(env) - 1, &subnet) == 0);
	return 0;
}

static void check_env(const char *data, size_t size)
{
	struct prefix4 subnet = {0xa5a5a5a5, 0xa5}, again;
	char text[64], name[PREFIX4_STRLEN];
	int err = read_env(data, size, &subnet), n;

	if (err) {
		CHECK(err == -ENOENT && subnet.addr == 0xa5a5a5a5 && subnet.len == 0xa5);
		return;
	}
	CHECK(memmem(data, size, "FLANNEL_SUBNET=", 15));
	CHECK(subnet.len <= 32 && !(subnet.addr & ~prefix4_mask(subnet.len)));
	n = snprintf(text, sizeof(text), "FLANNEL_SUBNET=%s\n", prefix4_format(subnet, name));
	CHECK(read_env(text, (size_t)n, &again) == 0);
	CHECK(again.addr == subnet.addr && again.len == subnet.len);
}

static void check_prefix(const char *text)
{
	struct prefix4 prefix = {0xa5a5a5a5, 0xa5};
	char again[PREFIX4_STRLEN];
	uint32_t addr = 0;
	uint8_t len = 0;

	if (prefix4_parse(text, &prefix)) {
		CHECK(prefix.addr == 0xa5a5a5a5 && prefix.len == 0xa5);
		return;
	}
	CHECK(prefix4_split(text, &addr, &len) == 0);
	CHECK(len == prefix.len && (addr & prefix4_mask(len)) == prefix.addr);
	CHECK(strcmp(prefix4_format((struct prefix4){addr, len}, again), text) == 0);
}

static void check_mac(const char *text)
{
	uint8_t mac[6] = {0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5};
	char again[MAC_STRLEN];

	if (format_parse_mac(text, mac)) {
		CHECK(strcmp(format_mac(mac, again), "a5:a5:a5:a5:a5:a5") == 0);
		return;
	}
	CHECK(!(mac[0] & 1) && strcmp(format_mac(mac, again), "00:00:00:00:00:00") != 0);
	CHECK(strcasecmp(again, text) == 0);
}

static void check_address(const char *text)
{
	struct sockaddr_in addr = {0};
	char again[64], ip[INET_ADDRSTRLEN];

	if (http_address_parse(text, &addr)) {
		CHECK(!addr.sin_family);
		return;
	}
	CHECK(addr.sin_family == AF_INET && addr.sin_port);
	snprintf(again, sizeof(again), "%s:%u",
		 text[0] == ':'	  ? ""
		 : text[0] == '*' ? "*"
				  : ip4_format(ntohl(addr.sin_addr.s_addr), ip),
		 ntohs(addr.sin_port));
	CHECK(strcmp(again, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_free_ char *text = strndup((const char *)data, size);

	CHECK(text);
	check_env((const char *)data, size);
	check_prefix(text);
	check_mac(text);
	check_address(text);
	return 0;
}
