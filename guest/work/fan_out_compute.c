/* SPDX-License-Identifier: GPL-2.0-only */
/* fan_out_compute: as futex_fan_out, but whoever is woken sleeps for a while, as if it waited for a device,
 * and then multiplies matrices that fill its footprint. A unit is one row of a product. Runs in worker
 * processes.
 */
#include "guest/work/fan_out.h"
#include "guest/work/matrix.h"

static void multiply(struct worker *worker, uint64_t *matrices, unsigned n)
{
	for (unsigned i = 0; i < n && !worker_stopping(worker); i++) {
		matrix_row(matrices, n, i);
		worker_did(worker, 1);
	}
	matrix_done(matrices, n);
}

void worker_run_fan_out_compute(struct worker *worker)
{
	const struct work_fan_out_compute *params = &worker->params->fan_out_compute;
	if (worker->member == 0) {
		do {
			worker_burst(worker, WORKER_BURST_UNITS);
			worker_iteration(worker);
		} while (!worker_stopping(worker) && fan_out_wake(worker));
		return;
	}
	unsigned n = matrix_rows(params->footprint_bytes);
	uint64_t *matrices = worker_map(worker, params->footprint_bytes);
	matrix_fill(matrices, n);
	worker_checkpoint(worker);
	for (uint32_t round = 0; fan_out_wait(worker, &round);) {
		if (params->sleep_ns && !worker_rest(worker, worker_now_ns() + params->sleep_ns))
			return;
		for (uint64_t i = 0; i < params->operations && !worker_stopping(worker); i++)
			multiply(worker, matrices, n);
		worker_iteration(worker);
		fan_out_done(worker);
	}
}
