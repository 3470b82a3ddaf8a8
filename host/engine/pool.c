/* SPDX-License-Identifier: GPL-2.0-only */
/* Shares and pools (see pool.h). */
#include "host/engine/pool.h"

#include "common/cpuset.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct metric_info infos[METRICS] = {
#define X(upper, name_, unit_, better_, what_)                                                               \
	[METRIC_##upper] = {.name = #name_,                                                                  \
		.unit = unit_,                                                                               \
		.what = what_,                                                                               \
		.better = SCHEDRIG__V1__BETTER__BETTER_##better_},
	METRIC_LIST(X)
#undef X
};

const struct metric_info *metric_info(enum metric metric)
{
	return &infos[metric];
}

enum metric metric_find(const char *name)
{
	unsigned metric = 0;
	while (metric < METRICS && strcmp(infos[metric].name, name) != 0)
		metric++;
	return (enum metric)metric;
}

static bool looked_at(const struct shares *s, uint32_t phase)
{
	return phase < s->n_phases && s->phases[phase];
}

static uint64_t add_sat(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t phase_length_ns(const struct shares *s, uint32_t phase)
{
	if (phase == 0 || phase > s->result->n_steps)
		return 0;
	const Schedrig__V1__StepResult *step = s->result->steps[phase - 1];
	return step->end_ns > step->begin_ns ? step->end_ns - step->begin_ns : 0;
}

uint64_t share_gap_own_ns(const struct share_gap *gap)
{
	return gap->run_ns > gap->run_error_ns ? gap->run_ns - gap->run_error_ns : 0;
}

static void take_gap(struct share *share, uint64_t gap_ns, uint32_t vcpu, const Schedrig__V1__GapRunTime *run)
{
	struct share_gap gap = {.ns = gap_ns, .vcpu = vcpu, .has_run = run != NULL};
	if (run) {
		gap.run_ns = run->ns;
		gap.run_error_ns = run->error_ns;
	}
	if (gap_ns > share->gap.ns || (gap_ns == share->gap.ns && (gap_ns || !share->gap.has_run)))
		share->gap = gap;
	if (!run && gap_ns > share->unknown_gap.ns)
		share->unknown_gap = gap;
	if (run && share_gap_own_ns(&gap) > share_gap_own_ns(&share->own_gap))
		share->own_gap = gap;
}

static void take_schedstat(struct share *share, const Schedrig__V1__SchedStat *stat)
{
	if (!stat)
		return;
	share->run_delay_ns = add_sat(share->run_delay_ns, stat->run_delay_ns);
	share->timeslices = add_sat(share->timeslices, stat->timeslices);
}

static void take_whole(struct share *share)
{
	const Schedrig__V1__WorkerReport *w = share->worker;
	share->whole = true;
	share->units = w->units;
	share->iterations = w->iterations;
	share->cpu_ns = w->cpu_ns;
	share->wall_ns = w->wall_ns;
	share->migrations = w->migrations;
	share->preemptions = w->involuntary_switches;
	take_gap(share, w->max_gap_ns, w->max_gap_cpu, w->max_gap_run);
	take_schedstat(share, w->schedstat);
}

static void take_part(struct share *share, const Schedrig__V1__PhasePart *part)
{
	share->units = add_sat(share->units, part->units);
	share->iterations = add_sat(share->iterations, part->iterations);
	share->cpu_ns = add_sat(share->cpu_ns, part->cpu_ns);
	share->wall_ns = add_sat(share->wall_ns, part->wall_ns);
	share->migrations = add_sat(share->migrations, part->migrations);
	share->preemptions = add_sat(share->preemptions, part->involuntary_switches);
	take_gap(share, part->max_gap_ns, part->max_gap_cpu, part->max_gap_run);
	take_schedstat(share, part->schedstat);
}

/* Phases between a worker's start and its first sign of life: it did nothing in them, and that counts. */
static bool take_silence(const struct shares *s, struct share *share)
{
	const Schedrig__V1__WorkerReport *w = share->worker;
	for (uint32_t p = w->started_phase; p < w->phases[0]->phase && p < s->n_phases; p++) {
		if (!looked_at(s, p))
			continue;
		share->silent = true;
		take_gap(share, phase_length_ns(s, p), 0, NULL);
	}
	return share->silent;
}

/* False: it was not there. */
static bool share_of(const struct shares *s, const Schedrig__V1__WorkerReport *w, struct share *share)
{
	*share = (struct share){.worker = w};
	if (!w->n_phases) {
		if (!looked_at(s, w->started_phase))
			return false;
		take_whole(share);
		return true;
	}
	bool any = false, all = true;
	for (size_t i = 0; i < w->n_phases; i++) {
		if (!looked_at(s, w->phases[i]->phase)) {
			all = false;
			continue;
		}
		any = true;
		take_part(share, w->phases[i]);
	}
	share->whole = all;
	return take_silence(s, share) || any;
}

static int by_place(const void *a, const void *b)
{
	const struct share *x = a, *y = b;
	int c = strcmp(x->worker->cgroup, y->worker->cgroup);
	if (c == 0)
		c = strcmp(x->worker->work_type, y->worker->work_type);
	return c ? c : (x->index > y->index) - (x->index < y->index);
}

int shares_init(struct shares *shares, const Schedrig__V1__RunResult *result, const bool *phases,
	size_t n_phases, struct err *err)
{
	*shares = (struct shares){.phases = phases, .n_phases = n_phases, .result = result};
	shares->share = calloc(result->n_workers + 1, sizeof(*shares->share));
	if (!shares->share)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot look at the workers' reports");
	for (size_t i = 0; i < result->n_workers; i++) {
		const Schedrig__V1__WorkerReport *w = result->workers[i];
		if (w->missing) {
			shares->missing += looked_at(shares, w->started_phase);
			continue;
		}
		shares->share[shares->n].index = i;
		if (share_of(shares, w, &shares->share[shares->n]))
			shares->share[shares->n++].index = i;
	}
	qsort(shares->share, shares->n, sizeof(*shares->share), by_place);
	return 0;
}

void shares_deinit(struct shares *shares)
{
	free(shares->share);
	*shares = (struct shares){0};
}

size_t shares_cgroup_end(const struct shares *s, size_t begin)
{
	size_t end = begin + 1;
	while (end < s->n && strcmp(s->share[begin].worker->cgroup, s->share[end].worker->cgroup) == 0)
		end++;
	return end;
}

size_t shares_group_end(const struct shares *s, size_t begin)
{
	size_t end = begin + 1;
	while (end < s->n && strcmp(s->share[begin].worker->cgroup, s->share[end].worker->cgroup) == 0 &&
		strcmp(s->share[begin].worker->work_type, s->share[end].worker->work_type) == 0)
		end++;
	return end;
}

bool share_off_cpu_pct(const struct share *share, double *ret)
{
	if (share->wall_ns < SHARE_MEASURABLE_NS)
		return false;
	double cpu = (double)MIN_OF(share->cpu_ns, share->wall_ns);
	*ret = 100.0 * (1.0 - cpu / (double)share->wall_ns);
	return true;
}

bool share_work_rate(const struct share *share, double *ret)
{
	if (!share->cpu_ns)
		return false;
	*ret = (double)share->units * 1e9 / (double)share->cpu_ns;
	return true;
}

double shares_spread_pct(
	const struct shares *s, size_t begin, size_t end, size_t *ret_n, double *ret_low, double *ret_high)
{
	double low = 0, high = 0, off;
	size_t n = 0;
	for (size_t i = begin; i < end; i++) {
		if (!share_off_cpu_pct(&s->share[i], &off))
			continue;
		low = n ? MIN_OF(low, off) : off;
		high = n ? MAX_OF(high, off) : off;
		n++;
	}
	*ret_n = n;
	*ret_low = low;
	*ret_high = high;
	return high - low;
}

double shares_throughput_cv(const struct shares *s, size_t begin, size_t end, size_t *ret_n)
{
	/* Two passes: squares of rates of 1e9 would eat up the digits that a small deviation is in. */
	double sum = 0, squares = 0, rate;
	size_t n = 0;
	for (size_t i = begin; i < end; i++) {
		if (!share_work_rate(&s->share[i], &rate))
			continue;
		sum += rate;
		n++;
	}
	*ret_n = n;
	if (n < 2 || sum <= 0)
		return -1;
	double mean = sum / (double)n;
	for (size_t i = begin; i < end; i++)
		if (share_work_rate(&s->share[i], &rate))
			squares += (rate - mean) * (rate - mean);
	return sqrt(squares / (double)n) / mean;
}

/* ---- samples */

static void add_distribution(struct samples *to, const Schedrig__V1__Distribution *d)
{
	if (!d)
		return;
	to->count = add_sat(to->count, d->count);
	to->sum_ns += (double)d->sum_ns;
	to->max_ns = MAX_OF(to->max_ns, d->max_ns);
	uint64_t seen = 0;
	size_t n = MIN_OF(d->n_buckets, d->n_counts);
	for (size_t i = 0; i < n; i++) {
		if (d->buckets[i] >= HIST_BUCKETS)
			continue;
		to->bucket[d->buckets[i]] = add_sat(to->bucket[d->buckets[i]], d->counts[i]);
		seen = add_sat(seen, d->counts[i]);
	}
	to->partial |= d->partial || seen != d->count;
}

void samples_add(struct samples *to, const struct samples *from)
{
	to->count = add_sat(to->count, from->count);
	to->sum_ns += from->sum_ns;
	to->max_ns = MAX_OF(to->max_ns, from->max_ns);
	to->partial |= from->partial;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		to->bucket[i] = add_sat(to->bucket[i], from->bucket[i]);
}

double samples_rank(const struct samples *samples, double fraction)
{
	uint64_t high = hist_high(hist_rank(samples->bucket, samples->count, fraction));
	return (double)MIN_OF(high, samples->max_ns);
}

bool samples_cv(const struct samples *samples, double *ret)
{
	if (!samples->count || samples->partial || samples->sum_ns <= 0)
		return false;
	double mean = samples->sum_ns / (double)samples->count, squares = 0;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		if (!samples->bucket[i])
			continue;
		double high = (double)MIN_OF(hist_high(i), samples->max_ns), low = (double)hist_low(i);
		double off = (low + MAX_OF(high, low)) / 2 - mean;
		squares += off * off * (double)samples->bucket[i];
	}
	*ret = sqrt(squares / (double)samples->count) / mean;
	return true;
}

