/* SPDX-License-Identifier: GPL-2.0-only */
/* The main loop: a libevent base plus the one queue through which other threads hand work to it.
 * Everything here runs on the loop's thread unless marked (any thread). */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include "common/check.h"
#include "common/err.h"
#include "common/scope.h"

#include <stdbool.h>

struct event_base;
struct loop;

typedef void (*loop_fn)(void *arg);

struct loop *loop_new(struct err *err) must_check;
/* Drops what is still queued. No other thread may use the loop any more. */
void loop_free(struct loop *loop);
SCOPE_GUARD(struct loop *, loop_free, loop_free)

struct event_base *loop_base(struct loop *loop);
/* The calling thread becomes the loop's thread until loop_stop(). */
void loop_run(struct loop *loop);
/* (any thread) Makes loop_run() return after the current callbacks; sticky. */
void loop_stop(struct loop *loop);
bool loop_stopped(struct loop *loop);
/* (any thread) True on the loop's own thread while it runs. */
bool loop_is_current(struct loop *loop);

/* (any thread) Runs fn(arg) on the loop's thread, in order of posting. `owner` names who drains it. Never
 * blocks, except for the queue's lock, which nobody holds across anything slow. -ENOMEM when it could not be
 * queued. */
int loop_post(struct loop *loop, const void *owner, loop_fn fn, void *arg) must_check;
/* Runs now what `owner` still has queued. Whoever is freed calls this first. */
void loop_drain(struct loop *loop, const void *owner);
/* (any thread but the loop's) Runs fn(arg) on the loop's thread and waits until it has. -ECANCELED when the
 * loop has stopped first: then fn has not run and never will. */
int loop_call(struct loop *loop, loop_fn fn, void *arg) must_check;

#endif
