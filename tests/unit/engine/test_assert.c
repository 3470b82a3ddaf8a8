/* SPDX-License-Identifier: GPL-2.0-only */
/* Every assertion's rule over reports made up for it: holds, does not hold, cannot be known. No run, no
 * agent. */
#include "bench.h"
#include "common/clock.h"
#include "common/hist.h"
#include "host/engine/assertion_list.h"
#include "host/engine/assertions.h"
#include "host/engine/engine_internal.h"
#include "host/engine/expect.h"
#include "host/engine/pool.h"
#include "proto/pb.h"

#include <math.h>

#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name

/* A scenario of two steps, and what its workers are said to have done. */
struct made {
	struct cpu_layout layout;
	struct engine *engine;
	struct run run;
	Schedrig__V1__Scenario *scenario;
};

static void *zalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);
	cr_assert_not_null(p);
	return p;
}

static void made_begin(struct made *m, const char *yaml)
{
	m->layout = bench_layout();
	struct engine_config config = {.layout = &m->layout, .topology = "2n4l2c1t"};
	m->engine = engine_new(&config, NULL);
	cr_assert_not_null(m->engine);
	m->scenario = bench_scenario(yaml);
	Schedrig__V1__ValidateResponse *checked = NULL;
	cr_assert_eq(engine_validate(m->scenario, &m->layout, NULL, &checked, NULL), 0);
	cr_assert_eq(checked->n_errors, 0, "%s: %s", checked->n_errors ? checked->errors[0]->place : "",
		checked->n_errors ? checked->errors[0]->message : "");
	pb_free(checked);
	Schedrig__V1__RunResult *result = zalloc(1, sizeof(*result));
	schedrig__v1__run_result__init(result);
	result->verdict = zalloc(1, sizeof(*result->verdict));
	schedrig__v1__verdict__init(result->verdict);
	result->workers = zalloc(64, sizeof(*result->workers));
	result->steps = zalloc(m->scenario->n_steps, sizeof(*result->steps));
	for (size_t i = 0; i < m->scenario->n_steps; i++) {
		Schedrig__V1__StepResult *step = result->steps[result->n_steps++] = zalloc(1, sizeof(*step));
		schedrig__v1__step_result__init(step);
		step->index = (uint32_t)i;
		step->begin_ns = i * NS_PER_S;
		step->end_ns = (i + 1) * NS_PER_S;
	}
	m->run = (struct run){.engine = m->engine, .scenario = m->scenario, .name = "made", .result = result};
}

static void made_end(struct made *m)
{
	pb_free(m->run.result);
	pb_free(m->scenario);
	engine_free(m->engine);
}

/* One that lives through both steps, a second and 1000 units each, half of it on the CPU. */
static Schedrig__V1__WorkerReport *add_worker(struct made *m, const char *cgroup, const char *type)
{
	Schedrig__V1__RunResult *result = m->run.result;
	Schedrig__V1__WorkerReport *w = result->workers[result->n_workers++] = zalloc(1, sizeof(*w));
	schedrig__v1__worker_report__init(w);
	w->pid = 100 + (int32_t)result->n_workers;
	w->comm = strdup(type);
	w->work_type = strdup(type);
	w->cgroup = strdup(cgroup);
	w->cpus_used = strdup("0-3");
	w->started_phase = 1;
	w->phases = zalloc(m->scenario->n_steps, sizeof(*w->phases));
	for (size_t i = 0; i < m->scenario->n_steps; i++) {
		Schedrig__V1__PhasePart *part = w->phases[w->n_phases++] = zalloc(1, sizeof(*part));
		schedrig__v1__phase_part__init(part);
		part->phase = (uint32_t)i + 1;
		part->units = 1000;
		part->iterations = 100;
		part->cpu_ns = NS_PER_S / 2;
		part->wall_ns = NS_PER_S;
		part->max_gap_ns = 10 * NS_PER_MS;
		part->migrations = 1;
	}
	return w;
}

/* The whole is the sum of the parts, as a worker tells it. */
static void sum_up(Schedrig__V1__WorkerReport *w)
{
	w->units = w->iterations = w->cpu_ns = w->wall_ns = w->migrations = w->max_gap_ns = 0;
	for (size_t i = 0; i < w->n_phases; i++) {
		w->units += w->phases[i]->units;
		w->iterations += w->phases[i]->iterations;
		w->cpu_ns += w->phases[i]->cpu_ns;
		w->wall_ns += w->phases[i]->wall_ns;
		w->migrations += w->phases[i]->migrations;
		w->max_gap_ns = MAX_OF(w->max_gap_ns, w->phases[i]->max_gap_ns);
	}
}

/* n values, of which `rare` are `high` and the others `low`. */
static Schedrig__V1__Distribution *distribution(uint64_t n, uint64_t low, uint64_t rare, uint64_t high)
{
	Schedrig__V1__Distribution *d = zalloc(1, sizeof(*d));
	schedrig__v1__distribution__init(d);
	d->count = n;
	d->sum_ns = (n - rare) * low + rare * high;
	d->max_ns = rare ? high : low;
	d->buckets = zalloc(2, sizeof(*d->buckets));
	d->counts = zalloc(2, sizeof(*d->counts));
	d->buckets[0] = hist_bucket(low);
	d->counts[0] = n - rare;
	d->buckets[1] = hist_bucket(high);
	d->counts[1] = rare;
	d->n_buckets = d->n_counts = rare ? 2 : 1;
	return d;
}

static void set_steal(struct made *m, size_t step, uint64_t wait_ns)
{
	Schedrig__V1__StepResult *result = m->run.result->steps[step];
	result->host_ns = NS_PER_S;
	result->host = zalloc(1, sizeof(*result->host));
	result->host[0] = zalloc(1, sizeof(*result->host[0]));
	schedrig__v1__host_time__init(result->host[0]);
	result->n_host = 1;
	result->host[0]->vcpu = 3;
	result->host[0]->wait_ns = wait_ns;
}

