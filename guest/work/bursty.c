/* SPDX-License-Identifier: GPL-2.0-only */
/* bursty: spins for `burst`, sleeps for `sleep`. A sleep ends early when the worker is asked to stop. Runs in
 * worker processes. */
#include "guest/work/worker.h"

void worker_run_bursty(struct worker *worker)
{
	for (;;) {
		uint64_t until_ns = worker_now_ns() + worker->params->burst_ns;
		do
			worker_burst(worker, WORKER_BURST_UNITS);
		while (worker->last_ns < until_ns && !worker_stopping(worker));
		worker_iteration(worker);
		uint64_t due_ns = worker_now_ns() + worker->params->sleep_ns;
		while (!worker_stopping(worker) && worker_now_ns() < due_ns)
			slot_futex_wait(&worker->slot->stop, 0, due_ns);
		uint64_t now_ns = worker_now_ns();
		if (worker_stopping(worker)) {
			worker_blocked_until(worker, now_ns);
			return;
		}
		/* What it waited beyond the time it asked for is the scheduler's. */
		worker_blocked_until(worker, due_ns);
		worker_woken(worker, due_ns, now_ns);
	}
}
