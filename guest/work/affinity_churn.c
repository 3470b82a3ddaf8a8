/* SPDX-License-Identifier: GPL-2.0-only */
/* affinity_churn and cross_affinity_churn: a worker pins itself, or the next of its group, to one CPU after
 * another. CPUs are drawn from those allowed at the start, by the scenario's seed. Runs in worker processes.
 */
#include "guest/work/affinity.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pool {
	struct cpuset cpus;
	unsigned count;
	uint64_t draws;
};

/* False: there is no such process any more. */
static bool pin(struct worker *worker, struct pool *pool, pid_t pid)
{
	uint64_t draw = affinity_draw(worker->seed, pool->draws++);
	struct cpuset one = {0};
	unsigned cpu = cpuset_nth(&pool->cpus, (unsigned)(draw % pool->count));
	one.bits[cpu / 64] = UINT64_C(1) << (cpu % 64);
	if (syscall(SYS_sched_setaffinity, pid, sizeof(one), &one) == 0)
		return true;
	if (errno == ESRCH)
		return false;
	if (errno != EINVAL)
		worker_fail(worker, "sched_setaffinity");
	/* The cpuset has changed and that CPU is not in it any more: from now on those that are. */
	memset(&one, 0xff, sizeof(one));
	if (syscall(SYS_sched_setaffinity, 0, sizeof(one), &one) < 0 ||
		syscall(SYS_sched_getaffinity, 0, sizeof(one), &one) < 0)
		worker_fail(worker, "sched_setaffinity");
	/* A single one may be what a sibling has pinned this worker to in between. */
	if (cpuset_count(&one) > 1) {
		pool->cpus = one;
		pool->count = cpuset_count(&one);
	}
	return true;
}

void worker_run_affinity_churn(struct worker *worker)
{
	struct pool pool = {.cpus = worker->allowed, .count = cpuset_count(&worker->allowed)};
	do {
		(void)pin(worker, &pool, 0);
		worker_units(worker, worker->params->affinity_churn.spin);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}

void worker_run_cross_affinity_churn(struct worker *worker)
{
	struct pool pool = {.cpus = worker->allowed, .count = cpuset_count(&worker->allowed)};
	pid_t next = worker->slots[(worker->member + 1) % worker->members].tid;
	int pidfd = (int)syscall(SYS_pidfd_open, next, 0);
	if (pidfd < 0 && errno != ESRCH)
		worker_fail(worker, "pidfd_open");
	bool there = pidfd >= 0;
	do {
		/* There is no sched_setaffinity() by pidfd: looking right before is as near as it gets to
		 * never pinning a stranger. */
		there = there && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 &&
			pin(worker, &pool, next);
		worker_units(worker, worker->params->cross_affinity_churn.spin);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