/* A gap, its vCPU's own run time in it, and how far that may be off. */
static void set_gap(Schedrig__V1__PhasePart *part, uint64_t gap_ns, uint64_t run_ns, uint64_t error_ns)
{
	part->max_gap_ns = gap_ns;
	part->max_gap_run = zalloc(1, sizeof(*part->max_gap_run));
	schedrig__v1__gap_run_time__init(part->max_gap_run);
	part->max_gap_run->ns = run_ns;
	part->max_gap_run->stolen_ns = gap_ns - run_ns;
	part->max_gap_run->error_ns = error_ns;
	part->max_gap_run->by_host = true;
}

static const Schedrig__V1__VerdictPart *find(const struct made *m, const char *kind)
{
	const Schedrig__V1__Verdict *verdict = m->run.result->verdict;
	for (size_t i = 0; i < verdict->n_parts; i++)
		if (strcmp(verdict->parts[i]->kind, kind) == 0)
			return verdict->parts[i];
	cr_assert_fail("no %s: %s", kind, verdict->summary);
	return NULL;
}

/* Judges, and wants the worst finding of that kind to be so and to say that. */
static void expect_part(struct made *m, const char *kind, Schedrig__V1__VerdictKind want, const char *says)
{
	for (size_t i = 0; i < m->run.result->n_workers; i++)
		sum_up(m->run.result->workers[i]);
	run_judge(&m->run);
	const Schedrig__V1__VerdictPart *part = find(m, kind);
	cr_assert_eq(part->verdict, want, "%s: %d: %s", kind, part->verdict, part->message);
	cr_assert(strstr(part->message, says), "'%s' does not say '%s'", part->message, says);
	cr_assert_eq(m->run.result->verdict->verdict, want, "%s", m->run.result->verdict->summary);
}

#define STEPS                                                                                                \
	"backdrop: {cgroups: [{name: b, empty: true}, {name: c, empty: true}]}\n"                            \
	"payloads: [{name: p, program: p, output: json}]\n"                                                  \
	"steps: [{hold: {fixed: 1s}}, {hold: {fixed: 1s}}]\n"
#define GIVEN(yaml)                                                                                          \
	struct made m;                                                                                       \
	made_begin(&m, STEPS "assertions: " yaml "\n")
/* A test of one rule: workers are made by the statements, then the finding is looked at. */
#define RULE(name, yaml, kind, want, says, ...)                                                              \
	Test(assertion, name)                                                                                \
	{                                                                                                    \
		GIVEN(yaml);                                                                                 \
		__VA_ARGS__                                                                                  \
		expect_part(&m, kind, VERDICT(want), says);                                                  \
		made_end(&m);                                                                                \
	}

RULE(not_stuck_holds, "{not_stuck: {}}", "not_stuck", PASS, "", add_worker(&m, "a", "spin_wait");)
RULE(not_stuck_no_units, "{not_stuck: {}}", "not_stuck", FAIL, "did no work",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->units = w->phases[1]->units = 0;)
RULE(not_stuck_one_phase_without_units_is_not_stuck, "{not_stuck: {}}", "not_stuck", PASS, "",
	add_worker(&m, "a", "spin_wait")->phases[0]->units = 0;)
RULE(not_stuck_gap, "{not_stuck: {}}", "not_stuck", FAIL, "for 2.1s",
	add_worker(&m, "a", "spin_wait")->phases[1]->max_gap_ns = 2100 * NS_PER_MS;)
RULE(not_stuck_gap_at_the_limit, "{not_stuck: {}}", "not_stuck", PASS, "",
	add_worker(&m, "a", "spin_wait")->phases[1]->max_gap_ns = 2000 * NS_PER_MS;)
RULE(not_stuck_spread, "{not_stuck: {}}", "not_stuck", FAIL, "a spread of 20.0",
	add_worker(&m, "a", "spin_wait");
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->cpu_ns = w->phases[1]->cpu_ns = 700 * NS_PER_MS;)
RULE(not_stuck_spread_of_one_is_none, "{not_stuck: {}}", "not_stuck", PASS, "",
	add_worker(&m, "a", "spin_wait");)
RULE(not_stuck_missing_report, "{not_stuck: {}}", "not_stuck", INCONCLUSIVE, "never reported",
	add_worker(&m, "a", "spin_wait");
	add_worker(&m, "a", "spin_wait")->missing = true;)
RULE(not_stuck_nobody, "{not_stuck: {}}", "not_stuck", INCONCLUSIVE, "no worker ran", )
RULE(not_stuck_switched_off, "{not_stuck: {on: false}, isolation: {}}", "isolation", PASS, "",
	add_worker(&m, "a", "spin_wait")->phases[0]->units = 0;)

RULE(gap_holds, "{max_gap: 10ms}", "gap", PASS, "10ms", add_worker(&m, "a", "spin_wait");)
RULE(gap_fails, "{max_gap: 9ms}", "gap", FAIL, "others had gaps", add_worker(&m, "a", "spin_wait");
	add_worker(&m, "b", "spin_wait");)
RULE(gap_that_the_host_made, "{max_gap: 100ms}", "gap", INCONCLUSIVE, "the host's doing",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 50 * NS_PER_MS, 0);
	add_worker(&m, "b", "spin_wait");)
RULE(gaps_that_the_host_made, "{max_gap: 100ms}", "gap", INCONCLUSIVE, "others had such gaps",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 50 * NS_PER_MS, 0);
	set_gap(add_worker(&m, "b", "spin_wait")->phases[0], NS_PER_S, 100 * NS_PER_MS, 0);)
