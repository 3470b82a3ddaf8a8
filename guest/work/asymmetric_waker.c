/* SPDX-License-Identifier: GPL-2.0-only */
/* asymmetric_waker: as futex_ping_pong, between two scheduling classes (see roles.c). Runs in worker
 * processes. */
#include "guest/work/worker.h"

void worker_run_asymmetric_waker(struct worker *worker)
{
	worker_take_turns(worker, WORKER_BURST_UNITS);
}
