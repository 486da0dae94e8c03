/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control loop: order and time of calls, and removal of what is about to be called. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop.h"
#include "util.h"

#define PIPES 4

struct fixture;

struct pipe_source {
	struct fixture *fx;
	int fds[2];
	unsigned int calls;
};

struct fixture {
	struct loop *loop;
	struct pipe_source pipes[PIPES];
	struct loop_timer *timer, *guard;
	unsigned int ticks;
	unsigned int stop_after; /* ticks */
	bool timed_out;
};

static void on_guard(void *arg)
{
	struct fixture *fx = arg;

	fx->timed_out = true;
	loop_stop(fx->loop);
}

static void on_tick(void *arg)
{
	struct fixture *fx = arg;

	if (++fx->ticks >= fx->stop_after)
		loop_stop(fx->loop);
}

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	assert_int_equal(loop_new(&fx->loop), 0);
	assert_int_equal(loop_timer_new(fx->loop, on_tick, fx, &fx->timer), 0);
	assert_int_equal(loop_timer_new(fx->loop, on_guard, fx, &fx->guard), 0);
	loop_timer_arm(fx->guard, 10000, 0);
	fx->stop_after = 1;
	for (int i = 0; i < PIPES; i++) {
		fx->pipes[i].fx = fx;
		assert_int_equal(pipe2(fx->pipes[i].fds, O_CLOEXEC | O_NONBLOCK), 0);
	}
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	loop_free(fx->loop);
	for (int i = 0; i < PIPES; i++) {
		close(fx->pipes[i].fds[0]);
		close(fx->pipes[i].fds[1]);
	}
	free(fx);
	return 0;
}

static void make_readable(struct pipe_source *pipe)
{
	assert_int_equal(write(pipe->fds[1], "x", 1), 1);
}

static void add(struct pipe_source *pipe, loop_fn fn)
{
	assert_int_equal(loop_add(pipe->fx->loop, pipe->fds[0], fn, pipe), 0);
}

static void run(struct fixture *fx)
{
	assert_int_equal(loop_run(fx->loop), 0);
	assert_false(fx->timed_out);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_read_and_stop(void *arg)
{
	struct pipe_source *pipe = arg;
	char c;

	pipe->calls++;
	assert_int_equal(read(pipe->fds[0], &c, 1), 1);
	loop_stop(pipe->fx->loop);
}

static void test_calls_when_readable(void **state)
{
	struct fixture *fx = *state;

	add(&fx->pipes[0], on_read_and_stop);
	add(&fx->pipes[1], on_read_and_stop);
	make_readable(&fx->pipes[1]);
	run(fx);
	assert_int_equal(fx->pipes[0].calls, 0);
	assert_int_equal(fx->pipes[1].calls, 1);
}

/* Stopping in the middle of a batch loses nothing: the rest is called by the next run. */
static void test_runs_again_after_stop(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < PIPES; i++) {
		add(&fx->pipes[i], on_read_and_stop);
		make_readable(&fx->pipes[i]);
	}
	for (int i = 0; i < PIPES; i++)
		run(fx);
	for (int i = 0; i < PIPES; i++)
		assert_int_equal(fx->pipes[i].calls, 1);
}

static void test_stop_before_run(void **state)
{
	struct fixture *fx = *state;

	add(&fx->pipes[0], on_read_and_stop);
	make_readable(&fx->pipes[0]);
	loop_stop(fx->loop);
	run(fx);
	assert_int_equal(fx->pipes[0].calls, 0);
	run(fx);
	assert_int_equal(fx->pipes[0].calls, 1);
}

static void on_remove_self(void *arg)
{
	struct pipe_source *pipe = arg;

	pipe->calls++;
	loop_remove(pipe->fx->loop, pipe->fds[0]);
}

/* Still readable, but called once. */
static void test_removes_itself(void **state)
{
	struct fixture *fx = *state;

	add(&fx->pipes[0], on_remove_self);
	make_readable(&fx->pipes[0]);
	loop_timer_arm(fx->timer, 30, 0);
	run(fx);
	assert_int_equal(fx->pipes[0].calls, 1);
}

static void on_remove_all(void *arg)
{
	struct pipe_source *pipe = arg;
	struct fixture *fx = pipe->fx;

	pipe->calls++;
	for (int i = 0; i < PIPES; i++)
		loop_remove(fx->loop, fx->pipes[i].fds[0]);
}

/* All are readable in one batch; whichever is first removes the others. */
static void test_removes_others_in_batch(void **state)
{
	struct fixture *fx = *state;
	unsigned int calls = 0;

	for (int i = 0; i < PIPES; i++) {
		add(&fx->pipes[i], on_remove_all);
		make_readable(&fx->pipes[i]);
	}
	loop_timer_arm(fx->timer, 30, 0);
	run(fx);
	for (int i = 0; i < PIPES; i++)
		calls += fx->pipes[i].calls;
	assert_int_equal(calls, 1);
}

