/* SPDX-License-Identifier: GPL-2.0-only */
/* One layer of assertions over the reports of workers. The run's thread. */
#ifndef HOST_ENGINE_JUDGE_H
#define HOST_ENGINE_JUDGE_H

#include "host/engine/engine_internal.h"

/* not_stuck's own thresholds (specification 9.2). */
#define JUDGE_GAP_NS (UINT64_C(2000) * 1000000)
#define JUDGE_SPREAD_PCT 15.0
/* A share of time says something from here on: below, one time slice more or less is per cents. */
#define JUDGE_MEASURABLE_NS (UINT64_C(200) * 1000000)

struct limits {
	bool not_stuck, isolation, gap, spread; /* what is asserted */
	uint64_t max_gap_ns;
	double max_spread_pct;
};

/* governed[phase]: the layer judges what happened in that phase. place and phase are for the findings. */
void judge_layer(struct run *run, const struct limits *limits, const bool *governed, size_t n_phases,
	const char *place, uint32_t phase);

#endif
