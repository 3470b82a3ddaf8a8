/* SPDX-License-Identifier: GPL-2.0-only */
/* cache_pressure, cache_yield, cache_pipe: strided read-modify-write over a buffer of its own; a unit is one
 * access, a round one pass. They differ in what comes after a pass. Runs in worker processes. */
#include "guest/work/worker.h"

#include <sched.h>

static void pass(struct worker *worker, volatile uint8_t *buffer, uint64_t bytes, uint64_t stride)
{
	uint32_t units = 0;
	for (uint64_t at = 0; at < bytes; at += stride) {
		buffer[at]++;
		if (++units < WORKER_BURST_UNITS)
			continue;
		worker_did(worker, units);
		units = 0;
		if (worker_stopping(worker))
			return;
	}
	worker_did(worker, units);
}

void worker_run_cache_pressure(struct worker *worker)
{
	const struct work_cache_pressure *params = &worker->params->cache_pressure;
	uint8_t *buffer = worker_map(worker, params->size_bytes);
	do {
		pass(worker, buffer, params->size_bytes, params->stride_bytes);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}

void worker_run_cache_yield(struct worker *worker)
{
	const struct work_cache_yield *params = &worker->params->cache_yield;
	uint8_t *buffer = worker_map(worker, params->size_bytes);
	do {
		pass(worker, buffer, params->size_bytes, params->stride_bytes);
		worker_iteration(worker);
		sched_yield();
	} while (!worker_stopping(worker));
}

void worker_run_cache_pipe(struct worker *worker)
{
	const struct work_cache_pipe *params = &worker->params->cache_pipe;
	uint8_t *buffer = worker_map(worker, params->size_bytes);
	bool has = worker->member == 0;
	while (has || worker_pipe_read(worker)) {
		has = false;
		pass(worker, buffer, params->size_bytes, params->stride_bytes);
		worker_iteration(worker);
		if (worker_stopping(worker) || !worker_pipe_write(worker))
			break;
	}
	worker_await_stop(worker);
}
