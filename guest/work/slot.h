/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that a worker and the agent share. Every field says who writes it: W the worker, A the agent. */
#ifndef GUEST_WORK_SLOT_H
#define GUEST_WORK_SLOT_H

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

struct slot_numbers {
	uint64_t units, iterations, cpu_ns, wall_ns, migrations;
	uint64_t max_gap_ns, max_gap_at_ns;
	uint64_t wakeups, wake_max_ns, wake_sum_ns;
	uint32_t max_gap_cpu;
	uint64_t cpus_used[CPUSET_MAX / 64];
};

struct work_slot {
	/* Control words, each a futex or read at every checkpoint. */
	_Alignas(64) _Atomic uint32_t state; /* W: enum slot_state */
	_Atomic uint32_t go;                 /* A: 1 releases, futex */
	_Atomic uint32_t stop;               /* A: 1 asks to stop, futex */
	_Atomic uint32_t set;                /* A: set in force */
	uint64_t released_ns;                /* A, before go: its time counts from here */
	pid_t pid;                           /* W, before SLOT_READY */
	char call[24];                       /* W, before SLOT_FAILED */
	int call_errno;                      /* W, before SLOT_FAILED */
	/* When another member of its group handed something to it last: for wake latencies. */
	_Alignas(64) _Atomic uint64_t handed_ns; /* the partner W */
	/* Published at most once a millisecond. seq is odd while `numbers` is being written; a reader that
	 * sees it change reads again. */
	_Alignas(64) _Atomic uint32_t seq;
	_Atomic uint64_t iterations; /* W: for samples */
	struct slot_numbers numbers; /* W */
	/* W; entries below n_trespasses and n_parts are final. */
	_Atomic uint32_t n_trespasses, n_parts;
	struct work_trespass trespasses[WORK_TRESPASSES];
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

long slot_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
void slot_futex_wake(_Atomic uint32_t *word);

#endif
