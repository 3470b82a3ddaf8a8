/* SPDX-License-Identifier: GPL-2.0-only */
/* spin_wait: bursts of 1024 units, nothing else. Runs in worker processes. */
#include "guest/work/worker.h"

void worker_run_spin_wait(struct worker *worker)
{
	do {
		worker_burst(worker, WORKER_BURST_UNITS);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
