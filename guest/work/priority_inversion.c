/* SPDX-License-Identifier: GPL-2.0-only */
/* priority_inversion: the low ones (FIFO 30) and the high ones (70) share a mutex, the medium ones (50) do
 * not, and keep a low one that holds it off its CPU. What a high one waits for the mutex counts as a gap, not
 * as blocking of its own will: it is what this type is there to show. Everybody sleeps between rounds, so
 * that the machine lives on. Runs in worker processes. */
#include "guest/work/mutex.h"

#define HOLD_NS UINT64_C(1000000)
#define MEDIUM_NS UINT64_C(5000000)

/* Locks, works, unlocks. False: it is to stop. */
static bool hold(struct worker *worker, uint64_t ns)
{
	struct mutex *mutex = worker->group;
	bool inherit = worker->params->priority_inversion.pi;
	if (!mutex_lock(worker, mutex, inherit))
		return false;
	worker_spin(worker, ns);
	mutex_unlock(worker, mutex, inherit);
	return true;
}

void worker_run_priority_inversion(struct worker *worker)
{
	const struct work_priority_inversion *params = &worker->params->priority_inversion;
	bool high = worker->member < params->high;
	bool medium = !high && worker->member < params->high + params->medium;
	uint64_t rest_ns = high ? 2 * HOLD_NS : medium ? MEDIUM_NS : HOLD_NS;
	do {
		if (medium)
			worker_spin(worker, MEDIUM_NS);
		else if (!hold(worker, high ? HOLD_NS / 10 : HOLD_NS))
			return;
		worker_iteration(worker);
	} while (worker_rest(worker, worker_now_ns() + rest_ns));
}
