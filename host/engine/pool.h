/* SPDX-License-Identifier: GPL-2.0-only */
/* What workers did in a set of phases: each one's share, and shares pooled to metrics. Reports come from the
 * guest: numbers are added up in wide types and compared, never used as indices unchecked. The run's thread.
 */
#ifndef HOST_ENGINE_POOL_H
#define HOST_ENGINE_POOL_H

#include "common/cpu_layout.h"
#include "common/err.h"
#include "common/hist.h"
#include "host/engine/metric_list.h"
#include "schedrig/v1/result.pb-c.h"

#include <stdbool.h>

/* A time in which a worker got nothing done. */
struct share_gap {
	uint64_t ns;
	uint32_t vcpu; /* at its end */
	bool has_run;
	uint64_t run_ns;       /* of its vCPU */
	uint64_t run_error_ns; /* may be off by as much */
};
/* Of a gap whose run time is known: what the host certainly did not make. */
uint64_t share_gap_own_ns(const struct share_gap *gap);

/* A worker's part in the phases looked at. */
struct share {
	const Schedrig__V1__WorkerReport *worker;
	size_t index; /* in the result's list */
	bool whole;   /* all of its life */
	bool silent;  /* it showed no sign of life in some of the phases */
	uint64_t units, iterations, cpu_ns, wall_ns, migrations, preemptions;
	uint64_t run_delay_ns, timeslices;
	/* The longest of all the phases' longest; the one with the most run time that is certainly its own;
	 * the longest of those whose run time is not known. A long one that the host made does not hide the
	 * others.
	 */
	struct share_gap gap, own_gap, unknown_gap;
};

/* Everybody's share, sorted by cgroup and then by work type. */
struct shares {
	struct share *share;
	size_t n;
	size_t missing; /* never reported: they have no share */
	const bool *phases;
	size_t n_phases;
	const Schedrig__V1__RunResult *result;
};

/* phases[k]: phase k is looked at; borrowed, as the result. */
int shares_init(struct shares *shares, const Schedrig__V1__RunResult *result, const bool *phases,
	size_t n_phases, struct err *err) must_check;
void shares_deinit(struct shares *shares);
/* One past the last share of the same cgroup (and work type) as share[begin]. */
size_t shares_cgroup_end(const struct shares *shares, size_t begin);
size_t shares_group_end(const struct shares *shares, size_t begin);

struct samples {
	uint64_t count, max_ns;
	double sum_ns;
	bool partial; /* of some phase only count, sum and max were kept */
	uint64_t bucket[HIST_BUCKETS];
};

struct pool {
	size_t workers;
	double units, iterations, cpu_ns, wall_ns, migrations, preemptions, run_delay_ns, timeslices;
	double spread_pct, throughput_cv, worst_delay_ns; /* negative: nobody to compare */
	uint64_t max_gap_ns, gap_run_ns;
	bool has_gap_run;
	double pages, local_pages;
	struct samples wake, timer, cost, request;
};

enum metric {
#define X(upper, name, unit, better, what) METRIC_##upper,
	METRIC_LIST(X)
#undef X
		METRICS
};

struct metric_info {
	const char *name, *unit, *what;
	Schedrig__V1__Better better;
};
const struct metric_info *metric_info(enum metric metric);
/* METRICS: there is none of that name. */
enum metric metric_find(const char *name);

/* Pools shares begin..end-1 into *ret (large: heap). */
void pool_of(const struct shares *shares, size_t begin, size_t end, const struct cpu_layout *layout,
	struct pool *ret);
/* False: it means nothing here (nobody measured it, a denominator of zero). ret_samples: behind it, 0 if that
 * is not its nature; may be NULL. */
bool pool_metric(const struct pool *pool, enum metric metric, double *ret, uint64_t *ret_samples);

/* Nearest rank; not above the exact maximum. count > 0 and not partial. */
double samples_rank(const struct samples *samples, double fraction);
/* Deviation / mean, from buckets. False: no samples, or a mean of zero. */
bool samples_cv(const struct samples *samples, double *ret);
/* Wake-ups by others and by timers together. */
void samples_add(struct samples *to, const struct samples *from);

/* A time says something from here on: below, one time slice more or less is per cents. */
#define SHARE_MEASURABLE_NS (UINT64_C(200) * 1000000)
/* False: too short a time. */
bool share_off_cpu_pct(const struct share *share, double *ret);
/* Units per CPU-second. False: it used no CPU time. */
bool share_work_rate(const struct share *share, double *ret);
/* Widest difference of off-CPU shares among shares begin..end-1; the number of those that could be measured
 * in ret_n. */
double shares_spread_pct(const struct shares *shares, size_t begin, size_t end, size_t *ret_n,
	double *ret_low, double *ret_high);
/* Deviation / mean of work rates; negative: fewer than two of them, or a mean of zero. */
double shares_throughput_cv(const struct shares *shares, size_t begin, size_t end, size_t *ret_n);

#endif
