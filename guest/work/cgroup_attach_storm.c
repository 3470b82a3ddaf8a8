/* SPDX-License-Identifier: GPL-2.0-only */
/* cgroup_attach_storm: makes children that are born in another cgroup and exit at once. With `reap` it waits
 * for each; without, the kernel reaps them, and no more than 64 are on their way at a time. A unit is a
 * child. Runs in worker processes. */
#include "guest/work/own_cgroup.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNDER_WAY_MAX 64

struct storm {
	_Atomic uint32_t ended; /* the children W: futex */
};

/* False: not now, there is a limit on processes or memory. */
static bool make_child(struct worker *worker, int fd, struct storm *storm, pid_t *ret_pid)
{
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)fd};
	*ret_pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (*ret_pid == 0) {
		worker_hand(worker->slot);
		atomic_fetch_add_explicit(&storm->ended, 1, memory_order_relaxed);
		slot_futex_wake(&storm->ended);
		_exit(0);
	}
	if (*ret_pid < 0 && errno != EAGAIN && errno != ENOMEM)
		worker_fail(worker, "clone into the cgroup");
	return *ret_pid > 0;
}

/* False: it is to stop. */
static bool reap(struct worker *worker, pid_t pid, uint64_t asked_ns)
{
	pid_t got;
	do
		got = waitpid(pid, NULL, 0);
	while (got < 0 && errno == EINTR && !worker_stopping(worker));
	if (got < 0) { /* the agent inherits the child */
		worker_blocked_until(worker, worker_now_ns());
		return false;
	}
	worker_received(worker, asked_ns);
	return true;
}

static bool wait_for_room(struct worker *worker, struct storm *storm, uint32_t made)
{
	uint32_t ended;
	while (made - (ended = atomic_load_explicit(&storm->ended, memory_order_acquire)) >= UNDER_WAY_MAX)
		if (!worker_wait_while(worker, &storm->ended, ended))
			return false;
	return true;
}

void worker_run_cgroup_attach_storm(struct worker *worker)
{
	const struct work_cgroup_attach_storm *params = &worker->params->cgroup_attach_storm;
	struct storm *storm = worker_map_for_now(worker, sizeof(*storm), true);
	int fd = params->has_destination ? worker->spec->other_fd : own_cgroup_open(worker, 0);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	uint32_t made = 0;
	bool going = true;
	if (!params->reap)
		sigaction(SIGCHLD, &ignore, NULL);
	do {
		pid_t pid;
		worker_burst(worker, 1);
		uint64_t asked_ns = worker_now_ns();
		if (!make_child(worker, fd, storm, &pid)) {
			sched_yield();
			continue;
		}
		made++;
		going = params->reap ? reap(worker, pid, asked_ns) : wait_for_room(worker, storm, made);
		worker_iteration(worker);
	} while (going && !worker_stopping(worker));
	if (!params->has_destination)
		own_cgroup_remove(worker, 0);
}
