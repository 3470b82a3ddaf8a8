/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes that work for a worker, as the threads of a server do: they measure, the worker counts. Each has
 * a mailbox of its own in memory that all share; the worker reads them and is the only one that touches its
 * slot. They die with the worker, and end when it is asked to stop. Runs in worker processes. */
#ifndef GUEST_WORK_HANDS_H
#define GUEST_WORK_HANDS_H

#include "guest/work/worker.h"

#define HAND_RESULTS 4096

struct hand_result {
	uint64_t wake_ns;    /* latency of a wake-up in it; UINT64_MAX: it did not sleep */
	bool timed;          /* by a timer */
	uint64_t request_ns; /* its length */
	uint32_t units;
};
struct hand {
	_Alignas(64) _Atomic uint32_t written; /* the hand W */
	_Atomic uint64_t cpu_ns;               /* the hand W: its CPU time */
	_Alignas(64) _Atomic uint32_t read;    /* the worker W */
	_Alignas(64) _Atomic uint32_t
		order;               /* who gives it work W: futex of the hand; what it means is the type's */
	_Atomic uint64_t ordered_ns; /* and when */
	struct hand_result results[HAND_RESULTS];
};
struct hands {
	struct worker *worker; /* in each process its own copy */
	unsigned count;
	struct hand *all; /* shared */
};

/* Makes them: each runs `run` and exits when that returns. */
void hands_start(struct hands *hands, struct worker *worker, unsigned count,
	void (*run)(struct hands *hands, unsigned me, void *arg), void *arg);
/* The worker's whole life after that: counts what they have done until it is to stop, then waits for them. */
void hands_watch(struct hands *hands);

/* A hand's: false while its mailbox is full, it is to stop then. */
bool hand_tell(struct hands *hands, unsigned me, const struct hand_result *result);
/* Sleeps until the word is not `value` any more. False: it is to stop. */
bool hand_wait(struct hands *hands, _Atomic uint32_t *word, uint32_t value);
/* Sleeps so long. False: it is to stop. */
bool hand_rest(struct hands *hands, uint64_t ns);

#endif
