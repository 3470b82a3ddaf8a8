/* SPDX-License-Identifier: GPL-2.0-only */
/* futex_fan_out: member 0 works, wakes all others at once, and waits until each has done its share. Runs in
 * worker processes. */
#include "guest/work/fan_out.h"

bool fan_out_wake(struct worker *worker)
{
	struct fan_out *fan = worker->group;
	uint32_t others = worker->members - 1, done;
	atomic_store_explicit(&fan->done, 0, memory_order_relaxed);
	for (unsigned m = 1; m < worker->members; m++)
		worker_hand(&worker->slots[m]);
	atomic_fetch_add_explicit(&fan->round, 1, memory_order_release);
	slot_futex_wake(&fan->round);
	while ((done = atomic_load_explicit(&fan->done, memory_order_acquire)) != others)
		if (!worker_wait_while(worker, &fan->done, done))
			return false;
	return true;
}

bool fan_out_wait(struct worker *worker, uint32_t *round)
{
	struct fan_out *fan = worker->group;
	if (!worker_wait_while(worker, &fan->round, *round))
		return false;
	*round = atomic_load_explicit(&fan->round, memory_order_acquire);
	return true;
}

void fan_out_done(struct worker *worker)
{
	struct fan_out *fan = worker->group;
	/* Only the last one wakes member 0: one wake-up a round. */
	if (atomic_fetch_add_explicit(&fan->done, 1, memory_order_acq_rel) + 1 != worker->members - 1)
		return;
	worker_hand(&worker->slots[0]);
	slot_futex_wake(&fan->done);
}

void worker_run_futex_fan_out(struct worker *worker)
{
	uint64_t spin = worker->params->futex_fan_out.spin;
	if (worker->member == 0) {
		do {
			worker_units(worker, spin);
			worker_iteration(worker);
		} while (!worker_stopping(worker) && fan_out_wake(worker));
		return;
	}
	for (uint32_t round = 0; fan_out_wait(worker, &round);) {
		worker_units(worker, spin);
		worker_iteration(worker);
		fan_out_done(worker);
	}
}