/* The other's is shorter, but the guest's own. */
RULE(gap_beside_one_that_the_host_made, "{max_gap: 100ms}", "gap", FAIL, "for 200ms: 100ms are allowed",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 50 * NS_PER_MS, 0);
	add_worker(&m, "b", "spin_wait")->phases[0]->max_gap_ns = 200 * NS_PER_MS;)
RULE(gap_of_which_the_host_made_a_part, "{max_gap: 100ms}", "gap", FAIL,
	"(150ms of its vCPU's own run time, give or take 49ms)",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 150 * NS_PER_MS, 49 * NS_PER_MS);)
RULE(gap_of_which_the_host_may_have_made_enough, "{max_gap: 100ms}", "gap", INCONCLUSIVE, "give or take 50ms",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 150 * NS_PER_MS, 50 * NS_PER_MS);)
/* The longer one of the same worker is the host's. */
RULE(gap_of_its_own_in_another_phase, "{max_gap: 2s}", "gap", FAIL,
	"for 3s (3s of its vCPU's own run time): 2s are allowed",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	set_gap(w->phases[0], 5 * NS_PER_S, 100 * NS_PER_MS, 0);
	set_gap(w->phases[1], 3 * NS_PER_S, 3 * NS_PER_S, 0);)
RULE(gap_that_is_not_known_in_another_phase, "{max_gap: 2s}", "gap", FAIL, "for 3s: 2s are allowed",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->max_gap_ns = 3 * NS_PER_S; set_gap(w->phases[1], 5 * NS_PER_S, 100 * NS_PER_MS, 0);)
RULE(gap_whoever_made_it, "{max_gap: 100ms, max_steal_pct: 100}", "gap", FAIL, "for 1s",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 50 * NS_PER_MS, 0);)
RULE(gap_within_the_limit_is_nobodys, "{max_gap: 1s}", "gap", PASS, "50ms of its vCPU's own",
	set_gap(add_worker(&m, "a", "spin_wait")->phases[0], NS_PER_S, 50 * NS_PER_MS, 0);)
RULE(gap_under_steal, "{max_gap: 9ms}", "gap", INCONCLUSIVE, "vCPU 3 waiting for 21 %",
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 1, 210 * NS_PER_MS);)
/* What the host took of the vCPU is not in its own run time. */
RULE(gap_in_run_time_under_steal, "{max_gap: 100ms}", "gap", FAIL,
	"for 500ms (400ms of its vCPU's own run time): 100ms are allowed",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	set_gap(w->phases[1], 500 * NS_PER_MS, 400 * NS_PER_MS, 0); w->phases[1]->max_gap_cpu = 3;
	set_steal(&m, 1, 900 * NS_PER_MS);)
/* Another vCPU is: the worker may have waited for somebody there. */
/* A longer one that nobody knows of may be the host's. */
RULE(gap_in_run_time_beside_one_not_known, "{max_gap: 100ms}", "gap", FAIL, "for 500ms (",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->max_gap_ns = 900 * NS_PER_MS;
	set_gap(w->phases[1], 500 * NS_PER_MS, 400 * NS_PER_MS, 0);
	add_worker(&m, "b", "spin_wait")->phases[0]->max_gap_ns = 900 * NS_PER_MS;
	w->phases[1]->max_gap_cpu = 3; set_steal(&m, 1, 900 * NS_PER_MS);)
RULE(gap_in_run_time_under_steal_of_another, "{max_gap: 100ms}", "gap", INCONCLUSIVE,
	"vCPU 3 waiting for 90 %", Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	set_gap(w->phases[1], 500 * NS_PER_MS, 400 * NS_PER_MS, 0); w->phases[1]->max_gap_cpu = 2;
	set_steal(&m, 1, 900 * NS_PER_MS);)
RULE(gap_with_a_host_that_is_fine, "{max_gap: 9ms}", "gap", FAIL, "got nothing done",
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 0, 200 * NS_PER_MS);)
RULE(gap_with_a_bound_of_steal, "{max_gap: 9ms, max_steal_pct: 50}", "gap", FAIL, "got nothing done",
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 1, 400 * NS_PER_MS);)
RULE(a_pass_needs_no_quiet_host, "{max_gap: 10ms}", "gap", PASS, "", add_worker(&m, "a", "spin_wait");
	set_steal(&m, 1, 900 * NS_PER_MS);)

RULE(spread_holds, "{max_spread_pct: 0}", "fairness", PASS, "", add_worker(&m, "a", "spin_wait");
	add_worker(&m, "a", "spin_wait");)
RULE(spread_fails, "{max_spread_pct: 5}", "fairness", FAIL, "spread of 10.0",
	add_worker(&m, "a", "spin_wait");
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->cpu_ns = w->phases[1]->cpu_ns = 600 * NS_PER_MS;)
RULE(spread_is_of_one_cgroup, "{max_spread_pct: 5}", "fairness", INCONCLUSIVE, "two workers",
	add_worker(&m, "a", "spin_wait");
	add_worker(&m, "b", "spin_wait");)
RULE(
	spread_of_short_lives, "{max_spread_pct: 5}", "fairness", INCONCLUSIVE, "two workers",
	for (int i = 0; i < 2; i++) {
		Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
		w->phases[0]->wall_ns = w->phases[1]->wall_ns = 99 * NS_PER_MS;
	})

RULE(isolation_holds, "{isolation: {}}", "isolation", PASS, "", add_worker(&m, "a", "spin_wait");)
RULE(isolation_fails, "{isolation: {}}", "isolation", FAIL, "CPU 7 when its cpuset was 0-1",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->trespasses = zalloc(1, sizeof(*w->trespasses)); w->n_trespasses = 1;
	w->trespasses[0] = zalloc(1, sizeof(*w->trespasses[0]));
	schedrig__v1__trespass__init(w->trespasses[0]); w->trespasses[0]->cpu = 7;
	w->trespasses[0]->phase = 2; w->trespasses[0]->allowed = strdup("0-1");)

