/* SPDX-License-Identifier: GPL-2.0-only */
/* A metric of one step against another's, and pages that moved between nodes (see judge.h). */
#include "host/engine/judge.h"

#include <math.h>
#include <string.h>

#define FAIL SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL
#define PASS SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS
#define INCONCLUSIVE SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE

/* What a cgroup's workers (NULL: all) made of a metric in one step; false with the reason. */
static bool metric_in_step(struct run *run, const Schedrig__V1__Delta *delta, uint32_t step,
	enum metric metric, double *ret, char *why, size_t size)
{
	size_t n_phases = run->scenario->n_steps + 1;
	struct err err = ERR_INIT;
	struct shares shares = {0};
	_cleanup_free_ bool *phases = calloc(n_phases, sizeof(*phases));
	_cleanup_free_ struct pool *pool = malloc(sizeof(*pool));
	if (!phases || !pool) {
		snprintf(why, size, "out of memory");
		return false;
	}
	if (step >= run->result->n_steps) {
		snprintf(why, size, "step %u did not run", step);
		return false;
	}
	phases[step + 1] = true;
	if (shares_init(&shares, run->result, phases, n_phases, &err) < 0) {
		snprintf(why, size, "%s", err.message);
		return false;
	}
	size_t begin = 0, end = shares.n;
	if (delta->cgroup) {
		while (begin < shares.n &&
			strcmp(shares.share[begin].worker->cgroup, delta->cgroup->name) != 0)
			begin = shares_cgroup_end(&shares, begin);
		end = begin < shares.n ? shares_cgroup_end(&shares, begin) : begin;
	}
	pool_of(&shares, begin, end, run->engine->config.layout, pool);
	bool known = begin < end && pool_metric(pool, metric, ret, NULL);
	if (begin >= end)
		snprintf(why, size, "no worker ran%s%s in step %u", delta->cgroup ? " in cgroup " : "",
			delta->cgroup ? delta->cgroup->name : "", step);
	else if (!known)
		snprintf(why, size, "nothing was measured for it in step %u", step);
	shares_deinit(&shares);
	return known;
}

/* "steps[12].ops[0]" is of step 12; the backdrop's are of none. */
static bool place_in_step(const char *place, uint32_t step)
{
	char prefix[32];
	int n = snprintf(prefix, sizeof(prefix), "steps[%u].", step);
	return strncmp(place, prefix, (size_t)n) == 0;
}

/* Looks for the one report that has the metric among those of a payload's copies. */
struct metric_search {
	const Schedrig__V1__Delta *delta;
	uint32_t step;
	size_t ended, found; /* copies that the step started, and those of them that have the metric */
	const Schedrig__V1__PayloadMetric *metric;
};

static void search_report(struct metric_search *search, const Schedrig__V1__PayloadReport *report)
{
	const Schedrig__V1__Delta *delta = search->delta;
	if (strcmp(report->name, delta->payload) != 0 || !place_in_step(report->place, search->step) ||
		(delta->cgroup && strcmp(report->cgroup, delta->cgroup->name) != 0))
		return;
	search->ended++;
	for (size_t i = 0; i < report->n_metrics; i++) {
		if (strcmp(report->metrics[i]->name, delta->metric) != 0)
			continue;
		search->found++;
		search->metric = report->metrics[i];
	}
}

/* Reports of payloads that an op waited for or killed are that op's, all others the run's. */
static bool payload_metric_in_step(struct run *run, const Schedrig__V1__Delta *delta, uint32_t step,
	double *ret, const char **ret_unit, char *why, size_t size)
{
	const Schedrig__V1__RunResult *result = run->result;
	struct metric_search search = {.delta = delta, .step = step};
	for (size_t i = 0; i < result->n_payloads; i++)
		search_report(&search, result->payloads[i]);
	for (size_t i = 0; i < result->n_ops; i++)
		if (result->ops[i]->payload)
			search_report(&search, result->ops[i]->payload);
	if (search.found == 1 && isfinite(search.metric->value)) {
		*ret = search.metric->value;
		*ret_unit = search.metric->unit;
		return true;
	}
	if (!search.ended)
		snprintf(why, size, "no copy of payload '%s'%s%s was started by step %u and has ended",
			delta->payload, delta->cgroup ? " in cgroup " : "",
			delta->cgroup ? delta->cgroup->name : "", step);
	else if (search.found > 1)
		snprintf(why, size,
			"%zu copies of payload '%s' were started by step %u: say which by `cgroup`",
			search.found, delta->payload, step);
	else
		snprintf(why, size, "payload '%s' did not tell it in step %u", delta->payload, step);
	return false;
}

static double steal_of_steps(const struct run *run, uint32_t one, uint32_t other, unsigned *ret_vcpu)
{
	size_t n_phases = run->scenario->n_steps + 1;
	_cleanup_free_ bool *phases = calloc(n_phases, sizeof(*phases));
	if (!phases || one + 1 >= n_phases || other + 1 >= n_phases)
		return -1;
	phases[one + 1] = phases[other + 1] = true;
	return judge_steal(run->result, phases, n_phases, JUDGE_EVERY_VCPU, ret_vcpu);
}

