/* SPDX-License-Identifier: GPL-2.0-only */
/* Assertions over workers' reports (see judge.h). Reports come from the guest: numbers are compared, never
 * used as indices unchecked. */
#include "host/engine/judge.h"

#include "common/parse.h"

#include <string.h>

#define FAIL SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL
#define PASS SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS
#define INCONCLUSIVE SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE

struct layer {
	struct run *run;
	const struct limits *limits;
	const bool *governed;
	size_t n_phases;
	const char *place;
	uint32_t phase;
};

/* What of a worker's life a layer sees. */
struct share {
	uint64_t units, cpu_ns, wall_ns, max_gap_ns;
	bool any;
};

static bool governs(const struct layer *l, uint32_t phase)
{
	return phase < l->n_phases && l->governed[phase];
}

static uint64_t phase_length_ns(const struct layer *l, uint32_t phase)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	if (phase == 0 || phase > result->n_steps)
		return 0;
	const Schedrig__V1__StepResult *step = result->steps[phase - 1];
	return step->end_ns > step->begin_ns ? step->end_ns - step->begin_ns : 0;
}

/* Phases between a worker's start and its first sign of life: it did nothing in them, and that counts. */
static void add_silence(const struct layer *l, const Schedrig__V1__WorkerReport *w, struct share *share)
{
	for (uint32_t p = w->started_phase; p < w->phases[0]->phase && p < l->n_phases; p++) {
		if (!l->governed[p])
			continue;
		share->any = true;
		share->max_gap_ns = MAX_OF(share->max_gap_ns, phase_length_ns(l, p));
	}
}

static struct share share_of(const struct layer *l, const Schedrig__V1__WorkerReport *w)
{
	struct share share = {0};
	if (!w->n_phases && governs(l, w->started_phase))
		return (struct share){w->units, w->cpu_ns, w->wall_ns, w->max_gap_ns, true};
	for (size_t i = 0; i < w->n_phases; i++) {
		const Schedrig__V1__PhasePart *part = w->phases[i];
		if (!governs(l, part->phase))
			continue;
		share.any = true;
		share.units += part->units;
		share.cpu_ns += part->cpu_ns;
		share.wall_ns += part->wall_ns;
		share.max_gap_ns = MAX_OF(share.max_gap_ns, part->max_gap_ns);
	}
	if (w->n_phases)
		add_silence(l, w, &share);
	return share;
}

/* "worker 123 (web/spinner)" */
static const char *who(const Schedrig__V1__WorkerReport *w, char *buffer, size_t size)
{
	snprintf(buffer, size, "worker %d (%s in %s%s)", w->pid, w->comm,
		*w->cgroup ? "cgroup " : "the runner cgroup", w->cgroup);
	return buffer;
}

static void numbers(Schedrig__V1__VerdictPart *part, double value, double threshold)
{
	if (!part)
		return;
	part->value = value;
	part->threshold = threshold;
	part->has_numbers = true;
}

static void judge_missing(const struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	char name[400];
	for (size_t i = 0; i < result->n_workers; i++)
		if (result->workers[i]->missing && governs(l, result->workers[i]->started_phase))
			run_find(l->run, INCONCLUSIVE, "not_stuck", l->place, l->phase,
				"%s never reported, so what it did is not known",
				who(result->workers[i], name, sizeof(name)));
}

static void judge_units(const struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	char name[400];
	size_t stuck = 0, seen = 0;
	for (size_t i = 0; i < result->n_workers; i++) {
		const Schedrig__V1__WorkerReport *w = result->workers[i];
		struct share share = share_of(l, w);
		if (w->missing || !share.any)
			continue;
		seen++;
		if (share.units)
			continue;
		stuck++;
		numbers(run_find(l->run, FAIL, "not_stuck", l->place, l->phase, "%s did no work at all",
				who(w, name, sizeof(name))),
			0, 1);
	}
	if (seen && !stuck)
		run_find(l->run, PASS, "not_stuck", l->place, l->phase, "all %zu workers did work", seen);
}

static void judge_gap(const struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	const char *kind = l->limits->gap ? "gap" : "not_stuck";
	const Schedrig__V1__WorkerReport *worst = NULL;
	uint64_t worst_ns = 0, limit = l->limits->max_gap_ns;
	size_t over = 0;
	char name[400], gap[32], allowed[32];
	format_duration(limit, allowed, sizeof(allowed));
	for (size_t i = 0; i < result->n_workers; i++) {
		const Schedrig__V1__WorkerReport *w = result->workers[i];
		struct share share = share_of(l, w);
		if (w->missing || !share.any)
			continue;
		if (!worst || share.max_gap_ns > worst_ns) {
			worst = w;
			worst_ns = share.max_gap_ns;
		}
		over += share.max_gap_ns > limit;
	}
	if (!worst)
		return;
	format_duration(worst_ns, gap, sizeof(gap));
	who(worst, name, sizeof(name));
	Schedrig__V1__VerdictPart *part;
	if (over)
		part = run_find(l->run, FAIL, kind, l->place, l->phase,
			"%s got nothing done for %s: %s are allowed%s", name, gap, allowed,
			over > 1 ? " (others had gaps too)" : "");
	else
		part = run_find(
			l->run, PASS, kind, l->place, l->phase, "the longest gap is %s, of %s", gap, name);
	numbers(part, (double)worst_ns, (double)limit);
}