/* 2000 and 2200 units per CPU-second: mean 2100, deviation 100. */
RULE(throughput_holds, "{max_throughput_cv: 0.048}", "throughput", PASS, "", add_worker(&m, "a", "spin_wait");
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->units = w->phases[1]->units = 1100;)
RULE(throughput_fails, "{max_throughput_cv: 0.047}", "throughput", FAIL, "varies by 0.048",
	add_worker(&m, "a", "spin_wait");
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->units = w->phases[1]->units = 1100;)
RULE(throughput_of_one, "{max_throughput_cv: 0.5}", "throughput", INCONCLUSIVE, "two workers",
	add_worker(&m, "a", "spin_wait");
	add_worker(&m, "a", "bursty");)
RULE(
	throughput_without_cpu_time, "{max_throughput_cv: 0.5}", "throughput", INCONCLUSIVE, "two workers",
	for (int i = 0; i < 2; i++) {
		Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
		w->phases[0]->cpu_ns = w->phases[1]->cpu_ns = 0;
	})
RULE(work_rate_holds, "{min_work_rate: 2000}", "throughput", PASS, "2000", add_worker(&m, "a", "spin_wait");)
RULE(work_rate_fails, "{min_work_rate: 2001}", "throughput", FAIL, "2000 units",
	add_worker(&m, "a", "spin_wait");)
RULE(work_rate_without_cpu_time, "{min_work_rate: 1}", "throughput", INCONCLUSIVE, "not known",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->cpu_ns = w->phases[1]->cpu_ns = 0;)
RULE(iteration_rate_holds, "{min_iteration_rate: 100}", "iteration_rate", PASS, "100",
	add_worker(&m, "a", "spin_wait");)
RULE(iteration_rate_fails, "{min_iteration_rate: 101}", "iteration_rate", FAIL, "100 iterations",
	add_worker(&m, "a", "spin_wait");)
RULE(iteration_rate_under_steal, "{min_iteration_rate: 101}", "iteration_rate", INCONCLUSIVE, "max_steal_pct",
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 0, NS_PER_S);)
RULE(iteration_rate_without_time, "{min_iteration_rate: 1}", "iteration_rate", INCONCLUSIVE, "not known",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->wall_ns = w->phases[1]->wall_ns = 0;)

/* 99 of 100 at 1 ms and one at 8 ms: nearest rank 99 is one of the 99. */
RULE(wake_p99_holds, "{max_p99_wake_latency: 1100us}", "wake_latency", PASS, "",
	add_worker(&m, "a", "bursty")->wake = distribution(100, NS_PER_MS, 1, 8 * NS_PER_MS);)
RULE(wake_p99_fails, "{max_p99_wake_latency: 7ms}", "wake_latency", FAIL, "cgroup a is 8ms",
	add_worker(&m, "a", "bursty")->wake = distribution(100, NS_PER_MS, 2, 8 * NS_PER_MS);)
RULE(wake_p99_pools_the_cgroup, "{max_p99_wake_latency: 1100us}", "wake_latency", PASS, "",
	add_worker(&m, "a", "bursty")->wake = distribution(50, NS_PER_MS, 1, 8 * NS_PER_MS);
	add_worker(&m, "a", "bursty")->wake = distribution(50, NS_PER_MS, 0, 0);)
RULE(wake_p99_counts_timers, "{max_p99_wake_latency: 7ms}", "wake_latency", FAIL, "8ms",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "bursty");
	w->wake = distribution(50, NS_PER_MS, 0, 0);
	w->timer = distribution(50, NS_PER_MS, 2, 8 * NS_PER_MS);)
RULE(wake_p99_too_few, "{max_p99_wake_latency: 1us}", "wake_latency", INCONCLUSIVE, "too few samples",
	add_worker(&m, "a", "bursty")->wake = distribution(99, NS_PER_MS, 0, 0);)
RULE(wake_p99_nobody_woken, "{max_p99_wake_latency: 1us}", "wake_latency", INCONCLUSIVE,
	"no worker was woken", add_worker(&m, "a", "spin_wait");)
RULE(wake_p99_lost_evidence, "{max_p99_wake_latency: 1s}", "wake_latency", INCONCLUSIVE, "is not known",
	Schedrig__V1__Distribution *d = add_worker(&m, "a", "bursty")->wake = distribution(
		200, NS_PER_MS, 0, 0);
	d->counts[0] = 10;)
RULE(wake_cv_holds, "{max_wake_latency_cv: 0.1}", "wake_latency", PASS, "",
	add_worker(&m, "a", "bursty")->wake = distribution(200, NS_PER_MS, 0, 0);)
RULE(wake_cv_fails, "{max_wake_latency_cv: 0.3}", "wake_latency", FAIL, "variation",
	add_worker(&m, "a", "bursty")->wake = distribution(200, NS_PER_MS, 100, 3 * NS_PER_MS);)
RULE(wake_cv_of_zeros, "{max_wake_latency_cv: 0.3}", "wake_latency", INCONCLUSIVE, "no worker was woken",
	add_worker(&m, "a", "bursty")->wake = distribution(200, 0, 0, 0);)

RULE(migrations_hold, "{max_migration_ratio: 0.01}", "migration", PASS, "0.01",
	add_worker(&m, "a", "spin_wait");)
RULE(migrations_fail, "{max_migration_ratio: 0.009}", "migration", FAIL, "cgroup a is 0.01",
	add_worker(&m, "a", "spin_wait");)
