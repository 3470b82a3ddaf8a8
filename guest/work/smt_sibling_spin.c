/* SPDX-License-Identifier: GPL-2.0-only */
/* smt_sibling_spin: two workers spin on two threads of one core; the cost of a round says what they take from
 * each other. The scene gives the pair its core, each takes its thread. Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUND_BURSTS 64

void worker_run_smt_sibling_spin(struct worker *worker)
{
	int cpu = cpuset_nth(&worker->allowed, worker->member);
	if (cpu < 0) {
		errno = ENODEV;
		worker_fail(worker, "finding a sibling");
	}
	struct cpuset one = CPUSET_EMPTY;
	cpuset_add(&one, (unsigned)cpu);
	/* EINVAL: the cpuset has changed since, and the kernel's choice is as good as any. */
	if (syscall(SYS_sched_setaffinity, 0, sizeof(one), &one) < 0 && errno != EINVAL)
		worker_fail(worker, "sched_setaffinity");
	do {
		uint64_t begin_ns = worker_cpu_ns();
		unsigned bursts = 0;
		while (bursts < ROUND_BURSTS && !(bursts && worker_stopping(worker))) {
			worker_burst(worker, WORKER_BURST_UNITS);
			bursts++;
		}
		if (bursts == ROUND_BURSTS)
			worker_cost(worker, worker_cpu_ns() - begin_ns);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