static void add_samples(const struct shares *s, const struct share *share, struct pool *pool)
{
	const Schedrig__V1__WorkerReport *w = share->worker;
	if (share->whole) {
		add_distribution(&pool->wake, w->wake);
		add_distribution(&pool->timer, w->timer);
		add_distribution(&pool->cost, w->iteration_cost);
		add_distribution(&pool->request, w->request);
		return;
	}
	for (size_t i = 0; i < w->n_phases; i++) {
		const Schedrig__V1__PhasePart *part = w->phases[i];
		if (!looked_at(s, part->phase))
			continue;
		add_distribution(&pool->wake, part->wake);
		add_distribution(&pool->timer, part->timer);
		add_distribution(&pool->cost, part->iteration_cost);
		add_distribution(&pool->request, part->request);
	}
}

/* Pages are known as they were at a worker's stop, so they count in the last of its phases. */
static void add_pages(
	const struct shares *s, const struct share *share, const struct cpu_layout *layout, struct pool *pool)
{
	const Schedrig__V1__WorkerReport *w = share->worker;
	const Schedrig__V1__PhasePart *last = w->n_phases ? w->phases[w->n_phases - 1] : NULL;
	struct cpuset used;
	if (!w->n_numa_pages || !layout || (last && !looked_at(s, last->phase)) ||
		cpuset_parse(last && *last->cpus_used ? last->cpus_used : w->cpus_used, &used, NULL) < 0)
		return;
	for (size_t node = 0; node < w->n_numa_pages; node++) {
		double pages = (double)w->numa_pages[node];
		bool local = false;
		for (unsigned cpu = 0; cpu < layout->n_cpus && !local; cpu++)
			local = layout->cpu[cpu].node == node && cpuset_has(&used, cpu);
		pool->pages += pages;
		pool->local_pages += local ? pages : 0;
	}
}

