/* SPDX-License-Identifier: GPL-2.0-only */
/* bursty: spins for `burst`, sleeps for `sleep`. A sleep ends early when the worker is asked to stop. Runs in
 * worker processes. */
#include "guest/work/worker.h"

void worker_run_bursty(struct worker *worker)
{
	do {
		worker_spin(worker, worker->params->bursty.burst_ns);
		worker_iteration(worker);
	} while (worker_rest(worker, worker_now_ns() + worker->params->bursty.sleep_ns));
}
