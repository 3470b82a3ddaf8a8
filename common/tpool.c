/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that are kept (see tpool.h). The owner's thread, but for member_main(). */
#include "common/tpool.h"

#include "common/scope.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct member {
	struct tpool *pool;
	pthread_t thread;
	pthread_cond_t wake;
	void (*fn)(void *arg); /* its next work; NULL: none */
	void *arg;
	struct member *next; /* of the list that it is in */
};

struct tpool {
	unsigned max_idle;
	pthread_mutex_t lock; /* of all below, and of the members */
	pthread_cond_t quiet; /* nobody works */
	unsigned n_idle, n_working;
	bool ending;
	struct member *idle;
	struct member *leaving; /* about to return, to be joined */
};

static void push(struct member **list, struct member *member)
{
	member->next = *list;
	*list = member;
}

static struct member *pop(struct member **list)
{
	struct member *first = *list;
	if (first)
		*list = first->next;
	return first;
}

static void *member_main(void *arg)
{
	struct member *self = arg;
	struct tpool *pool = self->pool;
	SCOPE_LOCK(&pool->lock);
	for (;;) {
		while (!self->fn && !pool->ending)
			pthread_cond_wait(&self->wake, &pool->lock);
		if (!self->fn)
			return NULL; /* is in the list of the idle, where it is found */
		void (*fn)(void *) = self->fn;
		self->fn = NULL;
		pthread_mutex_unlock(&pool->lock);
		fn(self->arg);
		pthread_mutex_lock(&pool->lock);
		if (--pool->n_working == 0)
			pthread_cond_signal(&pool->quiet);
		if (pool->n_idle == pool->max_idle) {
			push(&pool->leaving, self);
			return NULL;
		}
		push(&pool->idle, self);
		pool->n_idle++;
	}
}

static void member_free(struct member *member)
{
	pthread_cond_destroy(&member->wake);
	free(member);
}

/* Whoever is in the list has nothing to do any more but return. */
static void join_all(struct member *list)
{
	for (struct member *member; (member = pop(&list));) {
		pthread_join(member->thread, NULL);
		member_free(member);
	}
}

static int member_start(struct member *member)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int r = pthread_create(&member->thread, NULL, member_main, member);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* To somebody idle; false: there is nobody. Either way it counts as work from now on. */
static bool hand_over(struct tpool *pool, void (*fn)(void *arg), void *arg, struct member **ret_leaving)
{
	SCOPE_LOCK(&pool->lock);
	*ret_leaving = TAKE_PTR(pool->leaving);
	pool->n_working++;
	struct member *member = pop(&pool->idle);
	if (!member)
		return false;
	pool->n_idle--;
	member->fn = fn;
	member->arg = arg;
	pthread_cond_signal(&member->wake);
	return true;
}

static int start_another(struct tpool *pool, void (*fn)(void *arg), void *arg)
{
	struct member *member = calloc(1, sizeof(*member));
	if (!member)
		return ENOMEM;
	member->pool = pool;
	member->fn = fn;
	member->arg = arg;
	pthread_cond_init(&member->wake, NULL);
	int r = member_start(member);
	if (r)
		member_free(member);
	return r;
}

int tpool_run(struct tpool *pool, void (*fn)(void *arg), void *arg, struct err *err)
{
	struct member *leaving;
	bool handed = hand_over(pool, fn, arg, &leaving);
	join_all(leaving);
	int r = handed ? 0 : start_another(pool, fn, arg);
	if (r == 0)
		return 0;
	SCOPE_LOCK(&pool->lock);
	pool->n_working--;
	return err_set_os(err, ERR_HOST, r, "cannot start a thread");
}

struct tpool *tpool_new(unsigned max_idle, struct err *err)
{
	struct tpool *pool = calloc(1, sizeof(*pool));
	if (!pool) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot set up threads");
		return NULL;
	}
	pool->max_idle = max_idle;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->quiet, NULL);
	return pool;
}

void tpool_free(struct tpool *pool)
{
	if (!pool)
		return;
	{
		SCOPE_LOCK(&pool->lock);
		while (pool->n_working)
			pthread_cond_wait(&pool->quiet, &pool->lock);
		pool->ending = true;
		for (struct member *member = pool->idle; member; member = member->next)
			pthread_cond_signal(&member->wake);
	}
	join_all(pool->idle);
	join_all(pool->leaving);
	pthread_cond_destroy(&pool->quiet);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
