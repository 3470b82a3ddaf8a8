/* SPDX-License-Identifier: GPL-2.0-only */
/* futex_ping_pong: two workers hand one turn to and fro through a futex, with a burst between. Runs in worker
 * processes. */
#include "guest/work/worker.h"

struct table {
	_Atomic uint32_t turn; /* whoever has the turn W: the member whose turn it is */
};

void worker_take_turns(struct worker *worker, uint64_t units)
{
	struct table *table = worker->group;
	uint32_t other = !worker->member;
	while (worker_wait_while(worker, &table->turn, other)) {
		worker_units(worker, units);
		worker_iteration(worker);
		if (worker_stopping(worker))
			return;
		worker_post(&worker->slots[other], &table->turn, other);
	}
}

void worker_run_futex_ping_pong(struct worker *worker)
{
	worker_take_turns(worker, worker->params->futex_ping_pong.spin);
}
