/* SPDX-License-Identifier: GPL-2.0-only */
/* Mutexes between workers, on futexes and in the group's memory: plain, or with the kernel's priority
 * inheritance. Whoever waits for one still sees that it is to stop. Runs in worker processes. */
#ifndef GUEST_WORK_MUTEX_H
#define GUEST_WORK_MUTEX_H

#include "guest/work/worker.h"

struct mutex {
	/* Plain: 0 free, 1 held, 2 held and waited for. Priority inheritance: the kernel's format
	 * (futex(2)). */
	_Alignas(64) _Atomic uint32_t word;
	_Atomic uint64_t freed_ns; /* the holder W, before it lets go */
};

/* 1: got it at once. 2: got it after sleeping. 0: it is to stop. */
int mutex_lock(struct worker *worker, struct mutex *mutex, bool inherit);
void mutex_unlock(struct worker *worker, struct mutex *mutex, bool inherit);

#endif
