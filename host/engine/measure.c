/* SPDX-License-Identifier: GPL-2.0-only */
/* Measurements (see measure.h): each is pooled anew from the workers' own numbers, so that those of a phase
 * and of the whole, of a cgroup and of all are right each for itself. */
#include "host/engine/measure.h"

#include "host/engine/pool.h"
#include "proto/pb.h"

#include <string.h>

/* Hundreds of cgroups in hundreds of steps would make a result that nobody can read. */
#define MEASUREMENTS_MAX 4096

struct measuring {
	struct run *run;
	struct pool *pool;
	const Schedrig__V1__PhaseRef *phase; /* NULL: the whole scenario */
	size_t dropped;
};

static Schedrig__V1__Metric *metric_new(enum metric which, double value, uint64_t samples)
{
	const struct metric_info *info = metric_info(which);
	Schedrig__V1__Metric *metric = malloc(sizeof(*metric));
	if (!metric)
		return NULL;
	schedrig__v1__metric__init(metric);
	metric->name = strdup(info->name);
	metric->unit = *info->unit ? strdup(info->unit) : (char *)protobuf_c_empty_string;
	metric->value = value;
	metric->better = info->better;
	metric->samples = samples;
	if (metric->name && metric->unit)
		return metric;
	pb_free(metric);
	return NULL;
}

static bool add_metrics(Schedrig__V1__Measurement *to, const struct pool *pool)
{
	to->metrics = calloc(METRICS, sizeof(*to->metrics));
	for (unsigned i = 0; to->metrics && i < METRICS; i++) {
		double value;
		uint64_t samples;
		if (!pool_metric(pool, (enum metric)i, &value, &samples))
			continue;
		Schedrig__V1__Metric *metric = metric_new((enum metric)i, value, samples);
		if (!metric)
			return false;
		to->metrics[to->n_metrics++] = metric;
	}
	return to->metrics != NULL;
}

static bool set_place(Schedrig__V1__Measurement *to, const struct measuring *m, const char *cgroup)
{
	if (m->phase) {
		to->phase = malloc(sizeof(*to->phase));
		if (!to->phase)
			return false;
		*to->phase = *m->phase;
	}
	if (!cgroup)
		return true;
	to->cgroup = malloc(sizeof(*to->cgroup));
	if (!to->cgroup)
		return false;
	schedrig__v1__cgroup_ref__init(to->cgroup);
	to->cgroup->name = *cgroup ? strdup(cgroup) : (char *)protobuf_c_empty_string;
	return to->cgroup->name != NULL;
}

static void add(
	struct measuring *m, const struct shares *shares, size_t begin, size_t end, const char *cgroup)
{
	Schedrig__V1__RunResult *result = m->run->result;
	if (result->n_measurements == MEASUREMENTS_MAX) {
		m->dropped++;
		return;
	}
	Schedrig__V1__Measurement *one = malloc(sizeof(*one));
	if (!one)
		return;
	schedrig__v1__measurement__init(one);
	one->workers = (uint32_t)(end - begin);
	pool_of(shares, begin, end, m->run->engine->config.layout, m->pool);
	if (set_place(one, m, cgroup) && add_metrics(one, m->pool))
		result->measurements[result->n_measurements++] = one;
	else
		pb_free(one);
}

static void measure_phases(struct measuring *m, const bool *phases, size_t n_phases)
{
	struct err err = ERR_INIT;
	struct shares shares;
	if (shares_init(&shares, m->run->result, phases, n_phases, &err) < 0)
		return;
	if (shares.n)
		add(m, &shares, 0, shares.n, NULL);
	for (size_t i = 0, end; i < shares.n; i = end) {
		end = shares_cgroup_end(&shares, i);
		add(m, &shares, i, end, shares.share[i].worker->cgroup);
	}
	shares_deinit(&shares);
}

void measure(struct run *run)
{
	size_t n_phases = run->scenario->n_steps + 1;
	_cleanup_free_ bool *phases = malloc(n_phases * sizeof(*phases));
	_cleanup_free_ struct pool *pool = malloc(sizeof(*pool));
	run->result->measurements = calloc(MEASUREMENTS_MAX, sizeof(*run->result->measurements));
	if (!phases || !pool || !run->result->measurements) {
		run_note(run, "there was no memory for measurements");
		return;
	}
	struct measuring m = {.run = run, .pool = pool};
	memset(phases, true, n_phases * sizeof(*phases));
	measure_phases(&m, phases, n_phases);
	for (size_t i = 0; i < n_phases; i++) {
		Schedrig__V1__PhaseRef phase = SCHEDRIG__V1__PHASE_REF__INIT;
		phase.number = (uint32_t)i;
		m.phase = &phase;
		memset(phases, false, n_phases * sizeof(*phases));
		phases[i] = true;
		measure_phases(&m, phases, n_phases);
	}
	if (m.dropped) {
		char note[120];
		snprintf(note, sizeof(note), "measurements of later phases are left out: %zu more than %d",
			m.dropped, MEASUREMENTS_MAX);
		run_note(run, note);
	}
}
