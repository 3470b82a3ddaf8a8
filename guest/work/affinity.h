/* SPDX-License-Identifier: GPL-2.0-only */
/* Which CPUs each worker may use, from an intent and a pool (the cgroup's recorded cpuset, else all CPUs).
 * Plain values, any thread. */
#ifndef GUEST_WORK_AFFINITY_H
#define GUEST_WORK_AFFINITY_H

#include "common/cpu_layout.h"

#include <stdbool.h>

enum affinity_kind {
	AFFINITY_INHERIT,       /* nothing is done */
	AFFINITY_RANDOM_SUBSET, /* `count` of `from` and the pool, each worker draws by itself */
	AFFINITY_LLC_ALIGNED,   /* the LLC with most CPUs in the pool, lowest index on a tie */
	AFFINITY_CROSS_CGROUP,  /* all CPUs of the machine */
	AFFINITY_SINGLE_CPU,    /* lowest of the pool */
	AFFINITY_SPREAD,        /* worker k gets pool[k mod n] */
	AFFINITY_EXACT,         /* `from` and the pool */
	AFFINITY_SMT_PAIR,      /* lowest two threads of the first core that has two in the pool */
};

struct affinity {
	enum affinity_kind kind;
	bool has_from;      /* random_subset: absent = the pool */
	struct cpuset from; /* random_subset, exact */
	uint32_t count;     /* random_subset, at least 1 */
	bool per_worker;    /* smt_pair: successive pairs of workers get successive cores */
};

/* Affinity of worker k. draw: random number of this worker's own. Inherit is the caller's to skip.
 * ERR_INVALID_ARGUMENT when nothing is left. */
int affinity_resolve(const struct affinity *affinity, const struct cpu_layout *layout,
	const struct cpuset *pool, unsigned k, uint64_t draw, struct cpuset *ret_set,
	struct err *err) must_check;
/* Well mixed 64 bits of a and b: same seed, same choices. */
uint64_t affinity_draw(uint64_t a, uint64_t b);

#endif