static void add_groups(const struct shares *s, size_t begin, size_t end, struct pool *pool)
{
	for (size_t i = begin, next; i < end; i = next) {
		double low, high;
		size_t n;
		next = MIN_OF(shares_group_end(s, i), end);
		double spread = shares_spread_pct(s, i, next, &n, &low, &high);
		if (n >= 2)
			pool->spread_pct = MAX_OF(pool->spread_pct, spread);
		pool->throughput_cv = MAX_OF(pool->throughput_cv, shares_throughput_cv(s, i, next, &n));
	}
}

void pool_of(
	const struct shares *s, size_t begin, size_t end, const struct cpu_layout *layout, struct pool *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->spread_pct = ret->throughput_cv = ret->worst_delay_ns = -1;
	for (size_t i = begin; i < end; i++) {
		const struct share *share = &s->share[i];
		ret->workers++;
		ret->units += (double)share->units;
		ret->iterations += (double)share->iterations;
		ret->cpu_ns += (double)share->cpu_ns;
		ret->wall_ns += (double)share->wall_ns;
		ret->migrations += (double)share->migrations;
		ret->preemptions += (double)share->preemptions;
		ret->run_delay_ns += (double)share->run_delay_ns;
		ret->timeslices += (double)share->timeslices;
		if (share->timeslices)
			ret->worst_delay_ns = MAX_OF(
				ret->worst_delay_ns, (double)share->run_delay_ns / (double)share->timeslices);
		if (share->gap.ns >= ret->max_gap_ns) {
			ret->max_gap_ns = share->gap.ns;
			ret->has_gap_run = share->gap.has_run;
			ret->gap_run_ns = share->gap.run_ns;
		}
		add_samples(s, share, ret);
		add_pages(s, share, layout, ret);
	}
	add_groups(s, begin, end, ret);
}