/* Shares are comparable among workers of one type: a type that sleeps by itself is off the CPU by its nature.
 */
static bool same_group(const Schedrig__V1__WorkerReport *a, const Schedrig__V1__WorkerReport *b)
{
	return strcmp(a->cgroup, b->cgroup) == 0 && strcmp(a->work_type, b->work_type) == 0;
}

static bool measurable(const struct layer *l, const Schedrig__V1__WorkerReport *w, double *ret_off_pct)
{
	struct share share = share_of(l, w);
	if (w->missing || !share.any || share.wall_ns < JUDGE_MEASURABLE_NS)
		return false;
	double cpu = (double)MIN_OF(share.cpu_ns, share.wall_ns);
	*ret_off_pct = 100.0 * (1.0 - cpu / (double)share.wall_ns);
	return true;
}

/* Workers come grouped by cgroup seldom enough: each group is found from its first member. */
static bool is_first(const struct layer *l, size_t index)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	double off;
	for (size_t i = 0; i < index; i++)
		if (same_group(result->workers[i], result->workers[index]) &&
			measurable(l, result->workers[i], &off))
			return false;
	return true;
}

static void judge_spread(const struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	const char *kind = l->limits->spread ? "fairness" : "not_stuck";
	double limit = l->limits->max_spread_pct, worst = -1;
	bool failed = false;
	for (size_t i = 0; i < result->n_workers; i++) {
		const Schedrig__V1__WorkerReport *first = result->workers[i];
		double low, high, off;
		size_t n = 1;
		if (!measurable(l, first, &low) || !is_first(l, i))
			continue;
		high = low;
		for (size_t k = i + 1; k < result->n_workers; k++) {
			if (!same_group(first, result->workers[k]) ||
				!measurable(l, result->workers[k], &off))
				continue;
			low = MIN_OF(low, off);
			high = MAX_OF(high, off);
			n++;
		}
		if (n < 2)
			continue;
		worst = MAX_OF(worst, high - low);
		if (high - low <= limit)
			continue;
		failed = true;
		numbers(run_find(l->run, FAIL, kind, l->place, l->phase,
				"%zu %s workers in %s%s are off the CPU for %.1f %% to %.1f %% of the time: "
				"a spread of %.1f, "
				"%.1f is allowed",
				n, first->work_type, *first->cgroup ? "cgroup " : "the runner cgroup",
				first->cgroup, low, high, high - low, limit),
			high - low, limit);
	}
	if (worst < 0 && l->limits->spread)
		run_find(l->run, INCONCLUSIVE, kind, l->place, l->phase,
			"no cgroup had two workers of a kind for long enough to compare them");
	else if (worst >= 0 && !failed)
		numbers(run_find(l->run, PASS, kind, l->place, l->phase,
				"the widest off-CPU spread in a cgroup is %.1f %%", worst),
			worst, limit);
}

static void judge_isolation(const struct layer *l)
{
	const Schedrig__V1__RunResult *result = l->run->result;
	size_t failed = 0, seen = 0;
	char name[400];
	for (size_t i = 0; i < result->n_workers; i++) {
		const Schedrig__V1__WorkerReport *w = result->workers[i];
		struct share share = share_of(l, w);
		seen += share.any && !w->missing;
		size_t here = 0;
		const Schedrig__V1__Trespass *first = NULL;
		for (size_t k = 0; k < w->n_trespasses; k++) {
			if (!governs(l, w->trespasses[k]->phase))
				continue;
			here++;
			first = first ? first : w->trespasses[k];
		}
		if (!first)
			continue;
		failed++;
		numbers(run_find(l->run, FAIL, "isolation", l->place, l->phase,
				"%s ran on CPU %u when its cpuset was %s%s", who(w, name, sizeof(name)),
				first->cpu, first->allowed, here > 1 ? " (and more such times)" : ""),
			(double)here, 0);
	}
	if (seen && !failed)
		run_find(l->run, PASS, "isolation", l->place, l->phase, "no worker left its cpuset");
}

void judge_layer(struct run *run, const struct limits *limits, const bool *governed, size_t n_phases,
	const char *place, uint32_t phase)
{
	if (!limits->not_stuck && !limits->isolation && !limits->gap && !limits->spread)
		return;
	bool any_phase = false;
	for (size_t i = 1; i < n_phases; i++)
		any_phase |= governed[i];
	/* Steps with assertions of their own may leave nothing to the scenario's. */
	if (!any_phase && n_phases > 1)
		return;
	struct layer layer = {run, limits, governed, n_phases, place, phase};
	bool any_worker = false;
	for (size_t i = 0; i < run->result->n_workers; i++)
		any_worker |=
			run->result->workers[i]->missing || share_of(&layer, run->result->workers[i]).any;
	if (!any_worker) {
		run_find(run, INCONCLUSIVE, "not_stuck", place, phase,
			"no worker ran, so there is nothing to judge");
		return;
	}
	judge_missing(&layer);
	if (limits->not_stuck)
		judge_units(&layer);
	if (limits->not_stuck || limits->gap)
		judge_gap(&layer);
	if (limits->not_stuck || limits->spread)
		judge_spread(&layer);
	if (limits->isolation)
		judge_isolation(&layer);
}
