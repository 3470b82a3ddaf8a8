/* SPDX-License-Identifier: GPL-2.0-only */
/* Assertions over workers' reports: whether they got on, and where they ran (see judge.h). */
#include "host/engine/judge.h"

#include "common/log.h"
#include "common/parse.h"

#include <stdarg.h>
#include <string.h>

#define FAIL SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL
#define PASS SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS
#define INCONCLUSIVE SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE

const char *judge_worker(const Schedrig__V1__WorkerReport *w, char buffer[JUDGE_NAME_BYTES])
{
	snprintf(buffer, JUDGE_NAME_BYTES, "worker %d (%s in %s%s)", w->pid, w->comm,
		*w->cgroup ? "cgroup " : "the runner cgroup", w->cgroup);
	return buffer;
}

const char *judge_cgroup(const char *cgroup, char buffer[JUDGE_NAME_BYTES])
{
	snprintf(buffer, JUDGE_NAME_BYTES, "%s%s", *cgroup ? "cgroup " : "the runner cgroup", cgroup);
	return buffer;
}

static Schedrig__V1__VerdictPart *with_numbers(
	Schedrig__V1__VerdictPart *part, double value, double threshold)
{
	if (!part)
		return NULL;
	part->value = value;
	part->threshold = threshold;
	part->has_numbers = true;
	return part;
}

Schedrig__V1__VerdictPart *judge_find(struct layer *l, Schedrig__V1__VerdictKind verdict, const char *kind,
	double value, double threshold, const char *fmt, ...)
{
	char text[900];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return with_numbers(
		run_find(l->run, verdict, kind, l->place, l->phase, "%s", text), value, threshold);
}

Schedrig__V1__VerdictPart *judge_timing(
	struct layer *l, const char *kind, double value, double threshold, const char *fmt, ...)
{
	char text[800];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	double allowed = assertions_steal_pct(l->limits);
	/* 100: whatever the host does, clocks that differ by a hair included. */
	if (allowed >= 100 || l->steal_pct <= allowed)
		return judge_find(l, FAIL, kind, value, threshold, "%s", text);
	return judge_find(l, INCONCLUSIVE, kind, value, threshold,
		"%s; but the host kept vCPU %u waiting for %.0f %% of the time (max_steal_pct is %.0f), so "
		"this may be "
		"its doing",
		text, l->steal_vcpu, l->steal_pct, allowed);
}

double judge_steal(const Schedrig__V1__RunResult *result, const bool *phases, size_t n_phases,
	uint32_t except_vcpu, unsigned *ret_vcpu)
{
	double worst = -1;
	for (size_t i = 0; i < result->n_steps; i++) {
		const Schedrig__V1__StepResult *step = result->steps[i];
		if (step->index + 1 >= n_phases || !phases[step->index + 1] || !step->host_ns)
			continue;
		for (size_t k = 0; k < step->n_host; k++) {
			double pct = 100.0 * (double)step->host[k]->wait_ns / (double)step->host_ns;
			if (pct <= worst || step->host[k]->vcpu == except_vcpu)
				continue;
			worst = pct;
			*ret_vcpu = step->host[k]->vcpu;
		}
	}
	return worst;
}

static void judge_missing(struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	const struct shares *s = &l->shares;
	char name[JUDGE_NAME_BYTES];
	for (size_t i = 0; i < result->n_workers; i++) {
		const Schedrig__V1__WorkerReport *w = result->workers[i];
		if (w->missing && w->started_phase < s->n_phases && s->phases[w->started_phase])
			run_find(l->run, INCONCLUSIVE, "not_stuck", l->place, l->phase,
				"%s never reported, so what it did is not known", judge_worker(w, name));
	}
}

static void judge_units(struct layer *l)
{
	char name[JUDGE_NAME_BYTES];
	size_t stuck = 0;
	for (size_t i = 0; i < l->shares.n; i++) {
		const struct share *share = &l->shares.share[i];
		if (share->units)
			continue;
		stuck++;
		judge_find(l, FAIL, "not_stuck", 0, 1, "%s did no work at all",
			judge_worker(share->worker, name));
	}
	if (!stuck && l->shares.n)
		run_find(l->run, PASS, "not_stuck", l->place, l->phase, "all %zu workers did work",
			l->shares.n);
}

