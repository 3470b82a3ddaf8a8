/* SPDX-License-Identifier: GPL-2.0-only */
/* Scope guards: variables that release themselves, and how to hand them on. No state, any thread. */
#ifndef COMMON_SCOPE_H
#define COMMON_SCOPE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Declares `static inline void name##_p(type *p)` that calls fn on a non-empty *p; use as
 * _cleanup_(name##_p). */
#define SCOPE_GUARD(type, name, fn)                                                                          \
	static inline void name##_p(type *p)                                                                 \
	{                                                                                                    \
		if (*p)                                                                                      \
			fn(*p);                                                                              \
	}

static inline void scope_free(void *p)
{
	free(*(void **)p);
}
static inline void scope_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void scope_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}
static inline void scope_unlock(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}
static inline pthread_mutex_t *scope_lock_begin(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

#define _cleanup_free_ _cleanup_(scope_free)
#define _cleanup_close_ _cleanup_(scope_close)
#define _cleanup_fclose_ _cleanup_(scope_fclose)
#define SCOPE_CAT2(a, b) a##b
#define SCOPE_CAT(a, b) SCOPE_CAT2(a, b)
/* Holds the mutex until the end of the scope. */
#define SCOPE_LOCK(m)                                                                                        \
	pthread_mutex_t *SCOPE_CAT(scope_lock_, __LINE__) __attribute__((cleanup(scope_unlock), unused)) =   \
		scope_lock_begin(m)

/* Empties the variable and returns what it held, so that its guard does nothing. */
#define TAKE_PTR(p)                                                                                          \
	({                                                                                                   \
		__typeof__(p) *pp_ = &(p);                                                                   \
		__typeof__(p) v_ = *pp_;                                                                     \
		*pp_ = NULL;                                                                                 \
		v_;                                                                                          \
	})
static inline int take_fd(int *fd)
{
	int v = *fd;
	*fd = -1;
	return v;
}

#endif
