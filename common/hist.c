/* SPDX-License-Identifier: GPL-2.0-only */
/* Ranks in histograms (see hist.h). */
#include "common/hist.h"

uint32_t hist_rank(const uint64_t counts[HIST_BUCKETS], uint64_t total, double fraction)
{
	assert(total > 0 && fraction > 0 && fraction <= 1);
	double wanted = fraction * (double)total;
	uint64_t rank = wanted >= (double)total ? total : (uint64_t)wanted;
	rank += rank < total && (double)rank < wanted;
	uint64_t seen = 0;
	for (uint32_t bucket = 0; bucket < HIST_BUCKETS; bucket++) {
		seen += counts[bucket];
		if (seen >= rank && seen)
			return bucket;
	}
	return HIST_BUCKETS - 1;
}
