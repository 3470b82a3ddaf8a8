/* SPDX-License-Identifier: GPL-2.0-only */
/* mixed: a burst of 1024 units, then sched_yield(). Runs in worker processes. */
#include "guest/work/worker.h"

#include <sched.h>

void worker_run_mixed(struct worker *worker)
{
	do {
		worker_burst(worker, WORKER_BURST_UNITS);
		worker_iteration(worker);
		sched_yield();
	} while (!worker_stopping(worker));
}
