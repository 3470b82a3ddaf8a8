/* SPDX-License-Identifier: GPL-2.0-only */
/* Assertions over rates, ratios and latencies (see judge.h). Each is one finding that it holds, or one for
 * everything of which it does not hold; of workers only the worst is named. What cannot be known is
 * Inconclusive. */
#include "host/engine/judge.h"

#include "common/parse.h"

#include <errno.h>
#include <string.h>

#define FAIL SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL
#define PASS SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS
#define INCONCLUSIVE SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE

static void unknown(struct layer *l, const char *kind, const char *text)
{
	run_find(l->run, INCONCLUSIVE, kind, l->place, l->phase, "%s", text);
}

static void judge_throughput_cv(struct layer *l)
{
	const struct shares *s = &l->shares;
	double limit = l->limits->max_throughput_cv->value, worst = -1;
	bool failed = false;
	char name[JUDGE_NAME_BYTES];
	for (size_t i = 0, end; i < s->n; i = end) {
		size_t n;
		end = shares_group_end(s, i);
		double cv = shares_throughput_cv(s, i, end, &n);
		if (cv < 0)
			continue;
		worst = MAX_OF(worst, cv);
		if (cv <= limit)
			continue;
		failed = true;
		judge_timing(l, "throughput", cv, limit,
			"the work per CPU-second of %zu %s workers in %s varies by %.3f of its mean: %.3f is "
			"allowed",
			n, s->share[i].worker->work_type, judge_cgroup(s->share[i].worker->cgroup, name), cv,
			limit);
	}
	if (worst < 0)
		unknown(l, "throughput",
			"no cgroup had two workers of a kind that did work on a CPU, so their throughput "
			"cannot be compared");
	else if (!failed)
		judge_find(l, PASS, "throughput", worst, limit,
			"the work per CPU-second varies by at most %.3f of its mean in a cgroup", worst);
}

/* A rate that every worker must reach. */
struct floor_rule {
	const char *kind, *what;
	double limit;
	bool (*rate)(const struct share *share, double *ret); /* false: its denominator is zero */
};

static bool iteration_rate(const struct share *share, double *ret)
{
	if (!share->wall_ns)
		return false;
	*ret = (double)share->iterations * 1e9 / (double)share->wall_ns;
	return true;
}

static void judge_floor(struct layer *l, const struct floor_rule *rule)
{
	const struct share *lowest = NULL, *undefined = NULL;
	double low = 0, rate;
	size_t below = 0;
	char name[JUDGE_NAME_BYTES];
	for (size_t i = 0; i < l->shares.n; i++) {
		const struct share *share = &l->shares.share[i];
		if (!rule->rate(share, &rate)) {
			undefined = share;
			continue;
		}
		below += rate < rule->limit;
		if (!lowest || rate < low) {
			lowest = share;
			low = rate;
		}
	}
	if (below)
		judge_timing(l, rule->kind, low, rule->limit,
			"%s made %.6g %s: at least %.6g are asked for%s", judge_worker(lowest->worker, name),
			low, rule->what, rule->limit, below > 1 ? " (others made too few, too)" : "");
	else if (undefined)
		run_find(l->run, INCONCLUSIVE, rule->kind, l->place, l->phase,
			"%s had no time to speak of, so how many %s it makes is not known",
			judge_worker(undefined->worker, name), rule->what);
	else if (lowest)
		judge_find(l, PASS, rule->kind, low, rule->limit, "every worker made at least %.6g %s", low,
			rule->what);
}

/* A number of each cgroup's pool that must not be above (or below) a limit. */
enum pool_answer { POOL_KNOWN, POOL_NONE, POOL_TOO_FEW, POOL_LOST };
struct pool_rule {
	const char *kind, *what, *none;
	double limit;
	bool floor, timing, is_time;
	enum pool_answer (*value)(struct pool *pool, double *ret);
};

static void number_text(const struct pool_rule *rule, double value, char *buffer, size_t size)
{
	if (rule->is_time)
		format_duration(value < 1e19 ? (uint64_t)value : UINT64_MAX, buffer, size);
	else
		snprintf(buffer, size, "%.4g", value);
}