RULE(migrations_without_iterations, "{max_migration_ratio: 1}", "migration", INCONCLUSIVE, "no worker made",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	w->phases[0]->iterations = w->phases[1]->iterations = 0;)
RULE(migrations_need_no_quiet_host, "{max_migration_ratio: 0.009}", "migration", FAIL, "",
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 0, NS_PER_S);)

static void set_pages(Schedrig__V1__WorkerReport *w, uint64_t here, uint64_t there)
{
	w->numa_pages = zalloc(2, sizeof(*w->numa_pages));
	w->numa_pages[0] = here;
	w->numa_pages[1] = there;
	w->n_numa_pages = 2;
}

/* CPUs 0-3 are those of node 0. */
RULE(pages_hold, "{min_page_locality: 0.9}", "page_locality", PASS, "0.9",
	set_pages(add_worker(&m, "a", "spin_wait"), 90, 10);)
RULE(pages_fail, "{min_page_locality: 0.9}", "page_locality", FAIL, "cgroup a is 0.89",
	set_pages(add_worker(&m, "a", "spin_wait"), 89, 11);)
RULE(pages_of_a_worker_of_both_nodes, "{min_page_locality: 1}", "page_locality", PASS, "",
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "spin_wait");
	set_pages(w, 50, 50); free(w->cpus_used); w->cpus_used = strdup("3-4");)
RULE(pages_unknown, "{min_page_locality: 0.9}", "page_locality", INCONCLUSIVE, "no worker had pages",
	add_worker(&m, "a", "spin_wait");)

static void set_moves(struct made *m, size_t step, uint64_t moved)
{
	Schedrig__V1__StepResult *result = m->run.result->steps[step];
	result->pages_moved = zalloc(1, sizeof(*result->pages_moved));
	schedrig__v1__uint64_value__init(result->pages_moved);
	result->pages_moved->value = moved;
}

RULE(moves_hold, "{max_cross_node_migration_ratio: 0.1}", "page_locality", PASS, "moved 10 pages",
	set_pages(add_worker(&m, "a", "spin_wait"), 90, 10);
	set_moves(&m, 0, 4); set_moves(&m, 1, 6);)
RULE(moves_fail, "{max_cross_node_migration_ratio: 0.1}", "page_locality", FAIL, "too many",
	set_pages(add_worker(&m, "a", "spin_wait"), 90, 10);
	set_moves(&m, 0, 11);)
RULE(moves_unknown, "{max_cross_node_migration_ratio: 0.1}", "page_locality", INCONCLUSIVE, "is not known",
	set_pages(add_worker(&m, "a", "spin_wait"), 90, 10);)
RULE(moves_of_no_pages, "{max_cross_node_migration_ratio: 0.1}", "page_locality", INCONCLUSIVE,
	"nothing to count", add_worker(&m, "a", "spin_wait");
	set_moves(&m, 0, 4);)

#define DELTA(bounds) "{delta: [{metric: iterations, step: 1, against: 0, " bounds "}]}"
RULE(delta_holds, DELTA("min_change_pct: 10, max_change_pct: 30"), "expectation", PASS, "+20.0 %",
	add_worker(&m, "a", "spin_wait")->phases[1]->iterations = 120;)
RULE(delta_too_small, DELTA("min_change_pct: 21"), "expectation", FAIL, "at least +21.0 %",
	add_worker(&m, "a", "spin_wait")->phases[1]->iterations = 120;)
RULE(delta_too_large, DELTA("max_change_pct: -10"), "expectation", FAIL, "at most -10.0 %",
	add_worker(&m, "a", "spin_wait")->phases[1]->iterations = 91;)
RULE(delta_from_zero, DELTA("max_change_pct: 10"), "expectation", INCONCLUSIVE, "was 0 in step 0",
	add_worker(&m, "a", "spin_wait")->phases[0]->iterations = 0;)
RULE(delta_without_samples, "{delta: [{metric: wake_p99, step: 1, against: 0, max_change_pct: 10}]}",
	"expectation", INCONCLUSIVE, "nothing was measured", add_worker(&m, "a", "spin_wait");)
RULE(delta_of_a_cgroup, "{delta: [{metric: iterations, step: 1, against: 0, max_change_pct: 0, cgroup: b}]}",
	"expectation", PASS, "cgroup b", add_worker(&m, "a", "spin_wait")->phases[1]->iterations = 1000;
	add_worker(&m, "b", "spin_wait");)
RULE(delta_of_an_empty_cgroup,
	"{delta: [{metric: iterations, step: 1, against: 0, max_change_pct: 0, cgroup: c}]}", "expectation",
	INCONCLUSIVE, "no worker ran in cgroup c", add_worker(&m, "a", "spin_wait");)
RULE(delta_under_steal, DELTA("min_change_pct: 21"), "expectation", INCONCLUSIVE, "max_steal_pct",
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 0, NS_PER_S);)
RULE(delta_of_steps_that_did_not_run, DELTA("min_change_pct: 21"), "expectation", INCONCLUSIVE, "did not run",
	add_worker(&m, "a", "spin_wait");
	pb_free(m.run.result->steps[1]); m.run.result->n_steps = 1;)

/* A payload that a step's op (or the backdrop's) started and that said of itself: score N. */
static Schedrig__V1__PayloadReport *made_payload(const char *place, const char *cgroup, double score)
{
	Schedrig__V1__PayloadReport *report = zalloc(1, sizeof(*report));
	schedrig__v1__payload_report__init(report);
	report->name = strdup("p");
	report->place = strdup(place);
	report->cgroup = strdup(cgroup);
	report->exit = strdup("exited 0");
	report->metrics = zalloc(1, sizeof(*report->metrics));
	report->metrics[report->n_metrics++] = zalloc(1, sizeof(*report->metrics[0]));
	schedrig__v1__payload_metric__init(report->metrics[0]);
	report->metrics[0]->name = strdup("jobs.0.score");
	report->metrics[0]->unit = strdup("ops/s");
	report->metrics[0]->value = score;
	return report;
}

