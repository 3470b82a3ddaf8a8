/* SPDX-License-Identifier: GPL-2.0-only */
/* Synthetic workers, the agent's side: starting, stopping, reading what they did.
 *
 * A worker is a process of its own that shares one struct work_slot with the agent. It is born in its cgroup,
 * sets itself up (process group, parent-death signal, name, affinity, policy, nice, credentials), says so and
 * waits; only then, when all of its batch are ready, are they released. Plain C; calls on one batch or worker
 * come from one thread at a time. The calling thread of work_start() must live as long as the agent. */
#ifndef GUEST_WORK_WORK_H
#define GUEST_WORK_WORK_H

#include "common/cpu_layout.h"
#include "common/err.h"
#include "guest/child/child.h"
#include "guest/work/dist.h"
#include "proto/work.h"

#include <stdbool.h>

struct work_sched {
	enum work_policy policy;
	uint32_t priority;                           /* fifo, round_robin: 1..98 */
	uint64_t runtime_ns, deadline_ns, period_ns; /* deadline */
};

enum work_mem_kind {
	WORK_MEM_NONE, /* nothing is done */
	WORK_MEM_DEFAULT,
	WORK_MEM_BIND,
	WORK_MEM_PREFERRED,
	WORK_MEM_PREFERRED_MANY,
	WORK_MEM_INTERLEAVE,
	WORK_MEM_WEIGHTED_INTERLEAVE,
	WORK_MEM_LOCAL,
};
struct work_mem {
	enum work_mem_kind kind;
	bool static_nodes, relative_nodes, numa_balancing;
	struct cpuset nodes; /* of those kinds that have some */
};

struct work_spec {
	struct work_params params;
	struct work_sched sched;
	struct work_mem mem;
	char thread_group[16]; /* its workers are threads of one process of this name; "" = processes */
	int other_fd;          /* destination of cgroup_attach_storm, borrowed; -1: none */
	/* custom: path and what execve() wants, borrowed */
	const char *program;
	char *const *argv, *const *envp;
	const struct cpu_layout *layout; /* borrowed; NULL: one node */
	bool has_nice, has_uid, has_gid;
	int nice;
	uint32_t uid, gid;
	char comm[16];      /* "" = the type's name */
	uint64_t uptime_ns; /* they wait for work_begin(), for the controller to make them older; 0: they do
			       not */
	uint64_t seed;      /* of the workers' random choices */
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

struct work_process;  /* of a thread group */
struct custom_worker; /* what the agent shares with a program of the user's */

struct work {
	struct child child;           /* its own process; unused in a thread group */
	struct work_process *process; /* of its thread group, or NULL */
	struct work_batch *batch;
	struct work_slot *slot;
	enum work_type type;
	struct custom_worker *custom; /* of a custom worker: the page it shares with its program */
	char comm[16], thread_group[16];
	uint64_t start_ns;
	bool started;
	bool held; /* until work_begin() */
};

/* Workers of one description. */
struct work_order {
	const struct work_spec *spec;
	struct work **works; /* the caller's zeroed storage, [count] */
	unsigned count;
};
/* (waits) Starts them. cgroup_fd -1: where the caller is; set: number of work_set_alloc(), 0 none. Several
 * orders are the threads of one process, and name the same thread group; a single one may name one, too. On
 * failure every process is gone again and the sentence names worker, call and errno. ERR_TIMEOUT,
 * ERR_CANCELLED. */
int work_start_all(const struct work_order *orders, unsigned n_orders, int cgroup_fd, unsigned set,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err) must_check;
/* (waits) One order. */
int work_start(struct work **works, unsigned count, const struct work_spec *spec, int cgroup_fd, unsigned set,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err) must_check;
/* Can this type run here at all? ERR_UNSUPPORTED with the reason: the CPU, the kernel, the machine (layout,
 * if not NULL). Any thread. */
int work_check_machine(
	const struct work_params *params, const struct cpu_layout *layout, struct err *err) must_check;
/* Its process: shared with others in a thread group. */
struct child *work_child(const struct work *work);
/* Thread ID, the process's where it is one. */
pid_t work_tid(const struct work *work);
/* To it alone. False when it has ended already. */
bool work_kill(struct work *work, int signum);
/* It does not die although it was killed: what belongs to it is given up so that the rest can go on. Then as
 * one that has exited. */
void work_abandon(struct work *work);
/* Another set is in force for it from now on (it was moved). */
void work_use_set(struct work *work, unsigned set);
/* Asks it to stop; returns at once. */
void work_ask_stop(struct work *work);
/* Lets one that is held begin; one that has begun goes on. */
void work_begin(struct work *work);
/* Iterations so far. */
uint64_t work_iterations(const struct work *work);

/* What it has published, at most a millisecond of its own run time ago. Disturbs nobody, any thread. */
struct work_sample {
	uint64_t units, iterations, cpu_ns, migrations;
	uint32_t cpu, phase;
};
void work_sample(const struct work *work, struct work_sample *ret_sample);

#define WORK_TRESPASSES 16
#define WORK_MIGRATIONS 64
#define WORK_NODES 64
struct work_trespass {
	uint32_t cpu, phase;
	uint64_t at_ns;
	struct cpuset allowed;
};
struct work_migration {
	uint32_t from, to, phase;
	uint64_t at_ns;
};
struct work_gap {
	uint64_t ns, at_ns; /* how long, and CLOCK_MONOTONIC when it ended */
	uint64_t stolen_ns; /* of it by the host */
	uint32_t cpu;       /* on which it ended */
	bool stolen_known;
};
struct work_switches {
	uint64_t voluntary, involuntary;
};
struct work_schedstat {
	uint64_t cpu_ns, run_delay_ns, timeslices;
	bool known;
};
struct work_part {
	uint32_t phase;
	uint64_t units, iterations, cpu_ns, wall_ns, migrations;
	struct work_gap gap;
	struct work_switches switches;
	struct work_schedstat schedstat;
	struct cpuset cpus_used;
	struct dist_cut dists[DISTS]; /* buckets in the report's */
};
struct work_report {
	pid_t pid, tid;
	char comm[16], thread_group[16], exit[40];
	enum work_type type;
	uint64_t units, iterations, cpu_ns, wall_ns, migrations;
	struct work_gap gap;
	uint64_t wakeups, wake_max_ns, wake_sum_ns;
	struct work_switches switches;
	struct work_schedstat schedstat;
	struct cpuset cpus_used;
	bool missing; /* it never reported: numbers are those last published */
	bool has_pages;
	uint64_t numa_pages[WORK_NODES];
	unsigned n_trespasses, n_migrated, n_parts;
	struct work_trespass trespasses[WORK_TRESPASSES];
	struct work_migration migrated[WORK_MIGRATIONS];
	struct dist_cut dists[DISTS]; /* of its whole life */
	/* heap */
	struct work_part *parts;
	struct dist_bucket *buckets;       /* of all parts and of the whole */
	uint64_t (*samples)[DIST_SAMPLES]; /* [DISTS]; NULL: nothing was measured */
};
/* Of an exited worker. Out of memory leaves the parts out. */
void work_report(struct work *work, struct work_report *ret_report);
void work_report_deinit(struct work_report *report);
/* Gives an exited worker's shared memory back. */
void work_release(struct work *work);

#endif