static void judge_pools(struct layer *l, const struct pool_rule *rule)
{
	const struct shares *s = &l->shares;
	_cleanup_free_ struct pool *pool = malloc(sizeof(*pool));
	if (!pool) {
		unknown(l, rule->kind, "out of memory");
		return;
	}
	char name[JUDGE_NAME_BYTES], got[32], limit[32];
	double worst = 0;
	bool any = false, settled = false;
	number_text(rule, rule->limit, limit, sizeof(limit));
	for (size_t i = 0, end; i < s->n; i = end) {
		double value;
		end = shares_cgroup_end(s, i);
		pool_of(s, i, end, l->run->engine->config.layout, pool);
		judge_cgroup(s->share[i].worker->cgroup, name);
		switch (rule->value(pool, &value)) {
		case POOL_NONE:
			continue;
		case POOL_TOO_FEW:
			settled = true;
			run_find(l->run, INCONCLUSIVE, rule->kind, l->place, l->phase,
				"%s has too few samples for %s: at least %d are needed", name, rule->what,
				ASSERT_WAKE_SAMPLES);
			continue;
		case POOL_LOST:
			settled = true;
			run_find(l->run, INCONCLUSIVE, rule->kind, l->place, l->phase,
				"%s of %s is not known: its workers lived through more phases than samples "
				"are kept for",
				rule->what, name);
			continue;
		case POOL_KNOWN:
			break;
		}
		number_text(rule, value, got, sizeof(got));
		if (!any || (rule->floor ? value < worst : value > worst))
			worst = value;
		any = true;
		if (rule->floor ? value >= rule->limit : value <= rule->limit)
			continue;
		settled = true;
		if (rule->timing)
			judge_timing(l, rule->kind, value, rule->limit,
				"%s of %s is %s: at %s %s is asked for", rule->what, name, got,
				rule->floor ? "least" : "most", limit);
		else
			judge_find(l, FAIL, rule->kind, value, rule->limit,
				"%s of %s is %s: at %s %s is asked for", rule->what, name, got,
				rule->floor ? "least" : "most", limit);
	}
	if (!any && !settled)
		unknown(l, rule->kind, rule->none);
	if (!any || settled)
		return;
	number_text(rule, worst, got, sizeof(got));
	judge_find(l, PASS, rule->kind, worst, rule->limit, "%s of every cgroup is at %s %s", rule->what,
		rule->floor ? "least" : "most", got);
}

/* Being late is being late, whoever was to wake it. */
static enum pool_answer all_wakes(struct pool *pool)
{
	if (pool->timer.count)
		samples_add(&pool->wake, &pool->timer);
	return !pool->wake.count                        ? POOL_NONE
	       : pool->wake.count < ASSERT_WAKE_SAMPLES ? POOL_TOO_FEW
	       : pool->wake.partial                     ? POOL_LOST
							: POOL_KNOWN;
}

static enum pool_answer wake_p99(struct pool *pool, double *ret)
{
	enum pool_answer answer = all_wakes(pool);
	if (answer == POOL_KNOWN)
		*ret = samples_rank(&pool->wake, 0.99);
	return answer;
}

static enum pool_answer wake_cv(struct pool *pool, double *ret)
{
	enum pool_answer answer = all_wakes(pool);
	/* Of latencies that were all zero nothing can be said. */
	return answer == POOL_KNOWN && !samples_cv(&pool->wake, ret) ? POOL_NONE : answer;
}

static enum pool_answer migration_ratio(struct pool *pool, double *ret)
{
	return pool_metric(pool, METRIC_MIGRATION_RATIO, ret, NULL) ? POOL_KNOWN : POOL_NONE;
}

static enum pool_answer page_locality(struct pool *pool, double *ret)
{
	return pool_metric(pool, METRIC_PAGE_LOCALITY, ret, NULL) ? POOL_KNOWN : POOL_NONE;
}

void judge_rates(struct layer *l)
{
	const Schedrig__V1__Assertions *a = l->limits;
	if (a->max_throughput_cv)
		judge_throughput_cv(l);
	if (a->min_work_rate)
		judge_floor(l, &(struct floor_rule){"throughput", "units of work per CPU-second",
				       a->min_work_rate->value, share_work_rate});
	if (a->max_p99_wake_latency)
		judge_pools(l, &(struct pool_rule){.kind = "wake_latency",
				       .what = "the wake-up latency (p99)",
				       .none = "no worker was woken up, so there is no latency to judge",
				       .limit = (double)a->max_p99_wake_latency->ns,
				       .timing = true,
				       .is_time = true,
				       .value = wake_p99});
	if (a->max_wake_latency_cv)
		judge_pools(l, &(struct pool_rule){.kind = "wake_latency",
				       .what = "the variation of wake-up latencies",
				       .none = "no worker was woken up, so there is no latency to judge",
				       .limit = a->max_wake_latency_cv->value,
				       .timing = true,
				       .value = wake_cv});
	if (a->min_iteration_rate)
		judge_floor(l, &(struct floor_rule){"iteration_rate", "iterations per second",
				       a->min_iteration_rate->value, iteration_rate});
	if (a->max_migration_ratio)
		judge_pools(l, &(struct pool_rule){.kind = "migration",
				       .what = "the number of migrations per iteration",
				       .none = "no worker made an iteration, so there is nothing to count "
					       "migrations by",
				       .limit = a->max_migration_ratio->value,
				       .value = migration_ratio});
	if (a->min_page_locality)
		judge_pools(l, &(struct pool_rule){.kind = "page_locality",
				       .what = "the share of pages near their worker",
				       .none = "no worker had pages to look at: where they are is known of "
					       "workers that "
					       "stopped in order, and counts in their last step",
				       .limit = a->min_page_locality->value,
				       .floor = true,
				       .value = page_locality});
	if (a->max_cross_node_migration_ratio)
		judge_page_moves(l);
}
