/* SPDX-License-Identifier: GPL-2.0-only */
/* thundering_herd: broadcasts, as fast as the herd comes to run, with a pause after every `batches` of them.
 * Runs in worker processes. */
#include "guest/work/fan_out.h"

void worker_run_thundering_herd(struct worker *worker)
{
	const struct work_thundering_herd *params = &worker->params->thundering_herd;
	if (worker->member == 0) {
		for (uint64_t batch = 1;; batch++) {
			worker_burst(worker, WORKER_BURST_UNITS);
			worker_iteration(worker);
			if (worker_stopping(worker) || !fan_out_wake(worker))
				return;
			if (batch % params->batches == 0 &&
				!worker_rest(worker, worker_now_ns() + params->pause_ns))
				return;
		}
	}
	for (uint32_t round = 0; fan_out_wait(worker, &round);) {
		worker_burst(worker, WORKER_BURST_UNITS);
		worker_iteration(worker);
		fan_out_done(worker);
	}
}
