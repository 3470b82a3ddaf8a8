/* SPDX-License-Identifier: GPL-2.0-only */
/* yield_heavy: one unit, then sched_yield(). A yield is no blocking: what passes until it runs again is a
 * gap. Runs in worker processes. */
#include "guest/work/worker.h"

#include <sched.h>

void worker_run_yield_heavy(struct worker *worker)
{
	do {
		worker_burst(worker, 1);
		worker_iteration(worker);
		sched_yield();
	} while (!worker_stopping(worker));
}
