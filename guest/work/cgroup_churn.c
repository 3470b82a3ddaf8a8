/* SPDX-License-Identifier: GPL-2.0-only */
/* cgroup_churn: makes groups of its own below its cgroup and moves itself from one to the next. They have no
 * controllers, so what its cgroup may use stays what it may use. At the end it goes back and removes them;
 * what a killed one leaves goes with its cgroup. Runs in worker processes. */
#include "guest/work/own_cgroup.h"

#include <errno.h>
#include <unistd.h>

void worker_run_cgroup_churn(struct worker *worker)
{
	const struct work_cgroup_churn *params = &worker->params->cgroup_churn;
	unsigned count = (unsigned)params->groups;
	int procs[WORK_CHURN_GROUPS_MAX], home = own_cgroup_procs(worker, worker->cgroup_fd);
	for (unsigned g = 0; g < count; g++) {
		int fd = own_cgroup_open(worker, g);
		procs[g] = own_cgroup_procs(worker, fd);
		close(fd);
	}
	unsigned at = 0;
	do {
		uint64_t asked_ns = worker_now_ns();
		own_cgroup_enter(worker, procs[at]);
		worker_served(worker, worker_now_ns() - asked_ns);
		worker_spin(worker, params->interval_ns);
		worker_iteration(worker);
		at = (at + 1) % count;
	} while (!worker_stopping(worker));
	own_cgroup_enter(worker, home);
	for (unsigned g = 0; g < count; g++)
		own_cgroup_remove(worker, g);
}
