/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The guard's table is put back, in a network namespace of the test's own. Real but for this: there
 * is one endpoint, and the kernel may have no memory for an answer.
 */
#include <dlfcn.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nft.h"
#include "port_guard.h"
#include "util.h"

#define PATIENCE_MS 5000

static int fail_listing; /* 1: the next one, 2: the one after it; 0: none */

/* In place of libnftables' own */
int nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *buf)
{
	static int (*run)(struct nft_ctx *, const char *);

	if (!run)
		run = dlsym(RTLD_NEXT, "nft_run_cmd_from_buffer");
	if (!strncmp(buf, "list ", 5) && fail_listing && !--fail_listing)
		return -1;
	return run(nft, buf);
}

/* In place of the bridge's */
void endpoints_each(const struct endpoints *eps, void (*fn)(const struct endpoint *ep, void *arg),
		    void *arg)
{
	const struct endpoint ep = {.addr = 0x0af40102, .ifindex = 1};

	(void)eps;
	fn(&ep, arg);
}

void endpoints_each_port(const struct endpoints *eps, void (*fn)(uint32_t ifindex, void *arg),
			 void *arg)
{
	(void)eps;
	fn(1, arg);
}

struct guarded {
	struct loop *loop;
	struct port_guard *guard;
	int lost;
};

static void assert_whole(void)
{
	assert_int_equal(system("list=$(nft list table bridge weft-t0) &&"
				" test $(echo \"$list\" | grep -c drop) = 5 &&"
				" test $(echo \"$list\" | grep -c 'elements = ') = 3 &&"
				" echo \"$list\" | grep -q 'elements = { 10.244.1.2 }'"),
			 0);
}

static void on_lost(void *arg)
{
	struct guarded *g = arg;

	g->lost++;
	assert_int_equal(port_guard_set(g->guard, NULL), 0);
	loop_stop(g->loop);
}

static void on_timeout(void *arg)
{
	fail_msg("the table was not put back (%p)", arg);
}

static void guard_open(struct guarded *g)
{
	const struct port_guard_config config = {
		.tun = "t0",
		.network = {.addr = 0x0af40000, .len = 16},
		.port = 8285,
		.vxlan_port = 8472,
		.lost = on_lost,
		.arg = g,
	};
	struct loop_timer *timer;

	*g = (struct guarded){};
	assert_int_equal(loop_new(&g->loop), 0);
	assert_int_equal(loop_timer_new(g->loop, on_timeout, NULL, &timer), 0);
	loop_timer_arm(timer, PATIENCE_MS, 0);
	assert_int_equal(port_guard_open(g->loop, &config, &g->guard), 0);
	assert_int_equal(port_guard_set(g->guard, NULL), 0);
	assert_whole();
}

static void guard_close(struct guarded *g)
{
	port_guard_close(g->guard);
	assert_int_equal(port_guard_delete("t0"), 0);
	loop_free(g->loop);
}

static void damage(const char *how)
{
	struct nft_ctx *nft = nft_open();

	assert_non_null(nft);
	assert_int_equal(nft_run(nft, "%s", how), 0);
	nft_ctx_free(nft);
}

static void what_is_changed_is_put_back(void **state)
{
	static const char *const changes[] = {
		"flush chain bridge weft-t0 from-pods",
		"flush set bridge weft-t0 endpoints",
		"flush set bridge weft-t0 ports",
		"add element bridge weft-t0 addresses { 10.244.1.9 }",
		"add table bridge weft-t0 { flags dormant; }",
		"delete table bridge weft-t0",
	};
	struct guarded g;

	(void)state;
	guard_open(&g);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		damage(changes[i]);
		loop_run(g.loop);
		assert_whole();
		assert_int_equal(g.lost, i + 1);
	}
	guard_close(&g);
}

/* What was changed just before is not taken for ours. */
static void setting_makes_whole(void **state)
{
	struct guarded g;

	(void)state;
	guard_open(&g);
	damage("flush chain bridge weft-t0 from-pods");
	assert_int_equal(port_guard_set(g.guard, NULL), 0);
	assert_whole();
	damage("delete table bridge weft-t0");
	assert_int_equal(port_guard_set(g.guard, NULL), 0);
	assert_whole();
	guard_close(&g);
}

/* Put back, but how it looks now was not to be had: the next change has it looked at anew. */
static void answer_is_missed(void **state)
{
	struct guarded g;

	(void)state;
	guard_open(&g);
	fail_listing = 2;
	damage("flush chain bridge weft-t0 from-pods");
	loop_run(g.loop);
	assert_int_equal(fail_listing, 0);
	assert_whole();
	assert_int_equal(g.lost, 1);
	guard_close(&g);
}

static int own_namespace(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_changed_is_put_back),
		cmocka_unit_test(setting_makes_whole),
		cmocka_unit_test(answer_is_missed),
	};

	return cmocka_run_group_tests_name("port_guard", tests, own_namespace, NULL);
}