/* ---- metrics */

static bool ratio(double value, double by, double *ret)
{
	if (!(by > 0))
		return false;
	*ret = value / by;
	return true;
}

static bool rank(const struct samples *samples, double fraction, double *ret, uint64_t *ret_samples)
{
	*ret_samples = samples->count;
	if (!samples->count || samples->partial)
		return false;
	*ret = samples_rank(samples, fraction);
	return true;
}

static bool worst(const struct samples *samples, double *ret, uint64_t *ret_samples)
{
	*ret_samples = samples->count;
	*ret = (double)samples->max_ns;
	return samples->count > 0;
}

static bool plain(double value, double *ret)
{
	*ret = value;
	return value >= 0;
}

bool pool_metric(const struct pool *p, enum metric metric, double *ret, uint64_t *ret_samples)
{
	uint64_t unused;
	uint64_t *n = ret_samples ? ret_samples : &unused;
	*n = 0;
	switch (metric) {
	case METRIC_ITERATIONS:
		return plain(p->iterations, ret);
	case METRIC_ITERATION_RATE:
		return ratio(p->iterations * 1e9, p->wall_ns, ret);
	case METRIC_UNITS:
		return plain(p->units, ret);
	case METRIC_WORK_RATE:
		return ratio(p->units * 1e9, p->cpu_ns, ret);
	case METRIC_THROUGHPUT_CV:
		return plain(p->throughput_cv, ret);
	case METRIC_CPU_TIME:
		return plain(p->cpu_ns, ret);
	case METRIC_OFF_CPU_SPREAD:
		return plain(p->spread_pct, ret);
	case METRIC_GAP:
		return plain((double)p->max_gap_ns, ret);
	case METRIC_GAP_RUN:
		return p->has_gap_run && plain((double)p->gap_run_ns, ret);
	case METRIC_MIGRATIONS:
		return plain(p->migrations, ret);
	case METRIC_MIGRATION_RATIO:
		return ratio(p->migrations, p->iterations, ret);
	case METRIC_PREEMPTIONS:
		return plain(p->preemptions, ret);
	case METRIC_WAKE_P50:
		return rank(&p->wake, 0.5, ret, n);
	case METRIC_WAKE_P99:
		return rank(&p->wake, 0.99, ret, n);
	case METRIC_WAKE_P999:
		return rank(&p->wake, 0.999, ret, n);
	case METRIC_WAKE_WORST:
		return worst(&p->wake, ret, n);
	case METRIC_WAKE_CV:
		*n = p->wake.count;
		return samples_cv(&p->wake, ret);
	case METRIC_TIMER_P50:
		return rank(&p->timer, 0.5, ret, n);
	case METRIC_TIMER_P99:
		return rank(&p->timer, 0.99, ret, n);
	case METRIC_TIMER_P999:
		return rank(&p->timer, 0.999, ret, n);
	case METRIC_TIMER_WORST:
		return worst(&p->timer, ret, n);
	case METRIC_COST_P50:
		return rank(&p->cost, 0.5, ret, n);
	case METRIC_COST_P99:
		return rank(&p->cost, 0.99, ret, n);
	case METRIC_REQUEST_P50:
		return rank(&p->request, 0.5, ret, n);
	case METRIC_REQUEST_P99:
		return rank(&p->request, 0.99, ret, n);
	case METRIC_REQUEST_P999:
		return rank(&p->request, 0.999, ret, n);
	case METRIC_REQUEST_WORST:
		return worst(&p->request, ret, n);
	case METRIC_RUN_DELAY_MEAN:
		return ratio(p->run_delay_ns, p->timeslices, ret);
	case METRIC_RUN_DELAY_WORST:
		return plain(p->worst_delay_ns, ret);
	case METRIC_PAGE_LOCALITY:
		return ratio(p->local_pages, p->pages, ret);
	case METRICS:
		break;
	}
	return false;
}