/* One that ended by itself is in the run's list, ... */
static void add_payload(struct made *m, const char *place, const char *cgroup, double score)
{
	Schedrig__V1__RunResult *result = m->run.result;
	if (!result->payloads)
		result->payloads = zalloc(8, sizeof(*result->payloads));
	result->payloads[result->n_payloads++] = made_payload(place, cgroup, score);
}

/* ... one that was waited for in the op's result. */
static void add_waited(struct made *m, const char *place, const char *cgroup, double score)
{
	Schedrig__V1__RunResult *result = m->run.result;
	if (!result->ops)
		result->ops = zalloc(8, sizeof(*result->ops));
	Schedrig__V1__OpResult *op = result->ops[result->n_ops++] = zalloc(1, sizeof(*op));
	schedrig__v1__op_result__init(op);
	op->payload = made_payload(place, cgroup, score);
}

#define SCORE(more) "{delta: [{payload: p, metric: jobs.0.score, step: 1, against: 0, " more "}]}"
RULE(delta_of_payload_holds, SCORE("min_change_pct: -10"), "expectation", PASS,
	"jobs.0.score of payload p was 100 ops/s in step 0 and 95 in step 1: a change of -5.0 %",
	add_payload(&m, "steps[0].ops[1]", "", 100);
	add_waited(&m, "steps[1].setup[0].payloads[0]", "", 95);)
RULE(delta_of_payload_fails, SCORE("min_change_pct: -10"), "expectation", FAIL, "at least -10.0 %",
	add_waited(&m, "steps[0].ops[1]", "", 100);
	add_payload(&m, "steps[1].ops[0]", "", 89);)
RULE(delta_of_payload_under_steal, SCORE("min_change_pct: -10"), "expectation", INCONCLUSIVE, "max_steal_pct",
	add_payload(&m, "steps[0].ops[1]", "", 100);
	add_payload(&m, "steps[1].ops[0]", "", 89); set_steal(&m, 1, NS_PER_S);)
RULE(delta_of_payload_in_a_cgroup, SCORE("max_change_pct: 0, cgroup: b"), "expectation", PASS, "of cgroup b",
	add_payload(&m, "steps[0].ops[0]", "b", 100);
	add_payload(&m, "steps[0].ops[1]", "c", 1); add_payload(&m, "steps[1].ops[0]", "b", 100);)
RULE(delta_of_copies, SCORE("max_change_pct: 0"), "expectation", INCONCLUSIVE, "say which by `cgroup`",
	add_payload(&m, "steps[0].ops[0]", "b", 100);
	add_payload(&m, "steps[0].ops[1]", "c", 1); add_payload(&m, "steps[1].ops[0]", "b", 100);)
/* Step 10 is not step 1, and the backdrop is no step. */
RULE(delta_of_payload_elsewhere, SCORE("max_change_pct: 0"), "expectation", INCONCLUSIVE,
	"no copy of payload 'p' was started by step 1", add_payload(&m, "steps[0].ops[0]", "", 100);
	add_payload(&m, "steps[10].ops[0]", "", 100); add_payload(&m, "backdrop.payloads[0]", "", 100);)
RULE(delta_of_a_metric_not_told, SCORE("max_change_pct: 0"), "expectation", INCONCLUSIVE,
	"did not tell it in step 0", add_payload(&m, "steps[0].ops[0]", "", 100);
	m.run.result->payloads[0]->metrics[0]->name[0] = 'x';)
RULE(delta_of_payload_from_zero, SCORE("max_change_pct: 0"), "expectation", INCONCLUSIVE, "was 0 in step 0",
	add_payload(&m, "steps[0].ops[0]", "", 0);
	add_payload(&m, "steps[1].ops[0]", "", 0);)
RULE(delta_of_what_is_no_number, SCORE("max_change_pct: 0"), "expectation", INCONCLUSIVE, "did not tell it",
	add_payload(&m, "steps[0].ops[0]", "", NAN);
	add_payload(&m, "steps[1].ops[0]", "", 1);)

/* ---- layers */

static Schedrig__V1__VerdictKind judge_text(const char *yaml, void (*make)(struct made *m))
{
	struct made m;
	made_begin(&m, yaml);
	make(&m);
	for (size_t i = 0; i < m.run.result->n_workers; i++)
		sum_up(m.run.result->workers[i]);
	run_judge(&m.run);
	Schedrig__V1__VerdictKind verdict = m.run.result->verdict->verdict;
	made_end(&m);
	return verdict;
}

static void slow_second_step(struct made *m)
{
	add_worker(m, "a", "spin_wait")->phases[1]->iterations = 10;
}

Test(assertion, later_layers_win_field_by_field)
{
	cr_assert_eq(judge_text(STEPS "assertions: {min_iteration_rate: 50}\n", slow_second_step),
		VERDICT(PASS), "110 in two seconds");
	cr_assert_eq(judge_text("steps: [{}, {assertions: {min_iteration_rate: 50}}]\n", slow_second_step),
		VERDICT(FAIL));
	cr_assert_eq(
		judge_text("steps: [{}, {assertions: {max_gap: 1s}}]\nassertions: {min_iteration_rate: 50}\n",
			slow_second_step),
		VERDICT(FAIL), "the scenario's holds for the step alone");
	cr_assert_eq(judge_text("steps: [{}, {assertions: {min_iteration_rate: 5}}]\n"
				"assertions: {min_iteration_rate: 50}\n",
			     slow_second_step),
		VERDICT(PASS));
	/* Lists make no layer: the rate is still that of both steps. */
	cr_assert_eq(judge_text("steps: [{}, {assertions: {delta: [{metric: gap, step: 1, against: 0, "
				"max_change_pct: 0}]}}]\nassertions: {min_iteration_rate: 50}\n",
			     slow_second_step),
		VERDICT(PASS));
}

