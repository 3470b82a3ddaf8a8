/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads for work that blocks, kept for the next piece of it: making and joining one costs more than most
 * requests do. Nothing queues: whoever is handed in runs at once. One thread owns the pool and calls all of
 * this. */
#ifndef COMMON_TPOOL_H
#define COMMON_TPOOL_H

#include "common/err.h"

struct tpool;

/* max_idle: threads that are kept without work. ERR_HOST. */
struct tpool *tpool_new(unsigned max_idle, struct err *err) must_check;
/* Waits until everything that was handed in has returned. Takes NULL. */
void tpool_free(struct tpool *pool);
/* Has fn(arg) run on a thread of the pool, which has all signals blocked. ERR_HOST: there can be no more
 * threads, and it does not run. */
int tpool_run(struct tpool *pool, void (*fn)(void *arg), void *arg, struct err *err) must_check;

#endif
