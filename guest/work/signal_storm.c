/* SPDX-License-Identifier: GPL-2.0-only */
/* signal_storm: each of a pair sends the other signals between its bursts; neither ever waits. Signals go to
 * a pidfd: a partner that is gone cannot be mistaken for a process that has its number now. Runs in worker
 * processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

void worker_run_signal_storm(struct worker *worker)
{
	const struct work_signal_storm *params = &worker->params->signal_storm;
	pid_t other = worker->slots[!worker->member].tid;
	int pidfd = (int)syscall(SYS_pidfd_open, other, 0);
	if (pidfd < 0 && errno != ESRCH)
		worker_fail(worker, "pidfd_open");
	bool there = pidfd >= 0;
	do {
		for (uint64_t i = 0; there && i < params->signals; i++) {
			there = syscall(SYS_pidfd_send_signal, pidfd, WORK_PEER_SIGNAL, NULL, 0) == 0;
			if (!there && errno != ESRCH)
				worker_fail(worker, "pidfd_send_signal");
		}
		worker_units(worker, params->spin);
		worker_iteration(worker);
	} while (!worker_stopping(worker) && there);
	worker_await_stop(worker);
}