/* Counts of what the kernel did are as they are, however slow the host. */
static bool is_timing(enum metric metric)
{
	return metric != METRIC_MIGRATIONS && metric != METRIC_MIGRATION_RATIO &&
	       metric != METRIC_PAGE_LOCALITY;
}

static void judge_delta(struct run *run, const Schedrig__V1__Assertions *layer,
	const Schedrig__V1__Delta *delta, const char *place, double max_steal_pct)
{
	enum metric metric = *delta->payload ? METRICS : metric_find(delta->metric);
	double now = 0, before = 0;
	char why[700] = "", detail[450];
	uint32_t phase = delta->step + 1;
	assert(metric != METRICS || *delta->payload); /* validated */
	const char *unit = *delta->payload ? "" : metric_info(metric)->unit;
	bool known;
	if (*delta->payload)
		known = payload_metric_in_step(
				run, delta, delta->against, &before, &unit, why, sizeof(why)) &&
			payload_metric_in_step(run, delta, delta->step, &now, &unit, why, sizeof(why));
	else
		known = metric_in_step(run, delta, delta->against, metric, &before, why, sizeof(why)) &&
			metric_in_step(run, delta, delta->step, metric, &now, why, sizeof(why));
	if (!known) {
		run_find(run, INCONCLUSIVE, "expectation", place, phase, "the change of %s is not known: %s",
			delta->metric, why);
		return;
	}
	if (before == 0) {
		run_find(run, INCONCLUSIVE, "expectation", place, phase,
			"%s was 0 in step %u: there are no per cent of that", delta->metric, delta->against);
		return;
	}
	double change = 100.0 * (now - before) / fabs(before);
	bool low = delta->min_change_pct && change < delta->min_change_pct->value;
	bool high = delta->max_change_pct && change > delta->max_change_pct->value;
	double threshold =
		high || !delta->min_change_pct ? delta->max_change_pct->value : delta->min_change_pct->value;
	struct layer l = {.run = run, .limits = layer, .place = place, .phase = phase, .steal_pct = -1};
	if (is_timing(metric))
		l.steal_pct = steal_of_steps(run, delta->step, delta->against, &l.steal_vcpu);
	/* The bound is the merged one, which the layer alone does not have. */
	Schedrig__V1__DoubleValue bound = SCHEDRIG__V1__DOUBLE_VALUE__INIT;
	Schedrig__V1__Assertions limits = *layer;
	bound.value = max_steal_pct;
	limits.max_steal_pct = &bound;
	l.limits = &limits;
	snprintf(detail, sizeof(detail),
		"%.120s%s%.60s%s%.60s was %.6g%s%.20s in step %u and %.6g in step %u: a change of %+.1f %%",
		delta->metric, *delta->payload ? " of payload " : "", delta->payload,
		delta->cgroup ? " of cgroup " : "", delta->cgroup ? delta->cgroup->name : "", before,
		*unit ? " " : "", unit, delta->against, now, delta->step, change);
	if (low || high)
		judge_timing(&l, "expectation", change, threshold, "%s, at %s %+.1f %% is asked for", detail,
			high ? "most" : "least", threshold);
	else
		judge_find(&l, PASS, "expectation", change, threshold, "%s", detail);
}

void judge_deltas(
	struct run *run, const Schedrig__V1__Assertions *layer, const char *place, double max_steal_pct)
{
	for (size_t i = 0; layer && i < layer->n_delta; i++) {
		char where[80];
		snprintf(where, sizeof(where), "%s.delta[%zu]", place, i);
		judge_delta(run, layer, layer->delta[i], where, max_steal_pct);
	}
}

void judge_page_moves(struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	const struct shares *s = &l->shares;
	double limit = l->limits->max_cross_node_migration_ratio->value, moved = 0, pages = 0;
	bool known = false;
	for (size_t i = 0; i < result->n_steps; i++) {
		const Schedrig__V1__StepResult *step = result->steps[i];
		if (step->index + 1 >= s->n_phases || !s->phases[step->index + 1] || !step->pages_moved)
			continue;
		known = true;
		moved += (double)step->pages_moved->value;
	}
	for (size_t i = 0; i < s->n; i++)
		for (size_t node = 0; node < s->share[i].worker->n_numa_pages; node++)
			pages += (double)s->share[i].worker->numa_pages[node];
	if (!known || !(pages > 0)) {
		run_find(l->run, INCONCLUSIVE, "page_locality", l->place, l->phase, "%s",
			known ? "no worker had pages, so there is nothing to count moved pages by"
			      : "how many pages the kernel moved between nodes is not known");
		return;
	}
	bool held = moved / pages <= limit;
	judge_find(l, held ? PASS : FAIL, "page_locality", moved / pages, limit,
		"the kernel moved %.0f pages between nodes, of %.0f that the workers have: %.4g for each%s",
		moved, pages, moved / pages, held ? "" : ", which is too many");
}
