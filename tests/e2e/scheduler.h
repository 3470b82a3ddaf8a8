/* SPDX-License-Identifier: GPL-2.0-only */
/* What e2e-scheduler and its BPF half (scheduler.bpf.c) share: elements of its maps, with types of the C
 * language alone, as a BPF program has no other headers. */
#ifndef TESTS_E2E_SCHEDULER_H
#define TESTS_E2E_SCHEDULER_H

/* As sysfs tells it. */
#define SCHEDULER_NAME "e2e_scheduler"

/* Entries of the map e2e_verdicts. */
#define SCHEDULER_VERDICTS_MAX 64

/* One element of e2e_verdicts: what the i-th call of cgroup_prep_move answers. */
struct scheduler_verdict {
	int error; /* 0 or -errno */
	int last;  /* of every call after this one, too */
};

/* The only element of e2e_counts: calls of the scheduler's operations. */
struct scheduler_counts {
	unsigned long long init_tasks, forks; /* forks: those of tasks that were being made */
	unsigned long long prep_moves, vetoes, moves, cancels;
	unsigned long long lost; /* tasks that e2e_tasks had no room for */
};

/* An element of e2e_tasks, by PID as the first namespace has it; it stays when the task has gone. */
struct scheduler_task {
	unsigned long long cgroup; /* ID (inode number) of the one that it was in when it was first seen */
	unsigned forked;           /* 1: it was seen while it was made, 0: it was there before */
	unsigned prep_moves, moves;
};

#endif
