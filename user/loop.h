/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The agent's control loop: epoll over file descriptors and timers, one thread. */
#ifndef WEFT_USER_LOOP_H
#define WEFT_USER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
typedef void (*loop_fn)(void *arg);

int loop_new(struct loop **out);
void loop_free(struct loop *loop);
/* Call fn(arg) whenever fd is readable. fd stays the caller's. */
int loop_add(struct loop *loop, int fd, loop_fn fn, void *arg);
void loop_remove(struct loop *loop, int fd);

struct loop_timer;
/* A timer on CLOCK_BOOTTIME, disarmed. Freed with the loop. */
int loop_timer_new(struct loop *loop, loop_fn fn, void *arg, struct loop_timer **out);
/* Fire once after delay_ms, then every period_ms (0 = once). Re-arming replaces. */
void loop_timer_arm(struct loop_timer *timer, uint64_t delay_ms, uint64_t period_ms);
/* It will not fire again until armed, not even for a time that has passed. NULL is ignored. */
void loop_timer_disarm(struct loop_timer *timer);

/* Runs until loop_stop(). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
