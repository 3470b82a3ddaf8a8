/* SPDX-License-Identifier: GPL-2.0-only */
/* timer_latency: sleeps to absolute times that are `interval` apart and measures how late it comes to run.
 * Times that have passed already are left out: they would count one delay many times. Runs in worker
 * processes. */
#include "guest/work/worker.h"

#include <time.h>

void worker_run_timer_latency(struct worker *worker)
{
	uint64_t interval_ns = worker->params->timer_latency.interval_ns;
	uint64_t due_ns = worker_now_ns();
	do {
		worker_burst(worker, 1);
		worker_iteration(worker);
		uint64_t now_ns = worker_now_ns();
		due_ns += interval_ns * (now_ns < due_ns ? 1 : (now_ns - due_ns) / interval_ns + 1);
		struct timespec until = {(time_t)(due_ns / 1000000000), (long)(due_ns % 1000000000)};
		while (!worker_stopping(worker) &&
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
			;
		now_ns = worker_now_ns();
		if (now_ns < due_ns) { /* asked to stop */
			worker_blocked_until(worker, now_ns);
			return;
		}
		worker_blocked_until(worker, due_ns);
		worker_timed(worker, due_ns, now_ns);
	} while (!worker_stopping(worker));
}
