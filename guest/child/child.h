/* SPDX-License-Identifier: GPL-2.0-only */
/* The registry of the processes this agent made: one reaper for all of them, exit statuses delivered by
 * notification, no signal ever to a recycled PID. As PID 1 and subreaper the agent is also handed everybody
 * else's orphans: those are reaped and forgotten. */
#ifndef GUEST_CHILD_CHILD_H
#define GUEST_CHILD_CHILD_H

#include "common/err.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* Giving up on a wait. Set by any thread, read by the waiter. */
struct cancel {
	atomic_bool asked;
	int fd; /* eventfd, readable once asked; -1 = none */
};
int cancel_init(struct cancel *cancel, struct err *err) must_check;
void cancel_deinit(struct cancel *cancel);
/* Makes present and later waits with it return; sticky until cancel_reset(). */
void cancel_ask(struct cancel *cancel);
void cancel_reset(struct cancel *cancel);

struct child {
	struct child *next; /* registry's */
	pid_t pid;          /* written once, when it has been made */
	bool moved;         /* the same: see child_clone() */
	/* The following are the registry lock's. */
	bool exited;
	int status;                           /* of wait(2), once exited */
	uint64_t end_ns;                      /* CLOCK_MONOTONIC when it was reaped */
	void (*on_exit)(struct child *child); /* under the registry's lock, any thread; may be NULL */
};

/* As fork(): 0 in the child, the PID in the parent, negative errno. cgroup_fd: the child's first instruction
 * already runs in that cgroup (CLONE_INTO_CGROUP; on kernels without it, it is held until it has been moved
 * there, and child->moved is set); -1 = where the caller is. The child has one thread and a
 * copy of everything: it may only make async-signal-safe calls. Its parent-death signal, if it sets one,
 * follows the calling thread, so that thread must outlive it. */
pid_t child_clone(struct child *child, int cgroup_fd, struct err *err) must_check;
/* The same by the C library's fork(), for a child that starts threads: there locks are free and thread
 * creation works. It is born where the caller is. */
pid_t child_fork(struct child *child, struct err *err) must_check;
/* Takes an exited child out of the registry; the storage is the caller's again. */
void child_forget(struct child *child);

/* Gives a child up that does not die: the storage is the caller's again, and whenever it does exit it is
 * reaped as a stranger. */
void child_abandon(struct child *child);
/* "state D (disk sleep), in io_schedule": what keeps it, as far as /proc says. Returns buffer. */
const char *child_state_text(pid_t pid, char *buffer, size_t size);

/* on_exit is not called any more once this has returned. */
void child_silence(struct child *child);

/* False when it has been reaped already. Any thread. */
bool child_kill(struct child *child, int signum);
/* One of its threads. */
bool child_kill_thread(struct child *child, pid_t tid, int signum);
bool child_exited(const struct child *child);

enum child_wait { CHILD_EXITED = 0, CHILD_TIMEOUT = 1, CHILD_CANCELLED = 2 };
/* (waits) cancel may be NULL. */
enum child_wait child_wait(struct child *child, uint64_t deadline_ns, struct cancel *cancel);

/* Reaps everything that has exited; to be called when SIGCHLD came. One thread only. */
void child_reap(void);

/* "exited N" or "signal N (NAME)". Returns buffer. */
const char *child_status_text(int status, char *buffer, size_t size);

#endif
