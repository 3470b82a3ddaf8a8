/* SPDX-License-Identifier: GPL-2.0-only */
/* Distributions (see dist.h). Worker processes and the agent; no heap, no stdio. */
#include "guest/work/dist.h"

/* There is one writer, so that a load and a store make an increment. */
static void bump(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_store_explicit(
		counter, atomic_load_explicit(counter, memory_order_relaxed) + by, memory_order_relaxed);
}

/* Algorithm R (Vitter 1985): value number n replaces one of the sample with probability size / n. Which
 * values are in it means nothing to the scenario, so the generator (xorshift, Marsaglia 2003) needs no seed
 * of its own. */
static void sample(struct dist *dist, uint64_t n, uint64_t value_ns)
{
	uint64_t at = n;
	if (n >= DIST_SAMPLES) {
		uint64_t x = dist->draws ? dist->draws : UINT64_C(0x9e3779b97f4a7c15);
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		dist->draws = x;
		at = x % (n + 1);
	}
	if (at < DIST_SAMPLES)
		atomic_store_explicit(&dist->samples[at], value_ns, memory_order_relaxed);
}

void dist_add(struct dist *dist, uint64_t value_ns)
{
	uint64_t n = atomic_load_explicit(&dist->count, memory_order_relaxed);
	sample(dist, n, value_ns);
	bump(&dist->buckets[hist_bucket(value_ns)], 1);
	bump(&dist->sum_ns, value_ns);
	if (value_ns > atomic_load_explicit(&dist->max_ns, memory_order_relaxed))
		atomic_store_explicit(&dist->max_ns, value_ns, memory_order_relaxed);
	if (value_ns > dist->part_max_ns)
		dist->part_max_ns = value_ns;
	/* Last: who reads the count finds at least as many values. */
	atomic_store_explicit(&dist->count, n + 1, memory_order_release);
}

struct dist_cut dist_cut(struct dist *dist, struct dist_log *log)
{
	uint64_t count = atomic_load_explicit(&dist->count, memory_order_relaxed);
	uint32_t n = atomic_load_explicit(&log->n, memory_order_relaxed);
	struct dist_cut cut = {.count = count - dist->begin_count, .max_ns = dist->part_max_ns, .first = n};
	if (!cut.count)
		return cut; /* nothing of it has been touched: most workers measure nothing */
	uint64_t sum_ns = atomic_load_explicit(&dist->sum_ns, memory_order_relaxed);
	cut.sum_ns = sum_ns - dist->begin_sum_ns;
	for (uint32_t b = 0; b < HIST_BUCKETS; b++) {
		uint64_t now = atomic_load_explicit(&dist->buckets[b], memory_order_relaxed);
		if (now == dist->begin_buckets[b])
			continue;
		if (n < DIST_LOG)
			log->entries[n++] = (struct dist_bucket){b, now - dist->begin_buckets[b]};
		else
			cut.partial = true;
		dist->begin_buckets[b] = now;
	}
	cut.n_buckets = n - cut.first;
	/* A histogram that lacks its upper end would be taken for a good one. */
	if (cut.partial)
		cut.n_buckets = 0;
	else
		atomic_store_explicit(&log->n, n, memory_order_release);
	dist->begin_count = count;
	dist->begin_sum_ns = sum_ns;
	dist->part_max_ns = 0;
	return cut;
}

struct dist_cut dist_read(const struct dist *dist, struct dist_bucket *buckets, uint64_t *samples)
{
	struct dist_cut cut = {.count = atomic_load_explicit(&dist->count, memory_order_acquire)};
	for (uint64_t i = 0; i < cut.count && i < DIST_SAMPLES; i++)
		samples[i] = atomic_load_explicit(&dist->samples[i], memory_order_relaxed);
	cut.sum_ns = atomic_load_explicit(&dist->sum_ns, memory_order_relaxed);
	cut.max_ns = atomic_load_explicit(&dist->max_ns, memory_order_relaxed);
	for (uint32_t b = 0; cut.count && b < HIST_BUCKETS; b++) {
		uint64_t n = atomic_load_explicit(&dist->buckets[b], memory_order_relaxed);
		if (n)
			buckets[cut.n_buckets++] = (struct dist_bucket){b, n};
	}
	return cut;
}
