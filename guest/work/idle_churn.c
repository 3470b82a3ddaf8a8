/* SPDX-License-Identifier: GPL-2.0-only */
/* idle_churn: short bursts and sleeps, so that CPUs go idle and come back all the time. `precise` takes the
 * timer slack away, which otherwise lets the kernel put wake-ups together. Runs in worker processes. */
#include "guest/work/worker.h"

#include <sys/prctl.h>

void worker_run_idle_churn(struct worker *worker)
{
	const struct work_idle_churn *params = &worker->params->idle_churn;
	if (params->precise && prctl(PR_SET_TIMERSLACK, 1UL) < 0)
		worker_fail(worker, "prctl(TIMERSLACK)");
	do {
		worker_spin(worker, params->burst_ns);
		worker_iteration(worker);
	} while (worker_rest(worker, worker_now_ns() + params->sleep_ns));
}