static void on_reuse_number(void *arg)
{
	struct pipe_source *pipe = arg;
	struct fixture *fx = pipe->fx;

	pipe->calls++;
	/* The same numbers, now pipes with nothing in them. */
	for (int i = 0; i < PIPES; i++) {
		int fds[2], fd = fx->pipes[i].fds[0];

		loop_remove(fx->loop, fd);
		assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
		assert_int_equal(dup3(fds[0], fd, O_CLOEXEC), fd);
		assert_int_equal(dup3(fds[1], fx->pipes[i].fds[1], O_CLOEXEC), fx->pipes[i].fds[1]);
		close(fds[0]);
		close(fds[1]);
		assert_int_equal(loop_add(fx->loop, fd, on_read_and_stop, &fx->pipes[i]), 0);
	}
}

/* An event of the old file must not reach the new one that took its number. */
static void test_reused_number_in_batch(void **state)
{
	struct fixture *fx = *state;
	unsigned int calls = 0;

	for (int i = 0; i < PIPES; i++) {
		add(&fx->pipes[i], on_reuse_number);
		make_readable(&fx->pipes[i]);
	}
	loop_timer_arm(fx->timer, 30, 0);
	run(fx);
	for (int i = 0; i < PIPES; i++)
		calls += fx->pipes[i].calls;
	assert_int_equal(calls, 1);
	/* And the new ones are heard. */
	calls = fx->pipes[2].calls;
	make_readable(&fx->pipes[2]);
	run(fx);
	assert_int_equal(fx->pipes[2].calls, calls + 1);
}

static void test_add_refuses(void **state)
{
	struct fixture *fx = *state;

	add(&fx->pipes[0], on_read_and_stop);
	assert_int_equal(loop_add(fx->loop, fx->pipes[0].fds[0], on_read_and_stop, NULL), -EEXIST);
	assert_int_equal(loop_add(fx->loop, -1, on_read_and_stop, NULL), -EBADF);
	loop_remove(fx->loop, 12345);
	loop_remove(fx->loop, fx->pipes[0].fds[0]);
	add(&fx->pipes[0], on_read_and_stop);
}

static void test_timer_fires_once(void **state)
{
	struct fixture *fx = *state;
	int64_t start = now_ms();

	fx->stop_after = 2;
	loop_timer_arm(fx->timer, 40, 0);
	loop_timer_arm(fx->guard, 120, 0);
	assert_int_equal(loop_run(fx->loop), 0);
	assert_true(fx->timed_out);
	assert_int_equal(fx->ticks, 1);
	assert_true(now_ms() - start >= 120);
}

static void test_timer_repeats(void **state)
{
	struct fixture *fx = *state;
	int64_t start = now_ms();

	fx->stop_after = 4;
	loop_timer_arm(fx->timer, 20, 10);
	run(fx);
	assert_int_equal(fx->ticks, 4);
	assert_true(now_ms() - start >= 50);
}

static void test_timer_without_delay(void **state)
{
	struct fixture *fx = *state;

	loop_timer_arm(fx->timer, 0, 0);
	run(fx);
	assert_int_equal(fx->ticks, 1);
}

static void test_rearming_replaces(void **state)
{
	struct fixture *fx = *state;
	int64_t start = now_ms();

	loop_timer_arm(fx->timer, 1, 1);
	usleep(5000);
	/* Due already, but not delivered yet. */
	loop_timer_arm(fx->timer, 50, 0);
	run(fx);
	assert_int_equal(fx->ticks, 1);
	assert_true(now_ms() - start >= 55);
}

/* The longest delay means never, not at once. */
static void test_timer_at_rest(void **state)
{
	struct fixture *fx = *state;

	loop_timer_arm(fx->timer, UINT64_MAX, 0);
	loop_timer_arm(fx->guard, 30, 0);
	assert_int_equal(loop_run(fx->loop), 0);
	assert_int_equal(fx->ticks, 0);
}

static void on_tick_rearm(void *arg)
{
	struct fixture *fx = arg;

	if (++fx->ticks == 3)
		loop_stop(fx->loop);
	else
		loop_timer_arm(fx->timer, 5, 0);
}

static void test_rearms_in_its_callback(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(loop_timer_new(fx->loop, on_tick_rearm, fx, &fx->timer), 0);
	loop_timer_arm(fx->timer, 5, 0);
	run(fx);
	assert_int_equal(fx->ticks, 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_calls_when_readable),
		T(test_runs_again_after_stop),
		T(test_stop_before_run),
		T(test_removes_itself),
		T(test_removes_others_in_batch),
		T(test_reused_number_in_batch),
		T(test_add_refuses),
		T(test_timer_fires_once),
		T(test_timer_repeats),
		T(test_timer_without_delay),
		T(test_rearming_replaces),
		T(test_timer_at_rest),
		T(test_rearms_in_its_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