/* " (1.2s of its vCPU's own run time)", or nothing. */
static void describe_own(const struct share_gap *gap, char *text, size_t size)
{
	char run[32], error[32], about[48] = "";
	*text = '\0';
	if (!gap->has_run)
		return;
	if (gap->run_error_ns)
		snprintf(about, sizeof(about), ", give or take %s",
			format_duration(gap->run_error_ns, error, sizeof(error)));
	snprintf(text, size, " (%s of its vCPU's own run time%s)",
		format_duration(gap->run_ns, run, sizeof(run)), about);
}

/* What the host took of the gap's own vCPU is known, and left out of the gap already. Another vCPU may have
 * been kept from what the worker was waiting for. */
static struct layer steal_of_others(const struct layer *l, const struct share_gap *gap)
{
	struct layer others = *l;
	if (gap->has_run)
		others.steal_pct = judge_steal(
			l->run->result, l->shares.phases, l->shares.n_phases, gap->vcpu, &others.steal_vcpu);
	return others;
}

/* Which of its gaps is too long and not excused by what the host took of it; NULL: none. */
static const struct share_gap *guilty_gap(const struct share *share, uint64_t limit, bool excused)
{
	if (!excused)
		return share->gap.ns > limit ? &share->gap : NULL;
	/* One that is certain is worth more than a longer one. */
	if (share_gap_own_ns(&share->own_gap) > limit)
		return &share->own_gap;
	return share->unknown_gap.ns > limit ? &share->unknown_gap : NULL;
}

static bool is_worse(const struct share_gap *gap, const struct share_gap *than, bool excused)
{
	if (!than || (excused && gap->has_run != than->has_run))
		return !than || gap->has_run;
	return gap->ns > than->ns;
}

static void judge_gap(struct layer *l)
{
	const char *kind = l->limits->max_gap ? "gap" : "not_stuck";
	uint64_t limit = l->limits->max_gap ? l->limits->max_gap->ns : ASSERT_GAP_NS;
	const struct share *worst = NULL, *guilty = NULL;
	const struct share_gap *guilty_by = NULL;
	size_t over = 0, by_guest = 0;
	char name[JUDGE_NAME_BYTES], gap[32], allowed[32], own[160];
	/* Who says that the host does not matter means it. */
	bool excused = assertions_steal_pct(l->limits) < 100;
	for (size_t i = 0; i < l->shares.n; i++) {
		const struct share *share = &l->shares.share[i];
		if (!worst || share->gap.ns > worst->gap.ns)
			worst = share;
		over += share->gap.ns > limit;
		const struct share_gap *by = guilty_gap(share, limit, excused);
		by_guest += by != NULL;
		if (!by || !is_worse(by, guilty_by, excused))
			continue;
		guilty = share;
		guilty_by = by;
	}
	if (!worst)
		return;
	const struct share_gap *told = guilty ? guilty_by : &worst->gap;
	format_duration(told->ns, gap, sizeof(gap));
	format_duration(limit, allowed, sizeof(allowed));
	describe_own(told, own, sizeof(own));
	judge_worker(guilty ? guilty->worker : worst->worker, name);
	double value = (double)told->ns, threshold = (double)limit;
	if (!over)
		judge_find(l, PASS, kind, value, threshold, "the longest gap is %s%s, of %s", gap, own, name);
	else if (!guilty)
		judge_find(l, INCONCLUSIVE, kind, value, threshold,
			"%s got nothing done for %s%s: %s are allowed, and the rest is the host's doing%s",
			name, gap, own, allowed, over > 1 ? " (others had such gaps too)" : "");
	if (!guilty)
		return;
	struct layer others = steal_of_others(l, told);
	judge_timing(&others, kind, value, threshold, "%s got nothing done for %s%s: %s are allowed%s", name,
		gap, own, allowed, by_guest > 1 ? " (others had gaps too)" : "");
}

