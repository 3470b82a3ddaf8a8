/* SPDX-License-Identifier: GPL-2.0-only */
/* policy_churn: walks its scheduling policy, with bursts at each: normal, batch, idle, FIFO 1, round robin 1,
 * and ext where the kernel has it. Without the right to it ends, and its report says so. Runs in worker
 * processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_SCHED_EXT 7 /* include/uapi/linux/sched.h */

void worker_run_policy_churn(struct worker *worker)
{
	static const struct {
		int policy, priority;
	} walk[] = {{SCHED_OTHER, 0}, {SCHED_BATCH, 0}, {SCHED_IDLE, 0}, {SCHED_FIFO, 1}, {SCHED_RR, 1},
		{KERNEL_SCHED_EXT, 0}};
	unsigned at = 0, n = ARRAY_SIZE(walk);
	do {
		struct sched_param param = {.sched_priority = walk[at].priority};
		if (syscall(SYS_sched_setscheduler, 0, walk[at].policy, &param) < 0) {
			if (errno != EINVAL || walk[at].policy != KERNEL_SCHED_EXT)
				worker_fail(worker, "sched_setscheduler");
			n--;
			at = 0;
			continue;
		}
		worker_units(worker, worker->params->policy_churn.spin);
		worker_iteration(worker);
		at = (at + 1) % n;
	} while (!worker_stopping(worker));
}
