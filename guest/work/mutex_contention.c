/* SPDX-License-Identifier: GPL-2.0-only */
/* mutex_contention: workers that share one futex mutex, held for `hold` units, with `work` units between; and
 * the mutexes themselves. Runs in worker processes. */
#include "guest/work/mutex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13 /* include/uapi/linux/futex.h, 5.14 */
#endif
/* As in wait.c: how late a stop is seen at most. */
#define LOOK_NS UINT64_C(100000000)

/* The kernel knows the holder by its number, and lends it the priority of whoever waits. */
static int lock_inheriting(struct worker *worker, struct mutex *mutex)
{
	uint32_t none = 0;
	if (atomic_compare_exchange_strong(&mutex->word, &none, (uint32_t)worker->slot->tid))
		return 1;
	while (!worker_stopping(worker)) {
		uint64_t until_ns = worker_now_ns() + LOOK_NS;
		struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
		if (syscall(SYS_futex, &mutex->word, FUTEX_LOCK_PI2, 0, &until, NULL, 0) == 0)
			return 2;
		/* ESRCH: the holder was killed with nobody waiting yet. */
		if (errno == ESRCH)
			worker_await_stop(worker);
		else if (errno != ETIMEDOUT && errno != EINTR && errno != EAGAIN)
			worker_fail(worker, "futex(LOCK_PI2)");
	}
	return 0;
}

static int lock_plain(struct worker *worker, struct mutex *mutex)
{
	uint32_t was = 0;
	if (atomic_compare_exchange_strong(&mutex->word, &was, 1))
		return 1;
	/* From here on marked as waited for, even when got: somebody else may wait too. */
	while (atomic_exchange(&mutex->word, 2) != 0) {
		if (worker_stopping(worker))
			return 0;
		slot_futex_wait(&mutex->word, 2, worker_now_ns() + LOOK_NS);
	}
	return 2;
}

int mutex_lock(struct worker *worker, struct mutex *mutex, bool inherit)
{
	return inherit ? lock_inheriting(worker, mutex) : lock_plain(worker, mutex);
}

void mutex_unlock(struct worker *worker, struct mutex *mutex, bool inherit)
{
	uint32_t mine = (uint32_t)worker->slot->tid;
	atomic_store_explicit(&mutex->freed_ns, worker_now_ns(), memory_order_release);
	if (!inherit) {
		if (atomic_exchange(&mutex->word, 0) == 2)
			syscall(SYS_futex, &mutex->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	} else if (!atomic_compare_exchange_strong(&mutex->word, &mine, 0)) {
		if (syscall(SYS_futex, &mutex->word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0) < 0)
			worker_fail(worker, "futex(UNLOCK_PI)");
	}
}

void worker_run_mutex_contention(struct worker *worker)
{
	const struct work_mutex_contention *params = &worker->params->mutex_contention;
	struct mutex *mutex = worker->group;
	do {
		worker_units(worker, params->work);
		uint64_t asked_ns = worker_now_ns();
		int got = mutex_lock(worker, mutex, false);
		uint64_t now_ns = worker_now_ns();
		if (!got) {
			worker_blocked_until(worker, now_ns);
			return;
		}
		uint64_t freed_ns = atomic_load_explicit(&mutex->freed_ns, memory_order_acquire);
		if (got == 2 && freed_ns >= asked_ns) {
			worker_blocked_until(worker, freed_ns);
			worker_woken(worker, freed_ns, now_ns);
		}
		worker_units(worker, params->hold);
		mutex_unlock(worker, mutex, false);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
