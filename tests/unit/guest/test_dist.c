/* SPDX-License-Identifier: GPL-2.0-only */
/* Distributions: exact numbers, cuts that add up, a log that can be full. */
#include "guest/work/dist.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct dist dist;
static struct dist_log dist_log;
static struct dist_bucket buckets[HIST_BUCKETS];
static uint64_t samples[DIST_SAMPLES];

Test(dist, counts_exactly)
{
	for (uint64_t i = 1; i <= 10000; i++)
		dist_add(&dist, i * 1000);
	struct dist_cut all = dist_read(&dist, buckets, samples);
	cr_assert_eq(all.count, 10000);
	cr_assert_eq(all.sum_ns, UINT64_C(10000) * 10001 / 2 * 1000);
	cr_assert_eq(all.max_ns, 10000000);
	uint64_t counted = 0;
	for (uint32_t b = 0; b < all.n_buckets; b++)
		counted += buckets[b].count;
	cr_assert_eq(counted, 10000);
	/* A uniform sample of 1..10000 has its mean near 5000: 256 values are off by 180 (one sigma). */
	uint64_t sum = 0;
	for (unsigned i = 0; i < DIST_SAMPLES; i++) {
		cr_assert(samples[i] >= 1000 && samples[i] <= 10000000);
		sum += samples[i] / 1000;
	}
	cr_assert(sum / DIST_SAMPLES > 4000 && sum / DIST_SAMPLES < 6000, "%lu", sum / DIST_SAMPLES);
}

Test(dist, few_values_are_all_in_the_sample)
{
	for (uint64_t i = 0; i < DIST_SAMPLES; i++)
		dist_add(&dist, 7 * i);
	dist_read(&dist, buckets, samples);
	for (uint64_t i = 0; i < DIST_SAMPLES; i++)
		cr_assert_eq(samples[i], 7 * i);
}

Test(dist, cuts_add_up)
{
	dist_add(&dist, 5);
	dist_add(&dist, 900);
	struct dist_cut first = dist_cut(&dist, &dist_log);
	dist_add(&dist, 5);
	struct dist_cut second = dist_cut(&dist, &dist_log), third = dist_cut(&dist, &dist_log);
	cr_assert_eq(first.count, 2);
	cr_assert_eq(first.max_ns, 900);
	cr_assert_eq(first.n_buckets, 2);
	cr_assert_eq(second.count, 1);
	cr_assert_eq(second.sum_ns, 5);
	cr_assert_eq(second.max_ns, 5);
	cr_assert_eq(dist_log.entries[second.first].bucket, 5);
	cr_assert_eq(dist_log.entries[second.first].count, 1);
	cr_assert_eq(third.count, 0);
	cr_assert_eq(third.n_buckets, 0);
}

/* A full log costs the histogram of a part, and the part says so; the whole's stays good. */
Test(dist, a_full_log_is_said)
{
	dist_log.n = DIST_LOG - 1;
	dist_add(&dist, 1);
	dist_add(&dist, 2);
	struct dist_cut cut = dist_cut(&dist, &dist_log);
	cr_assert(cut.partial);
	cr_assert_eq(cut.count, 2);
	cr_assert_eq(cut.n_buckets, 0);
	cr_assert_eq(dist_log.n, DIST_LOG - 1);
	cr_assert_eq(dist_read(&dist, buckets, samples).n_buckets, 2);
}
