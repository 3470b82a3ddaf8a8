/* SPDX-License-Identifier: GPL-2.0-only */
/* Buckets meet without gaps, are as narrow as promised, and ranks are nearest ranks. */
#include "common/hist.h"

#include <criterion/criterion.h>

Test(hist, buckets_meet)
{
	cr_assert_eq(hist_low(0), 0);
	for (uint32_t b = 0; b < HIST_BUCKETS; b++) {
		cr_assert_eq(hist_bucket(hist_low(b)), b, "bucket %u", b);
		cr_assert_eq(hist_bucket(hist_high(b)), b, "bucket %u", b);
		if (b + 1 < HIST_BUCKETS)
			cr_assert_lt((hist_high(b) - hist_low(b)) * 32, hist_low(b) + 32, "bucket %u", b);
	}
	cr_assert_eq(hist_bucket(UINT64_C(1) << 44), HIST_BUCKETS - 1);
	cr_assert_eq(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
	cr_assert_lt(hist_bucket((UINT64_C(1) << 44) - (UINT64_C(1) << 38) - 1), HIST_BUCKETS - 1);
}

Test(hist, ranks)
{
	static uint64_t counts[HIST_BUCKETS];
	counts[3] = 98;
	counts[700] = 1;
	counts[900] = 1;
	cr_assert_eq(hist_rank(counts, 100, 0.5), 3);
	cr_assert_eq(hist_rank(counts, 100, 0.98), 3);
	cr_assert_eq(hist_rank(counts, 100, 0.99), 700);
	cr_assert_eq(hist_rank(counts, 100, 0.999), 900);
	cr_assert_eq(hist_rank(counts, 100, 1), 900);
	cr_assert_eq(hist_rank(counts, 100, 1e-9), 3);
}