/* Shares are comparable among workers of one type: one that sleeps by itself is off the CPU by its nature. */
static void judge_spread(struct layer *l)
{
	const struct shares *s = &l->shares;
	const char *kind = l->limits->max_spread_pct ? "fairness" : "not_stuck";
	double limit = l->limits->max_spread_pct ? l->limits->max_spread_pct->value : ASSERT_SPREAD_PCT,
	       widest = -1;
	bool failed = false;
	char name[JUDGE_NAME_BYTES];
	for (size_t i = 0, end; i < s->n; i = end) {
		double low, high;
		size_t n;
		end = shares_group_end(s, i);
		double spread = shares_spread_pct(s, i, end, &n, &low, &high);
		if (n < 2)
			continue;
		widest = MAX_OF(widest, spread);
		if (spread <= limit)
			continue;
		failed = true;
		judge_timing(l, kind, spread, limit,
			"%zu %s workers in %s are off the CPU for %.1f %% to %.1f %% of the time: a spread "
			"of %.1f, %.1f is "
			"allowed",
			n, s->share[i].worker->work_type, judge_cgroup(s->share[i].worker->cgroup, name), low,
			high, spread, limit);
	}
	if (widest < 0 && l->limits->max_spread_pct)
		run_find(l->run, INCONCLUSIVE, kind, l->place, l->phase,
			"no cgroup had two workers of a kind for long enough to compare them");
	else if (widest >= 0 && !failed)
		judge_find(l, PASS, kind, widest, limit, "the widest off-CPU spread in a cgroup is %.1f %%",
			widest);
}

static void judge_isolation(struct layer *l)
{
	const struct shares *s = &l->shares;
	size_t failed = 0;
	char name[JUDGE_NAME_BYTES];
	for (size_t i = 0; i < s->n; i++) {
		const Schedrig__V1__WorkerReport *w = s->share[i].worker;
		const Schedrig__V1__Trespass *first = NULL;
		size_t here = 0;
		for (size_t k = 0; k < w->n_trespasses; k++) {
			const Schedrig__V1__Trespass *t = w->trespasses[k];
			if (t->phase >= s->n_phases || !s->phases[t->phase])
				continue;
			here++;
			first = first ? first : t;
		}
		if (!first)
			continue;
		failed++;
		judge_find(l, FAIL, "isolation", (double)here, 0, "%s ran on CPU %u when its cpuset was %s%s",
			judge_worker(w, name), first->cpu, first->allowed,
			here > 1 ? " (and more such times)" : "");
	}
	if (s->n && !failed)
		run_find(l->run, PASS, "isolation", l->place, l->phase, "no worker left its cpuset");
}

static bool asserts_of_workers(const Schedrig__V1__Assertions *limits)
{
	Schedrig__V1__Assertions only = SCHEDRIG__V1__ASSERTIONS__INIT;
	assertions_merge(&only, limits);
	return assertions_any(&only);
}

void judge_layer(struct run *run, const Schedrig__V1__Assertions *limits, const bool *governed,
	size_t n_phases, const char *place, uint32_t phase)
{
	struct err err = ERR_INIT;
	if (!asserts_of_workers(limits))
		return;
	bool any_phase = false;
	for (size_t i = 1; i < n_phases; i++)
		any_phase |= governed[i];
	/* Steps with assertions of their own may leave nothing to the scenario's. */
	if (!any_phase && n_phases > 1)
		return;
	struct layer l = {.run = run, .limits = limits, .place = place, .phase = phase};
	if (shares_init(&l.shares, run->result, governed, n_phases, &err) < 0) {
		run_find(run, INCONCLUSIVE, "not_stuck", place, phase, "%s", err.message);
		return;
	}
	l.steal_pct = judge_steal(run->result, governed, n_phases, JUDGE_EVERY_VCPU, &l.steal_vcpu);
	if (!l.shares.n && !l.shares.missing) {
		run_find(run, INCONCLUSIVE, "not_stuck", place, phase,
			"no worker ran, so there is nothing to judge");
	} else {
		judge_missing(&l);
		if (assertions_not_stuck(limits))
			judge_units(&l);
		if (assertions_not_stuck(limits) || limits->max_gap)
			judge_gap(&l);
		if (assertions_not_stuck(limits) || limits->max_spread_pct)
			judge_spread(&l);
		if (assertions_isolation(limits))
			judge_isolation(&l);
		judge_rates(&l);
	}
	shares_deinit(&l.shares);
}