Test(assertion, what_can_fail_is_an_assertion)
{
	Schedrig__V1__Scenario *s =
		bench_scenario("steps: [{assertions: {max_steal_pct: 5}}, {assertions: {not_stuck: "
			       "{on: false}}}, {assertions: {expect_kernel_log: [{class: oops, "
			       "never: true}]}}, {assertions: {max_gap: 1s}}]\n");
	cr_assert_not(assertions_any(NULL));
	cr_assert_not(assertions_any(s->steps[0]->assertions));
	cr_assert_not(assertions_any(s->steps[1]->assertions));
	cr_assert(assertions_any(s->steps[2]->assertions));
	cr_assert(assertions_any(s->steps[3]->assertions));
	cr_assert_not(assertions_govern(s->steps[2]->assertions));
	pb_free(s);
}

Test(assertion, the_list_for_people_is_the_schema)
{
	static const char *const names[] = {
#define X(name, parameter, unit, standard, rule) #name,
		ASSERTION_LIST(X)
#undef X
	};
	const ProtobufCMessageDescriptor *type = &schedrig__v1__assertions__descriptor;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		cr_expect(protobuf_c_message_descriptor_get_field_by_name(type, names[i]), "%s is no field",
			names[i]);
	for (unsigned i = 0; i < type->n_fields; i++) {
		bool listed = false;
		for (size_t k = 0; k < ARRAY_SIZE(names); k++)
			listed |= strcmp(names[k], type->fields[i].name) == 0;
		cr_expect(listed, "%s is not in assertion_list.h", type->fields[i].name);
	}
}

/* ---- measurements */

static double metric(const Schedrig__V1__Measurement *of, const char *name)
{
	for (size_t i = 0; i < of->n_metrics; i++)
		if (strcmp(of->metrics[i]->name, name) == 0)
			return of->metrics[i]->value;
	return NAN;
}

Test(measurements, are_pooled_from_raw)
{
	GIVEN("{not_stuck: {}}");
	Schedrig__V1__WorkerReport *one = add_worker(&m, "a", "bursty"), *two = add_worker(&m, "a", "bursty");
	add_worker(&m, "b", "spin_wait");
	/* One late wake-up among 1000, and ten workers' worth of early ones: averages of percentiles would
	 * see it. */
	one->wake = distribution(1000, NS_PER_MS, 500, 9 * NS_PER_MS);
	two->wake = distribution(9000, NS_PER_MS, 0, 0);
	two->request = distribution(1000, NS_PER_MS, 20, 5 * NS_PER_MS);
	one->phases[0]->iterations = 300;
	one->phases[0]->wall_ns = NS_PER_S / 2;
	for (size_t i = 0; i < m.run.result->n_workers; i++)
		sum_up(m.run.result->workers[i]);
	run_judge(&m.run);
	const Schedrig__V1__RunResult *result = m.run.result;
	/* all, a, b; and for each of two steps */
	cr_assert_eq(result->n_measurements, 9);
	const Schedrig__V1__Measurement *all = result->measurements[0], *a = result->measurements[1],
					*first = result->measurements[4];
	cr_assert_null(all->cgroup);
	cr_assert_null(all->phase);
	cr_assert_eq(all->workers, 3);
	cr_assert_str_eq(a->cgroup->name, "a");
	cr_assert_float_eq(metric(a, "iterations"), 600, 0);
	cr_assert_float_eq(metric(a, "iteration_rate"), 600 / 3.5, 1e-9);
	cr_assert_float_eq(metric(a, "wake_p99"), 9.0 * NS_PER_MS, 0.0, "95 %% are 1 ms, the others 9");
	cr_assert_leq(metric(a, "wake_p50"), 1.04 * NS_PER_MS);
	cr_assert_float_eq(metric(a, "wake_worst"), 9.0 * NS_PER_MS, 0);
	cr_assert_float_eq(metric(a, "request_p99"), 5.0 * NS_PER_MS, 0);
	cr_assert(isnan(metric(a, "timer_p99")), "nobody measured it");
	cr_assert(isnan(metric(a, "page_locality")));
	cr_assert_eq(first->phase->number, 1);
	cr_assert_str_eq(first->cgroup->name, "a");
	cr_assert_float_eq(metric(first, "iteration_rate"), 400 / 1.5, 1e-9);
	for (size_t i = 0; i < a->n_metrics; i++)
		if (strcmp(a->metrics[i]->name, "wake_p99") == 0) {
			cr_assert_eq(a->metrics[i]->samples, 10000);
			cr_assert_str_eq(a->metrics[i]->unit, "ns");
			cr_assert_eq(a->metrics[i]->better, SCHEDRIG__V1__BETTER__BETTER_LOWER);
		}
	made_end(&m);
}

Test(measurements, a_busy_host_is_noted)
{
	GIVEN("{not_stuck: {}}");
	add_worker(&m, "a", "spin_wait");
	set_steal(&m, 0, 100 * NS_PER_MS);
	set_steal(&m, 1, 430 * NS_PER_MS);
	expect_part(&m, "not_stuck", VERDICT(PASS), "");
	cr_assert_eq(m.run.result->n_notes, 1);
	cr_assert(strstr(m.run.result->notes[0], "vCPU 3 waiting for 43 %"), "%s", m.run.result->notes[0]);
	made_end(&m);
}

