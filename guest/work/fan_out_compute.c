/* SPDX-License-Identifier: GPL-2.0-only */
/* fan_out_compute: as futex_fan_out, but whoever is woken sleeps for a while, as if it waited for a device,
 * and then multiplies matrices that fill its footprint. A unit is one row of a product. Runs in worker
 * processes.
 */
#include "guest/work/fan_out.h"

/* c = a * b, three n * n matrices one after the other. */
static void multiply(struct worker *worker, uint64_t *matrices, unsigned n)
{
	const uint64_t *a = matrices, *b = a + (uint64_t)n * n;
	uint64_t *c = matrices + 2 * (uint64_t)n * n;
	for (unsigned i = 0; i < n && !worker_stopping(worker); i++) {
		for (unsigned j = 0; j < n; j++) {
			uint64_t sum = 0;
			for (unsigned k = 0; k < n; k++)
				sum += a[i * n + k] * b[k * n + j];
			c[i * n + j] = sum;
		}
		worker_did(worker, 1);
	}
	/* The product is the next factor: or the compiler could do without it. */
	matrices[0] = c[0] | 1;
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
	unsigned n = 1;
	while (3 * sizeof(uint64_t) * (n + 1) * (n + 1) <= params->footprint_bytes)
		n++;
	uint64_t *matrices = worker_map(worker, params->footprint_bytes);
	for (uint64_t i = 0; i < 2 * (uint64_t)n * n; i++)
		matrices[i] = i | 1;
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
