/* SPDX-License-Identifier: GPL-2.0-only */
/* fork_exit: makes a child that exits at once, and waits for it. The wake-up is due when the child is about
 * to exit, so its latency includes the kernel's part of the exit. Runs in worker processes. */
#include "guest/work/worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void worker_run_fork_exit(struct worker *worker)
{
	do {
		worker_burst(worker, 1);
		uint64_t asked_ns = worker_now_ns();
		/* The bare call: glibc's fork() runs handlers of a process that had many threads. */
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
		if (pid == 0) {
			worker_hand(worker->slot);
			_exit(0);
		}
		if (pid < 0) {
			/* pids.max, or memory, for now. */
			if (errno != EAGAIN && errno != ENOMEM)
				worker_fail(worker, "clone");
			sched_yield();
			continue;
		}
		pid_t got;
		do
			got = waitpid(pid, NULL, 0);
		while (got < 0 && errno == EINTR && !worker_stopping(worker));
		if (got < 0) { /* asked to stop: the agent inherits the child */
			worker_blocked_until(worker, worker_now_ns());
			return;
		}
		worker_received(worker, asked_ns);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
