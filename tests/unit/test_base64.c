/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "util.h"

/* RFC 4648 section 10 */
static const struct {
	const char *plain, *text;
} vectors[] = {
	{"", ""},
	{"f", "Zg=="},
	{"fo", "Zm8="},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"},
};

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		_free_ char *text = base64_encode(vectors[i].plain, strlen(vectors[i].plain));
		size_t len = 99;
		_free_ char *plain = base64_decode(vectors[i].text, &len);

		assert_string_equal(text, vectors[i].text);
		assert_string_equal(plain, vectors[i].plain);
		assert_int_equal(len, strlen(vectors[i].plain));
	}
}

static void test_all_bytes(void **state)
{
	uint8_t bytes[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(255 - i);
	for (size_t n = 250; n <= sizeof(bytes); n++) {
		_free_ char *text = base64_encode(bytes, n);
		size_t len = 0;
		_free_ char *plain = base64_decode(text, &len);

		assert_int_equal(len, n);
		assert_memory_equal(plain, bytes, n);
	}
}

static void test_refused(void **state)
{
	static const char *const texts[] = {"Z",    "Zg",	"Zg=",	    "Zg===",	  "=",
					    "====", "Z===",	"Zm9v\n",   "Zm 9",	  "Zm-v",
					    "Zm_v", "Zg==Zg==", "Zm9vZ===", "Zm9v\x80==", "=Zg="};
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_free_ char *plain = base64_decode(texts[i], &len);

		if (plain)
			fail_msg("accepted: %s", texts[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_all_bytes),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
