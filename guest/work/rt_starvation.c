/* SPDX-License-Identifier: GPL-2.0-only */
/* rt_starvation: the first ones spin at FIFO priority (see roles.c), the others spin too and get what is
 * left. Runs in worker processes. */
#include "guest/work/worker.h"

void worker_run_rt_starvation(struct worker *worker)
{
	worker_run_spin_wait(worker);
}