Test(measurements, hostile_reports)
{
	GIVEN("{max_p99_wake_latency: 1s, min_page_locality: 1}");
	Schedrig__V1__WorkerReport *w = add_worker(&m, "a", "bursty");
	w->wake = distribution(200, NS_PER_MS, 10, UINT64_MAX);
	w->wake->buckets[1] = UINT32_MAX;
	w->wake->n_counts = 1;
	w->phases[0]->wall_ns = w->phases[1]->wall_ns = UINT64_MAX;
	w->phases[0]->iterations = UINT64_MAX;
	w->phases[1]->phase = UINT32_MAX;
	set_pages(w, UINT64_MAX, UINT64_MAX);
	free(w->cpus_used);
	w->cpus_used = strdup("0-99999999");
	run_judge(&m.run);
	cr_assert_eq(m.run.result->verdict->verdict, VERDICT(INCONCLUSIVE));
	made_end(&m);
}

/* ---- the kernel's log */

static void log_line(struct made *m, const char *text, const char *class)
{
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	line.text = (char *)text;
	line.class_ = (char *)class;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG;
	event.kernel_log = &line;
	engine_emit(m->engine, &event);
}

static void log_of_second_step(struct made *m, const char *text, const char *class)
{
	m->engine->phase = 2;
	log_line(m, text, class);
	m->engine->phase = 0;
}

#define LOG_RULE(name, yaml, want, says, ...)                                                                \
	Test(kernel_log, name)                                                                               \
	{                                                                                                    \
		struct made m;                                                                               \
		made_begin(&m, yaml);                                                                        \
		cr_assert_eq(expect_begin(&m.run, NULL), 0);                                                 \
		__VA_ARGS__                                                                                  \
		expect_part(&m, "expectation", VERDICT(want), says);                                         \
		made_end(&m);                                                                                \
	}
#define LOG_STEP(what) "steps: [{}, {assertions: {expect_kernel_log: [" what "]}}]\n"

LOG_RULE(came, STEPS "assertions: {expect_kernel_log: [{contains: hello}]}\n", PASS, "oh hello there",
	 log_line(&m, "no", "");
	 log_line(&m, "oh hello there", ""); expect_scenario(&m.run);)
LOG_RULE(did_not_come, STEPS "assertions: {expect_kernel_log: [{contains: hello, class: oops}]}\n", FAIL,
	 "no line of class oops with 'hello'", log_line(&m, "hello", "");
	 m.run.stop = true; expect_scenario(&m.run);)
LOG_RULE(never_came, STEPS "assertions: {expect_kernel_log: [{class: oops, never: true}]}\n", PASS,
	 "had no line", log_line(&m, "hello", "");
	 expect_scenario(&m.run);)
LOG_RULE(never_but_came, STEPS "assertions: {expect_kernel_log: [{class: oops, never: true}]}\n", FAIL,
	 "and had 2, the first: boom", log_line(&m, "boom", "oops");
	 log_line(&m, "bang", "oops"); expect_scenario(&m.run);)
LOG_RULE(of_its_step, LOG_STEP("{contains: hello}"), PASS, "hello", log_of_second_step(&m, "hello", "");
	 expect_step(&m.run, 1);)
LOG_RULE(of_another_step, LOG_STEP("{contains: hello}"), FAIL, "in this step", log_line(&m, "hello", "");
	 m.run.stop = true; expect_step(&m.run, 1);)
LOG_RULE(of_a_step_that_never_was, LOG_STEP("{contains: hello}"), INCONCLUSIVE, "before this was due", )

static void *log_later(void *arg)
{
	log_line(arg, "hello", "");
	return NULL;
}

Test(kernel_log, is_waited_for)
{
	struct made m;
	pthread_t thread;
	made_begin(&m, STEPS "assertions: {expect_kernel_log: [{contains: hello}]}\n");
	cr_assert_eq(expect_begin(&m.run, NULL), 0);
	cr_assert_eq(pthread_create(&thread, NULL, log_later, &m), 0);
	expect_scenario(&m.run);
	expect_part(&m, "expectation", VERDICT(PASS), "hello");
	pthread_join(thread, NULL);
	made_end(&m);
}

/* ---- values */

#define READS                                                                                                \
	"steps: [{hold: {fixed: 1s}, ops: [{read_kernel_hot: [{tag: t, symbol: a, width: u64}]}]}, {hold: "  \
	"{fixed: 1s}}]\n"
#define VALUE_RULE(name, what, want, says, ...)                                                              \
	Test(value, name)                                                                                    \
	{                                                                                                    \
		struct made m;                                                                               \
		made_begin(&m, READS "assertions: {expect_value: [" what "]}\n");                            \
		__VA_ARGS__                                                                                  \
		expect_scenario(&m.run);                                                                     \
		read_tags_free(&m.run.tags);                                                                 \
		expect_part(&m, "expectation", VERDICT(want), says);                                         \
		made_end(&m);                                                                                \
	}
#define TAG(value) cr_assert_eq(read_tags_set(&m.run.tags, "t", value, 8, NULL), 0);

VALUE_RULE(eq, "{tag: t, eq: 5}", PASS, "is 5, which is == 5", TAG(5))
VALUE_RULE(not_eq, "{tag: t, eq: 5}", FAIL, "is 6, and should be == 5", TAG(6))
VALUE_RULE(ne, "{tag: t, ne: 5}", FAIL, "should be != 5", TAG(5))
VALUE_RULE(lt, "{tag: t, lt: 5}", FAIL, "should be < 5", TAG(5))
VALUE_RULE(le, "{tag: t, le: 5}", PASS, "<= 5", TAG(5))
VALUE_RULE(gt, "{tag: t, gt: -1}", PASS, "is 18446744073709551615", TAG(UINT64_MAX))
VALUE_RULE(ge, "{tag: t, ge: 5}", FAIL, "should be >= 5", TAG(4))
VALUE_RULE(never_read, "{tag: t, ge: 5}", INCONCLUSIVE, "nothing was read", )
VALUE_RULE(no_guest_to_read, "{symbol: jiffies_64, width: u64, ge: 5}", FAIL, "could not be read", )
