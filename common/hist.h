/* SPDX-License-Identifier: GPL-2.0-only */
/* Histograms of 64-bit values with buckets of constant relative width: values below 32 have a bucket each,
 * larger ones share theirs with values that differ by less than 1/32. Only the arithmetic: who counts keeps
 * the counters. Plain functions, any thread, any process. */
#ifndef COMMON_HIST_H
#define COMMON_HIST_H

#include "common/check.h"

#include <stddef.h>
#include <stdint.h>

/* Values from 2^44 on (five hours, of nanoseconds) fall into the last one. */
#define HIST_BUCKETS 1280
#define HIST_SHIFT 5

static inline uint32_t hist_bucket(uint64_t value)
{
	if (value < 1u << HIST_SHIFT)
		return (uint32_t)value;
	uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value) - HIST_SHIFT;
	uint64_t bucket = ((uint64_t)exponent << HIST_SHIFT) + (value >> exponent);
	return bucket < HIST_BUCKETS ? (uint32_t)bucket : HIST_BUCKETS - 1;
}

/* Smallest value of a bucket, below HIST_BUCKETS. */
static inline uint64_t hist_low(uint32_t bucket)
{
	if (bucket < 2u << HIST_SHIFT)
		return bucket;
	uint32_t exponent = (bucket >> HIST_SHIFT) - 1;
	return (uint64_t)(bucket - (exponent << HIST_SHIFT)) << exponent;
}

/* Largest value of a bucket; UINT64_MAX of the last. */
static inline uint64_t hist_high(uint32_t bucket)
{
	return bucket + 1 < HIST_BUCKETS ? hist_low(bucket + 1) - 1 : UINT64_MAX;
}

/* Nearest rank: the bucket in which value number ceil(fraction * total) lies, counted from 1 in ascending
 * order. counts: of every bucket; total: their sum, not 0; fraction: above 0, at most 1. */
uint32_t hist_rank(const uint64_t counts[HIST_BUCKETS], uint64_t total, double fraction);

#endif
