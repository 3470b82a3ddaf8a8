/* SPDX-License-Identifier: GPL-2.0-only */
/* Distributions of times, in the memory that a worker shares with the agent: exact count, sum and max, a
 * histogram (common/hist.h), a sample drawn uniformly. The worker alone writes; whoever reads sees each
 * number whole, and numbers that belong together at most one value apart. Cutting a phase off needs no second
 * histogram to be counted: the state at the phase's beginning is kept, and the difference goes into the
 * slot's log of buckets. */
#ifndef GUEST_WORK_DIST_H
#define GUEST_WORK_DIST_H

#include "common/hist.h"

#include <stdatomic.h>
#include <stdbool.h>

enum dist_kind { DIST_WAKE, DIST_TIMER, DIST_COST, DIST_REQUEST, DISTS };

#define DIST_SAMPLES 256

struct dist {
	_Atomic uint64_t count, sum_ns, max_ns;
	_Atomic uint64_t buckets[HIST_BUCKETS];
	_Atomic uint64_t samples[DIST_SAMPLES];
	uint64_t draws; /* state of the sample's generator */
	/* Of the current phase: its max so far, and what had been counted when it began. */
	uint64_t part_max_ns, begin_count, begin_sum_ns;
	uint64_t begin_buckets[HIST_BUCKETS];
};

/* Of a part or of everything, its buckets elsewhere. */
struct dist_cut {
	uint64_t count, sum_ns, max_ns;
	uint32_t first, n_buckets; /* in the log */
	bool partial;              /* the log was full */
};

struct dist_bucket {
	uint32_t bucket;
	uint64_t count;
};
#define DIST_LOG 16384
/* Untouched pages cost nothing. */
struct dist_log {
	_Atomic uint32_t n; /* entries below it are final */
	struct dist_bucket entries[DIST_LOG];
};

/* The worker's, as everything up to dist_read(). */
void dist_add(struct dist *dist, uint64_t value_ns);
/* Ends the current phase's part and begins the next one. */
struct dist_cut dist_cut(struct dist *dist, struct dist_log *log);

/* Anybody's: everything so far. buckets: room for HIST_BUCKETS entries, samples: for DIST_SAMPLES. */
struct dist_cut dist_read(const struct dist *dist, struct dist_bucket *buckets, uint64_t *samples);

#endif
