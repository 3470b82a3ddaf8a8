/* SPDX-License-Identifier: GPL-2.0-only */
/* nice_sweep: walks its nice value from -20 to 19, again and again, with a burst at each. Without the right
 * to be nicer than before it ends, and its report says so. Runs in worker processes. */
#include "guest/work/worker.h"

#include <sys/resource.h>

void worker_run_nice_sweep(struct worker *worker)
{
	int nice = -20;
	do {
		if (setpriority(PRIO_PROCESS, 0, nice) < 0)
			worker_fail(worker, "setpriority");
		worker_burst(worker, WORKER_BURST_UNITS);
		worker_iteration(worker);
		nice = nice == 19 ? -20 : nice + 1;
	} while (!worker_stopping(worker));
}
