/* SPDX-License-Identifier: GPL-2.0-only */
/* numa_migration_churn: spins on the CPUs of one node, then on those of the next one. Its CPUs are those
 * allowed at the start. Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Those of its CPUs that are on the next node which has some, after `node`. */
static struct cpuset next_cpus(const struct worker *worker, unsigned *node)
{
	const struct cpu_layout *layout = worker->spec->layout;
	struct cpuset cpus = CPUSET_EMPTY;
	for (unsigned n = 0; n < layout->n_nodes && cpuset_is_empty(&cpus); n++) {
		*node = (*node + 1) % layout->n_nodes;
		cpus = cpu_layout_node(layout, *node);
		cpus = cpuset_and(&cpus, &worker->allowed);
	}
	return cpus;
}

void worker_run_numa_migration_churn(struct worker *worker)
{
	const struct work_numa_migration_churn *params = &worker->params->numa_migration_churn;
	unsigned node = 0, first;
	if (!worker->spec->layout) {
		errno = ENODEV;
		worker_fail(worker, "finding nodes");
	}
	(void)next_cpus(worker, &node);
	first = node;
	(void)next_cpus(worker, &node);
	if (node == first) {
		errno = ENODEV;
		worker_fail(worker, "finding a second node");
	}
	do {
		struct cpuset cpus = next_cpus(worker, &node);
		/* EINVAL: none of these is in the cpuset any more; it stays where it is. */
		if (syscall(SYS_sched_setaffinity, 0, sizeof(cpus), &cpus) < 0 && errno != EINVAL)
			worker_fail(worker, "sched_setaffinity");
		worker_spin(worker, params->interval_ns);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
