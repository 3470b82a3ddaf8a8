/* SPDX-License-Identifier: GPL-2.0-only */
/* Descriptions of CPU sets relative to a layout ("LLC 1", "the first half"), and what they come to. Used on
 * both sides of the link: at validation and when applied. Plain values, any thread. */
#ifndef COMMON_CPUSPEC_H
#define COMMON_CPUSPEC_H

#include "common/cpu_layout.h"

enum cpuspec_kind {
	CPUSPEC_LLC,      /* every CPU of LLC `index` */
	CPUSPEC_NUMA,     /* every CPU of node `index` */
	CPUSPEC_RANGE,    /* of the usable CPUs U, L = |U|: U[trunc(L*start) .. trunc(L*end)) */
	CPUSPEC_DISJOINT, /* part `index` of `count` equal parts of U; the last takes the rest */
	CPUSPEC_OVERLAP,  /* as DISJOINT, widened by trunc(part*fraction) on both sides, clipped */
	CPUSPEC_EXACT,    /* the set */
};

struct cpuspec {
	enum cpuspec_kind kind;
	uint32_t index, count;
	double start, end, fraction;
	struct cpuset exact;
};

/* What the description comes to; never empty on success. ERR_INVALID_ARGUMENT with the offending field as
 * place
 * ("llc", "start", "count", ...) and in the sentence what would be possible. */
int cpuspec_resolve(const struct cpuspec *spec, const struct cpu_layout *layout, struct cpuset *ret_set,
	struct err *err) must_check;

#endif
