/* SPDX-License-Identifier: GPL-2.0-only */
/* Synthetic workers, the agent's side: starting, stopping, reading what they did.
 *
 * A worker is a process of its own that shares one struct work_slot with the agent. It is born in its cgroup,
 * sets itself up (process group, parent-death signal, name, affinity, policy, nice, credentials), says so and
 * waits; only then, when all of its batch are ready, are they released. Plain C; calls on one batch or worker
 * come from one thread at a time. The calling thread of work_start() must live as long as the agent. */
#ifndef GUEST_WORK_WORK_H
#define GUEST_WORK_WORK_H

#include "common/cpuset.h"
#include "common/err.h"
#include "guest/child/child.h"
#include "proto/work.h"

#include <stdbool.h>

struct work_sched {
	enum work_policy policy;
	uint32_t priority;                           /* fifo, round_robin: 1..98 */
	uint64_t runtime_ns, deadline_ns, period_ns; /* deadline */
};

struct work_spec {
	struct work_params params;
	struct work_sched sched;
	bool has_nice, has_uid, has_gid;
	int nice;
	uint32_t uid, gid;
	char comm[16];                 /* "" = the type's name */
	uint64_t seed;                 /* of the workers' random choices */
	const struct cpuset *affinity; /* one for each worker, or NULL: inherited */
};

/* What all workers share with the agent: current phase and the CPU sets in force. One per process, made by
 * work_init() before any worker. */
#define WORK_SETS 2304 /* cgroups that can have a set in force at a time */
int work_init(struct err *err) must_check;
void work_set_phase(uint32_t phase);
uint32_t work_phase(void);

/* The set in force in a cgroup, as workers check it at checkpoints. A change is bracketed: between begin and
 * end workers do not judge, because the kernel is moving them (cpuset writes return when that is done).
 * Number 0 is never in force (runner cgroup). */
int work_set_alloc(unsigned *ret_set, struct err *err) must_check;
void work_set_free(unsigned set);
void work_set_begin(unsigned set);
void work_set_end(unsigned set, const struct cpuset *cpus); /* NULL: none in force */

struct work_batch; /* shared memory of workers started together */

struct work {
	struct child child;
	struct work_batch *batch;
	struct work_slot *slot;
	enum work_type type;
	char comm[16];
	uint64_t start_ns;
	bool started;
};

/* (waits) Starts count workers in the caller's zeroed storage. cgroup_fd -1: where the caller is; set:
 * number of work_set_alloc(), 0 none. On failure every process is gone again and the sentence names worker,
 * call and errno. ERR_TIMEOUT, ERR_CANCELLED. */
int work_start(struct work **works, unsigned count, const struct work_spec *spec, int cgroup_fd, unsigned set,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err) must_check;
/* Another set is in force for it from now on (it was moved). */
void work_use_set(struct work *work, unsigned set);
/* Asks it to stop; returns at once. */
void work_ask_stop(struct work *work);
/* Iterations so far. */
uint64_t work_iterations(const struct work *work);

#define WORK_TRESPASSES 16
struct work_trespass {
	uint32_t cpu, phase;
	uint64_t at_ns;
	struct cpuset allowed;
};
struct work_part {
	uint32_t phase;
	uint64_t units, iterations, cpu_ns, wall_ns, max_gap_ns, migrations;
};
struct work_report {
	pid_t pid;
	char comm[16], exit[40];
	enum work_type type;
	uint64_t units, iterations, cpu_ns, wall_ns, migrations;
	uint64_t max_gap_ns, max_gap_at_ns;
	uint32_t max_gap_cpu;
	uint64_t wakeups, wake_max_ns, wake_sum_ns;
	struct cpuset cpus_used;
	bool missing; /* it never reported: numbers are those last published */
	unsigned n_trespasses, n_parts;
	struct work_trespass trespasses[WORK_TRESPASSES];
	struct work_part *parts; /* heap */
};
/* Of an exited worker. Out of memory leaves the parts out. */
void work_report(struct work *work, struct work_report *ret_report);
void work_report_deinit(struct work_report *report);
/* Gives an exited worker's shared memory back. */
void work_release(struct work *work);

#endif
