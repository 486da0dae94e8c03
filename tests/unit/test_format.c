/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The formats as the slow path reads and writes them; bytes from RFC 7348, 2003 and 6040. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "checksum.h"
#include "forward_priv.h"
#include "util.h"

static const struct vtep self = {0x123456, {0x0e, 0x66, 192, 0, 2, 1}};
static const uint8_t peer[6] = {0x4a, 0, 0, 0, 0, 7};

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(format_find("udp"), WEFT_FORMAT_UDP);
	assert_int_equal(format_find("VXLAN"), WEFT_FORMAT_VXLAN);
	assert_int_equal(format_find("ipip"), WEFT_FORMAT_IPIP);
	assert_int_equal(format_find("ipipx"), WEFT_FORMAT_MAX);
	assert_int_equal(format_find(""), WEFT_FORMAT_MAX);
	assert_string_equal(format_name(WEFT_FORMAT_VXLAN), "vxlan");
	assert_int_equal(format_overhead(WEFT_FORMAT_UDP), 28);
	assert_int_equal(format_overhead(WEFT_FORMAT_VXLAN), 50);
	assert_int_equal(format_overhead(WEFT_FORMAT_IPIP), 20);
	assert_int_equal(format_protocol(WEFT_FORMAT_IPIP), 4);
}

static void test_macs(void **state)
{
	static const char *const bad[] = {"",
					  "0e:66:c0:00:02",
					  "0e:66:c0:00:02:01:05",
					  "0e-66-c0-00-02-01",
					  "e:66:c0:00:02:01",
					  "0e:66:c0:00:02:0g",
					  " 0e:66:c0:00:02:01",
					  "0e:66:c0:00:02: 1",
					  "0e:66:-1:00:02:01",
					  "0e:66:c0:+1:02:01",
					  "0e:66:c0:00:02:0x",
					  "01:66:c0:00:02:01",
					  "00:00:00:00:00:00"};
	uint8_t mac[6] = {9};
	char text[MAC_STRLEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(format_parse_mac(bad[i], mac), -EINVAL);
	assert_int_equal(mac[0], 9);
	assert_int_equal(format_parse_mac("4A:00:00:00:00:07", mac), 0);
	assert_memory_equal(mac, peer, 6);
	format_vtep_mac(0xc0000201, mac);
	assert_memory_equal(mac, self.mac, 6);
	assert_string_equal(format_mac(mac, text), "0e:66:c0:00:02:01");
}

/* Flags, reserved, VNI, reserved; destination, source, EtherType. */
static const uint8_t wire[22] = {0x08, 0, 0, 0,	   0x12, 0x34, 0x56, 0, 0x4a, 0,    0,
				 0,    0, 7, 0x0e, 0x66, 192,  0,    2, 1,    0x08, 0};

static void test_vxlan_written(void **state)
{
	uint8_t out[FORMAT_HEADER_MAX];

	(void)state;
	assert_int_equal(format_write(WEFT_FORMAT_VXLAN, &self, peer, out), sizeof(wire));
	assert_memory_equal(out, wire, sizeof(wire));
	assert_int_equal(format_write(WEFT_FORMAT_UDP, &self, peer, out), 0);
	assert_int_equal(format_write(WEFT_FORMAT_IPIP, &self, peer, out), 0);
}

/* What comes in is addressed to us. */
static enum weft_reason read_with(size_t at, uint8_t value, size_t len, size_t *skip)
{
	const struct vtep end = {self.vni, {0x4a, 0, 0, 0, 0, 7}};
	uint8_t data[sizeof(wire) + 1];

	memcpy(data, wire, sizeof(wire));
	data[at] = value;
	*skip = 99;
	return format_read(WEFT_FORMAT_VXLAN, &end, data, len, skip);
}

static void test_vxlan_read(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		enum weft_reason reason;
	} cases[] = {
		{0, 0x00, WEFT_R_BAD_VXLAN}, {0, 0x88, WEFT_R_BAD_VXLAN},
		{3, 0x01, WEFT_R_BAD_VXLAN}, {7, 0x01, WEFT_R_BAD_VXLAN},
		{4, 0x13, WEFT_R_VNI},	     {6, 0x57, WEFT_R_VNI},
		{8, 0x4b, WEFT_R_NOT_VTEP},  {13, 8, WEFT_R_NOT_VTEP},
		{20, 0x86, WEFT_R_NOT_IPV4}, {21, 0x06, WEFT_R_NOT_IPV4},
		{19, 9, WEFT_R_OK},
	};
	size_t skip;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(read_with(cases[i].at, cases[i].value, sizeof(wire), &skip),
				 cases[i].reason);
		assert_int_equal(skip, cases[i].reason == WEFT_R_OK ? sizeof(wire) : 99);
	}
	for (size_t len = 0; len < sizeof(wire); len++)
		assert_int_equal(read_with(19, 9, len, &skip), WEFT_R_SHORT);
}

/* A raw socket's packet, with and without options in the outer header. */
static void test_raw(void **state)
{
	const struct forward_table table = {.port = 1};
	uint8_t data[64] = {0x45, 0xb9}, *at = data, tos = 0;
	size_t len = 60;

	(void)state;
	assert_int_equal(unwrap(&table, WEFT_FORMAT_IPIP, &at, &len, &tos), WEFT_R_OK);
	assert_ptr_equal(at, data + 20);
	assert_int_equal(len, 40);
	assert_int_equal(tos, 0xb9);
	data[0] = 0x4f;
	at = data;
	len = 60;
	assert_int_equal(unwrap(&table, WEFT_FORMAT_IPIP, &at, &len, &tos), WEFT_R_OK);
	assert_int_equal(len, 0);
	len = 59;
	at = data;
	assert_int_equal(unwrap(&table, WEFT_FORMAT_IPIP, &at, &len, &tos), WEFT_R_SHORT);
	data[0] = 0x44;
	assert_int_equal(unwrap(&table, WEFT_FORMAT_IPIP, &at, &len, &tos), WEFT_R_SHORT);
	len = 0;
	assert_int_equal(unwrap(&table, WEFT_FORMAT_IPIP, &at, &len, &tos), WEFT_R_SHORT);
}

/* RFC 6040 figure 4 by [inner][outer], in the values of RFC 3168; -1: drop. */
static const int ecn[4][4] = {{0, 0, 0, -1}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};

static void test_ecn(void **state)
{
	(void)state;
	for (int i = 0; i < 16; i++) {
		uint8_t packet[20] = {0x45, 0xb8, 0, 20, 0x12, 0x34};
		int want = ecn[i >> 2][i & 3];
		uint16_t check;

		packet[1] |= i >> 2;
		check = checksum(packet, sizeof(packet));
		memcpy(packet + 10, &check, sizeof(check));
		assert_int_equal(take_ecn(packet, 0x20 | (i & 3)),
				 want < 0 ? WEFT_R_ECN : WEFT_R_OK);
		assert_int_equal(packet[1], 0xb8 | (want < 0 ? i >> 2 : want));
		assert_int_equal(checksum(packet, sizeof(packet)), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	      cmocka_unit_test(test_macs),
		cmocka_unit_test(test_vxlan_written), cmocka_unit_test(test_vxlan_read),
		cmocka_unit_test(test_raw),	      cmocka_unit_test(test_ecn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
