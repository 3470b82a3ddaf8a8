/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that a worker and the agent share. Every field says who writes it: W the worker, A the agent. */
#ifndef GUEST_WORK_SLOT_H
#define GUEST_WORK_SLOT_H

#include "guest/work/dist.h"
#include "guest/work/work.h"

#include <signal.h>
#include <stdatomic.h>

/* Asks to stop, together with `stop`: ends whatever system call the worker is blocked in. */
#define WORK_STOP_SIGNAL SIGUSR2
/* Of one worker to another; does nothing but arrive. */
#define WORK_PEER_SIGNAL SIGUSR1
/* Memory that the members of a group share. Untouched pages cost nothing. */
#define WORK_GROUP_BYTES 65536

enum slot_state {
	SLOT_NEW,      /* not set up yet */
	SLOT_READY,    /* waits for the release */
	SLOT_FAILED,   /* a call failed, of the set-up or of the work: `call` and `call_errno` say which */
	SLOT_REPORTED, /* final numbers are in place */
};

/* One for each phase a scenario can have, and some. Untouched pages cost nothing. */
#define SLOT_PARTS 1040
#define SLOT_NODES 64

struct slot_numbers {
	uint64_t units, iterations, cpu_ns, wall_ns, migrations;
	struct work_gap gap;
	uint64_t wakeups, wake_max_ns, wake_sum_ns;
	struct work_switches switches; /* of the last phase's end */
	struct work_schedstat schedstat;
	uint32_t cpu, phase;
	uint64_t cpus_used[CPUSET_MAX / 64];
};

struct work_slot {
	/* Control words, each a futex or read at every checkpoint. */
	_Alignas(64) _Atomic uint32_t state; /* W: enum slot_state; futex of who waits for a thread's end */
	_Atomic uint32_t go;                 /* A: 1 releases, futex */
	_Atomic uint32_t stop;               /* A: 1 asks to stop, futex */
	_Atomic uint32_t set;                /* A: set in force */
	uint64_t released_ns;                /* A, before go: its time counts from here */
	pid_t tid;                           /* W, before SLOT_READY */
	char call[24];                       /* W, before SLOT_FAILED */
	int call_errno;                      /* W, before SLOT_FAILED */
	/* When another member of its group handed something to it last: for wake latencies. */
	_Alignas(64) _Atomic uint64_t handed_ns; /* the partner W */
	/* Published at most once a millisecond: version v is numbers[v % 2], so that the last one is whole
	 * even if the worker is stopped, or killed, while it writes the next. A reader that sees seq change
	 * reads again. */
	_Alignas(64) _Atomic uint32_t seq; /* W */
	_Atomic uint64_t iterations;       /* W: for samples */
	struct slot_numbers numbers[2];    /* W */
	uint64_t numa_pages[SLOT_NODES];   /* W, before SLOT_REPORTED */
	bool has_pages;                    /* W, before SLOT_REPORTED */
	/* W; entries below n_trespasses, n_migrated and n_parts are final. */
	_Atomic uint32_t n_trespasses, n_migrated, n_parts;
	struct work_trespass trespasses[WORK_TRESPASSES];
	struct work_migration migrated[WORK_MIGRATIONS];
	struct dist dists[DISTS]; /* W */
	struct dist_log log;      /* W: buckets of the parts' distributions */
	struct work_part parts[SLOT_PARTS];
};

struct shared_set {
	/* Odd while it changes. The worker reads it (acquire) before and after getcpu(); pairs with the
	 * release stores of work_set_begin/end. */
	_Alignas(64) _Atomic uint32_t generation;
	_Atomic uint32_t in_force;
	_Atomic uint64_t cpus[CPUSET_MAX / 64];
};

struct work_shared {
	_Atomic uint32_t phase;
	struct shared_set sets[WORK_SETS];
};
extern struct work_shared *work_shared;

/* The last published version, whole. False: it is being written faster than it can be read. */
bool slot_read(const struct work_slot *slot, struct slot_numbers *ret_numbers);

long slot_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
void slot_futex_wake(_Atomic uint32_t *word);

#endif
