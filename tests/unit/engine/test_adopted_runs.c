/* SPDX-License-Identifier: GPL-2.0-only */
/* What clients end counts for the scenario, and the step, in which it ended; without an agent. */
#include "bench.h"
#include "common/clock.h"
#include "host/engine/adopted.h"
#include "host/engine/engine.h"
#include "host/engine/engine_internal.h"
#include "proto/pb.h"

static struct cpu_layout layout;
static struct engine *engine;
static Schedrig__V1__Scenario *scenario;
static struct run run;

static void setup(void)
{
	layout = bench_layout();
	struct engine_config config = {.layout = &layout, .topology = "2n4l2c1t"};
	engine = engine_new(&config, NULL);
	cr_assert_not_null(engine);
	scenario = bench_scenario(
		"payloads: [{name: bench, program: sh, checks: [{min: {metric: m, value: 1}, stop: "
		"true}]}]\nsteps: [{}]\n");
	run = (struct run){.engine = engine, .scenario = scenario, .result = malloc(sizeof(*run.result))};
	schedrig__v1__run_result__init(run.result);
	run.result->verdict = malloc(sizeof(*run.result->verdict));
	schedrig__v1__verdict__init(run.result->verdict);
}

static void teardown(void)
{
	engine_free(engine);
	pb_free(run.result);
	pb_free(scenario);
}

TestSuite(adopted_runs, .init = setup, .fini = teardown, .timeout = 60);

/* As the agent tells of a payload that the scenario started. */
static void take(uint64_t of)
{
	Schedrig__V1__PayloadReport *report = malloc(sizeof(*report));
	schedrig__v1__payload_report__init(report);
	report->name = strdup("bench");
	adopted_take(engine, of, report);
	pb_free(report);
}

Test(adopted_runs, what_ends_in_a_scenario_is_its)
{
	cr_assert_eq(adopted_hold(engine, "bench"), 0, "no scenario runs");
	adopted_begin(&run);
	engine_step_begin(engine);
	cr_assert_eq(adopted_hold(engine, "other"), 0);
	uint64_t of = adopted_hold(engine, "bench");
	cr_assert_neq(of, 0);
	take(of);
	cr_assert(engine_step_over(engine), "its check says so");
	adopted_release(engine);
	adopted_end(&run);
	cr_assert_eq(run.result->n_payloads, 1);
	cr_assert_eq(run.result->payloads[0]->n_failed_checks, 1);
	cr_assert_eq(run.result->verdict->n_parts, 0);
}

/* Too late for the one, and nothing to the other. */
Test(adopted_runs, what_comes_after_its_scenario_is_no_other_s)
{
	adopted_begin(&run);
	uint64_t of = adopted_hold(engine, "bench");
	engine->cancelled = true; /* its end does not wait for an answer that may never come */
	uint64_t begin_ns = clock_now_ns();
	adopted_end(&run);
	cr_assert_lt(clock_now_ns() - begin_ns, 25 * NS_PER_S);
	engine->cancelled = false;
	adopted_begin(&run);
	engine_step_begin(engine);
	take(of);
	adopted_release(engine);
	cr_assert_not(engine_step_over(engine));
	uint64_t next = adopted_hold(engine, "bench");
	cr_assert_gt(next, of);
	adopted_release(engine);
	adopted_end(&run);
	cr_assert_eq(run.result->n_payloads, 0);
	cr_assert_eq(engine->n_ending, 0);
}
