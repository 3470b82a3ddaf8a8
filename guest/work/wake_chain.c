/* SPDX-License-Identifier: GPL-2.0-only */
/* wake_chain: one wake-up travels round a ring of workers, each of which works for a while before it passes
 * it on. By pipes, or by futexes. Runs in worker processes. */
#include "guest/work/worker.h"

struct place {
	_Alignas(64) _Atomic uint32_t
		has; /* 1: the wake-up is with this member, who W 0; the one before W 1 */
};
_Static_assert(WORK_CHAIN_MAX * sizeof(struct place) <= WORK_GROUP_BYTES, "the group's memory");

static void run_pipes(struct worker *worker)
{
	bool has = worker->member == 0;
	while (has || worker_pipe_read(worker)) {
		has = false;
		worker_spin(worker, worker->params->wake_chain.work_ns);
		worker_iteration(worker);
		if (worker_stopping(worker) || !worker_pipe_write(worker))
			break;
	}
	worker_await_stop(worker);
}

static void run_futexes(struct worker *worker)
{
	struct place *places = worker->group;
	unsigned me = worker->member, next = (me + 1) % worker->members;
	bool has = me == 0;
	while (has || worker_wait_while(worker, &places[me].has, 0)) {
		has = false;
		atomic_store_explicit(&places[me].has, 0, memory_order_relaxed);
		worker_spin(worker, worker->params->wake_chain.work_ns);
		worker_iteration(worker);
		if (worker_stopping(worker))
			return;
		worker_post(&worker->slots[next], &places[next].has, 1);
	}
}

void worker_run_wake_chain(struct worker *worker)
{
	if (worker->params->wake_chain.futex)
		run_futexes(worker);
	else
		run_pipes(worker);
}
