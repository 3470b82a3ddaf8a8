/* SPDX-License-Identifier: GPL-2.0-only */
/* page_fault_churn: maps a region, touches pages of it, drops it. Small pages, or one fault would bring many.
 * A unit is one touch. Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

void worker_run_page_fault_churn(struct worker *worker)
{
	const struct work_page_fault_churn *params = &worker->params->page_fault_churn;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t pages = (params->region_bytes + page_bytes - 1) / page_bytes;
	/* Spread over the region where there are more pages than touches. */
	uint64_t step = pages > params->touches ? pages / params->touches : 1;
	do {
		volatile uint8_t *region = worker_map_for_now(worker, params->region_bytes, false);
		/* EINVAL: a kernel without huge pages. */
		if (madvise((void *)region, params->region_bytes, MADV_NOHUGEPAGE) < 0 && errno != EINVAL)
			worker_fail(worker, "madvise");
		uint32_t units = 0;
		for (uint64_t i = 0; i < params->touches && !worker_stopping(worker); i++) {
			region[i * step % pages * page_bytes] = 1;
			if (++units == WORKER_BURST_UNITS) {
				worker_did(worker, units);
				units = 0;
			}
		}
		if (munmap((void *)region, params->region_bytes) < 0)
			worker_fail(worker, "munmap");
		worker_did(worker, units);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
