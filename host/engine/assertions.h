/* SPDX-License-Identifier: GPL-2.0-only */
/* Layers of assertions. Pure, any thread. */
#ifndef HOST_ENGINE_ASSERTIONS_H
#define HOST_ENGINE_ASSERTIONS_H

#include "schedrig/v1/scenario.pb-c.h"

#include <stdbool.h>

/* not_stuck's own thresholds, and the share of steal from which on timing says nothing (specification 9). */
#define ASSERT_GAP_NS (UINT64_C(2000) * 1000000)
#define ASSERT_SPREAD_PCT 15.0
#define ASSERT_STEAL_PCT 20.0
/* Fewer wake-ups than this have no 99th percentile to speak of. */
#define ASSERT_WAKE_SAMPLES 100

/* Sets in *into every threshold that the layer sets; what it does not set stays. Borrows from it. NULL:
 * nothing. Lists (delta, expect_*) are no thresholds: those of every layer count by themselves. */
void assertions_merge(Schedrig__V1__Assertions *into, const Schedrig__V1__Assertions *layer);
/* It sets a threshold, so that it governs its phases. NULL: no. */
bool assertions_govern(const Schedrig__V1__Assertions *layer);
/* Something can fail by it. NULL: no. */
bool assertions_any(const Schedrig__V1__Assertions *layer);
static inline bool assertions_not_stuck(const Schedrig__V1__Assertions *a)
{
	return a->not_stuck && (!a->not_stuck->on || a->not_stuck->on->value);
}
static inline bool assertions_isolation(const Schedrig__V1__Assertions *a)
{
	return a->isolation && (!a->isolation->on || a->isolation->on->value);
}
static inline double assertions_steal_pct(const Schedrig__V1__Assertions *a)
{
	return a->max_steal_pct ? a->max_steal_pct->value : ASSERT_STEAL_PCT;
}

#endif
