/* SPDX-License-Identifier: GPL-2.0-only */
/* preempt_storm: member 0 (FIFO 1, see roles.c) wakes every `interval` and takes a CPU from one of the
 * others, who never stop. Runs in worker processes. */
#include "guest/work/worker.h"

void worker_run_preempt_storm(struct worker *worker)
{
	const struct work_preempt_storm *params = &worker->params->preempt_storm;
	if (worker->member) {
		worker_run_spin_wait(worker);
		return;
	}
	uint64_t due_ns = worker_now_ns();
	do {
		worker_units(worker, params->spin);
		worker_iteration(worker);
		uint64_t now_ns = worker_now_ns();
		due_ns = due_ns + params->interval_ns > now_ns ? due_ns + params->interval_ns
							       : now_ns + params->interval_ns;
	} while (worker_rest(worker, due_ns));
}
