/* SPDX-License-Identifier: GPL-2.0-only */
/* The post queue: order, owners, calls from other threads. */
#include "common/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>

static int order[8];
static int n_order;

static void note(void *arg)
{
	order[n_order++] = (int)(intptr_t)arg;
}
static void stop(void *arg)
{
	loop_stop(arg);
}

Test(loop, posts_run_in_order)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	cr_assert_eq(loop_post(loop, NULL, note, (void *)1), 0);
	cr_assert_eq(loop_post(loop, NULL, note, (void *)2), 0);
	cr_assert_eq(loop_post(loop, NULL, stop, loop), 0);
	loop_run(loop);
	cr_assert_eq(n_order, 2);
	cr_assert_eq(order[0], 1);
	cr_assert_eq(order[1], 2);
}

Test(loop, drain_runs_only_the_owners)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	int a, b;
	cr_assert_eq(loop_post(loop, &a, note, (void *)1), 0);
	cr_assert_eq(loop_post(loop, &b, note, (void *)2), 0);
	cr_assert_eq(loop_post(loop, &a, note, (void *)3), 0);
	loop_drain(loop, &a);
	cr_assert_eq(n_order, 2);
	cr_assert_eq(order[1], 3);
	cr_assert_eq(loop_post(loop, &b, stop, loop), 0);
	loop_run(loop);
	cr_assert_eq(n_order, 3);
	cr_assert_eq(order[2], 2);
}

static void *caller(void *arg)
{
	int *count = calloc(1, sizeof(*count));
	for (int i = 0; i < 1000; i++)
		*count += loop_call(arg, note, NULL) == 0 ? (n_order = 0, 1) : 0;
	loop_stop(arg);
	return count;
}

Test(loop, calls_wait_for_their_turn)
{
	_cleanup_(loop_free_p) struct loop *loop = loop_new(NULL);
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, caller, loop), 0);
	loop_run(loop);
	void *count;
	pthread_join(thread, &count);
	cr_assert_eq(*(int *)count, 1000);
	free(count);
	cr_assert_eq(loop_call(loop, note, NULL), -ECANCELED);
}
