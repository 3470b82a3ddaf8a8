/* SPDX-License-Identifier: GPL-2.0-only */
/* Gaps that the host made, from its account of a vCPU to the verdict, against a scripted agent. Its clock is
 * the host's, less a constant. */
#include "bench.h"
#include "common/clock.h"
#include "fake_agent.h"
#include "host/engine/engine.h"
#include "link_bench.h"
#include "proto/pb.h"

#include <pthread.h>
#include <time.h>

#define AHEAD_NS (3 * NS_PER_S)
/* A quarter of it is more than the best of eight round trips takes on any machine. */
#define LEAST_GAP_NS (2 * NS_PER_S)
#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name

struct rig {
	struct link_bench bench;
	struct fake_agent agent;
	struct engine *engine;
	pthread_mutex_t lock;
	uint64_t looked_ns, looks; /* [lock] at vCPU 0 */
	uint64_t taken_ns;         /* [lock] of vCPU 2 */
	bool no_account;
	uint32_t cpu; /* on which the worker's gap ends */
	bool moved, guest_knows, confused;
	uint64_t gap_ns; /* what was reported */
	/* The end of the step is answered after so many questions for the time that came meanwhile; these get
	 * no answer. */
	unsigned questions_due;
	bool ignores_them;
	uint64_t step_end, ask_clock_ns;
};

static int host_time(void *arg, unsigned vcpu, struct host_time *ret)
{
	struct rig *rig = arg;
	if (rig->no_account)
		return -1;
	SCOPE_LOCK(&rig->lock);
	if (vcpu == 0) {
		rig->looked_ns = clock_now_ns();
		rig->looks++;
	}
	*ret = (struct host_time){.wait_ns = vcpu == 2 ? rig->taken_ns : 0};
	return 0;
}

static void answer_totals(struct rig *rig, uint64_t seq)
{
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__WorkerTotals totals = SCHEDRIG__V1__WORKER_TOTALS__INIT;
	totals.now_ns = rig->confused ? seq : clock_now_ns() - AHEAD_NS;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS;
	response.totals = &totals;
	fake_agent_answer(&rig->agent, seq, &response);
}

/* Until there were two more looks, and how late the second one was. */
static uint64_t await_looks(struct rig *rig, uint64_t since_ns)
{
	pthread_mutex_lock(&rig->lock);
	uint64_t begin_ns = clock_now_ns(), until = rig->looks + 2;
	while (rig->looks < until) {
		pthread_mutex_unlock(&rig->lock);
		cr_assert_lt(clock_now_ns() - begin_ns, 50 * NS_PER_S, "nobody looks");
		struct timespec ts = {.tv_nsec = 1000000};
		nanosleep(&ts, NULL);
		pthread_mutex_lock(&rig->lock);
	}
	uint64_t late_ns = rig->looked_ns - since_ns;
	pthread_mutex_unlock(&rig->lock);
	return late_ns;
}

/* The host takes everything of vCPU 2 from begin_ns on, and no look falls between that and the end. */
static uint64_t take_all(struct rig *rig, uint64_t begin_ns, uint64_t taken_ns)
{
	SCOPE_LOCK(&rig->lock);
	uint64_t end_ns = clock_now_ns();
	rig->taken_ns = taken_ns + (end_ns - begin_ns);
	return end_ns;
}

/* Until the account tells well how long that was: looks that came late, as they may on a busy machine, are
 * followed by others. */
static uint64_t hold_back(struct rig *rig, uint64_t begin_ns)
{
	uint64_t end_ns, late_ns, taken_ns = rig->taken_ns;
	if (rig->no_account)
		return begin_ns + NS_PER_MS; /* any gap will do */
	do {
		uint64_t before_ns;
		do {
			late_ns = await_looks(rig, begin_ns);
			before_ns = clock_now_ns() - begin_ns;
		} while (before_ns < LEAST_GAP_NS || before_ns - late_ns > before_ns / 20);
		end_ns = take_all(rig, begin_ns, taken_ns);
		late_ns = await_looks(rig, end_ns);
	} while (late_ns > (end_ns - begin_ns) / 8);
	return end_ns;
}

/* vCPU 2 is held back from now on, until after some looks. */
static void answer_end(struct rig *rig, uint64_t seq)
{
	uint64_t begin_ns = clock_now_ns(), end_ns = hold_back(rig, begin_ns);
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Teardown teardown = SCHEDRIG__V1__TEARDOWN__INIT;
	Schedrig__V1__WorkerReport worker = SCHEDRIG__V1__WORKER_REPORT__INIT, *workers[] = {&worker};
	Schedrig__V1__PhasePart part = SCHEDRIG__V1__PHASE_PART__INIT, *parts[] = {&part};
	Schedrig__V1__Migration move = SCHEDRIG__V1__MIGRATION__INIT, *moves[] = {&move};
	Schedrig__V1__GapRunTime known = SCHEDRIG__V1__GAP_RUN_TIME__INIT;
	rig->gap_ns = end_ns - begin_ns;
	worker.pid = worker.tid = 100;
	worker.comm = worker.work_type = (char *)"spin_wait";
	worker.units = part.units = 1000;
	worker.wall_ns = part.wall_ns = worker.cpu_ns = part.cpu_ns = NS_PER_S;
	worker.started_phase = part.phase = 1;
	worker.max_gap_ns = part.max_gap_ns = rig->gap_ns;
	worker.max_gap_at_ns = part.max_gap_at_ns = end_ns - AHEAD_NS;
	worker.max_gap_cpu = part.max_gap_cpu = rig->cpu;
	worker.phases = parts;
	worker.n_phases = 1;
	move.at_ns = worker.max_gap_at_ns;
	worker.migrations = worker.n_migrated = rig->moved;
	worker.migrated = moves;
	known.ns = 12345;
	part.max_gap_run = rig->guest_knows ? &known : NULL;
	teardown.workers = workers;
	teardown.n_workers = 1;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
	response.teardown = &teardown;
	fake_agent_answer(&rig->agent, seq, &response);
}

static void answer_end_of_nobody(struct rig *rig, uint64_t seq)
{
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Teardown teardown = SCHEDRIG__V1__TEARDOWN__INIT;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
	response.teardown = &teardown;
	fake_agent_answer(&rig->agent, seq, &response);
}

static void answer_question(struct rig *rig, uint64_t seq)
{
	if (!rig->step_end || !rig->ignores_them)
		answer_totals(rig, seq);
	if (!rig->step_end || --rig->questions_due)
		return;
	answer_end_of_nobody(rig, rig->step_end);
	rig->step_end = 0;
}

static bool answer(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	struct rig *rig = arg;
	if (request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS)
		answer_question(rig, seq);
	else if (request->kind_case != SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP)
		return false;
	else if (rig->questions_due)
		rig->step_end = seq;
	else
		answer_end(rig, seq);
	return true;
}

static void rig_start(struct rig *rig)
{
	pthread_mutex_init(&rig->lock, NULL);
	rig->agent.request = answer;
	rig->agent.arg = rig;
	link_bench_start(&rig->bench, 4);
	link_bench_accept(&rig->bench, fake_agent_start(&rig->agent));
	cr_assert(link_bench_wait(&rig->bench, 1, 0));
	struct engine_config config = {.layout = &rig->bench.layout,
		.link = rig->bench.link,
		.host_time = host_time,
		.arg = rig,
		.ask_clock_ns = rig->ask_clock_ns};
	rig->engine = engine_new(&config, NULL);
	cr_assert_not_null(rig->engine);
}

static void rig_stop(struct rig *rig)
{
	engine_free(rig->engine);
	fake_agent_stop(&rig->agent);
	link_bench_stop(&rig->bench);
	pthread_mutex_destroy(&rig->lock);
}

#define GAPS_COUNT(more) "duration: 10ms\nsteps: [{hold: {fixed: 1ms}}]\nassertions: {max_gap: 1us" more "}\n"

/* The worker's report in a result that has this verdict and says that. */
static Schedrig__V1__RunResult *run_for(
	struct rig *rig, Schedrig__V1__VerdictKind verdict, const char *text, const char *says)
{
	Schedrig__V1__Scenario *scenario = bench_scenario(text);
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_run(rig->engine, scenario, &result, &err), 0, "%s: %s", err.place, err.message);
	pb_free(scenario);
	cr_assert_eq(result->verdict->verdict, verdict, "%s", result->verdict->summary);
	cr_assert(strstr(result->verdict->summary, says), "'%s' does not say '%s'", result->verdict->summary,
		says);
	cr_assert_eq(result->n_workers, 1);
	return result;
}

static bool has_metric(const Schedrig__V1__RunResult *result, const char *name, double *ret)
{
	cr_assert_gt(result->n_measurements, 0);
	for (size_t i = 0; i < result->measurements[0]->n_metrics; i++) {
		if (strcmp(result->measurements[0]->metrics[i]->name, name) != 0)
			continue;
		*ret = result->measurements[0]->metrics[i]->value;
		return true;
	}
	return false;
}

Test(gap_run, the_hosts_doing_is_not_the_guests, .timeout = 120)
{
	struct rig rig = {.cpu = 2};
	double metric;
	rig_start(&rig);
	Schedrig__V1__RunResult *result =
		run_for(&rig, VERDICT(INCONCLUSIVE), GAPS_COUNT(""), "the host's doing");
	const Schedrig__V1__GapRunTime *whole = result->workers[0]->max_gap_run,
				       *part = result->workers[0]->phases[0]->max_gap_run;
	cr_assert(whole && part);
	cr_expect(whole->by_host && part->by_host);
	cr_expect_eq(part->ns + part->stolen_ns, rig.gap_ns);
	cr_expect_leq(part->ns, part->error_ns, "all of it is the host's");
	cr_expect_leq(part->error_ns, rig.gap_ns / 4);
	cr_expect_eq(whole->ns, part->ns);
	cr_assert(has_metric(result, "gap_run", &metric));
	cr_expect_eq(metric, (double)whole->ns);
	pb_free(result);
	/* Who wants to hear of it all the same. */
	pb_free(run_for(&rig, VERDICT(FAIL), GAPS_COUNT(", max_steal_pct: 100"), "got nothing done"));
	rig_stop(&rig);
}

Test(gap_run, the_guests_doing_stays_the_guests, .timeout = 120)
{
	struct rig rig = {.cpu = 1};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run_for(&rig, VERDICT(FAIL), GAPS_COUNT(""), "own run time");
	const Schedrig__V1__GapRunTime *run = result->workers[0]->phases[0]->max_gap_run;
	cr_assert_not_null(run);
	cr_expect_geq(run->ns + run->error_ns, rig.gap_ns);
	cr_expect_leq(run->stolen_ns, run->error_ns);
	pb_free(result);
	rig_stop(&rig);
}

/* What is not known is not said, and the gap counts. */
Test(gap_run, what_nobody_knows, .timeout = 120)
{
	struct {
		const char *why;
		struct rig rig;
	} cases[] = {
		{"it came from another CPU meanwhile", {.cpu = 2, .moved = true}},
		{"there is no such vCPU", {.cpu = 4}},
		{"the guest's clock makes no sense", {.cpu = 2, .confused = true}},
		{"this host keeps no account", {.cpu = 2, .no_account = true}},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig *rig = &cases[i].rig;
		double metric;
		rig_start(rig);
		Schedrig__V1__RunResult *result =
			run_for(rig, VERDICT(FAIL), GAPS_COUNT(""), "got nothing done");
		cr_expect_null(result->workers[0]->max_gap_run, "%s", cases[i].why);
		cr_expect_null(result->workers[0]->phases[0]->max_gap_run, "%s", cases[i].why);
		cr_expect_not(has_metric(result, "gap_run", &metric), "%s", cases[i].why);
		pb_free(result);
		rig_stop(rig);
	}
}

Test(gap_run, a_guest_that_knows_is_believed, .timeout = 120)
{
	struct rig rig = {.cpu = 1, .guest_knows = true};
	rig_start(&rig);
	Schedrig__V1__RunResult *result =
		run_for(&rig, VERDICT(FAIL), GAPS_COUNT(""), "(12.3us of its vCPU's own run time)");
	cr_expect_eq(result->workers[0]->phases[0]->max_gap_run->ns, 12345);
	cr_expect(!result->workers[0]->phases[0]->max_gap_run->by_host);
	cr_expect(result->workers[0]->max_gap_run->by_host, "of the whole it said nothing");
	pb_free(result);
	rig_stop(&rig);
}

/* While nothing else is asked of the agent. */
static void play_a_step(struct rig *rig)
{
	rig_start(rig);
	Schedrig__V1__Scenario *scenario = bench_scenario("duration: 10ms\nsteps: [{hold: {fixed: 1ms}}]\n");
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_run(rig->engine, scenario, &result, &err), 0, "%s: %s", err.place, err.message);
	cr_expect_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_expect_eq(rig->questions_due, 0);
	pb_free(scenario);
	pb_free(result);
	rig_stop(rig);
}

Test(gap_run, the_guests_clock_is_asked_for_while_a_step_lasts, .timeout = 120)
{
	struct rig rig = {.questions_due = 5, .ask_clock_ns = NS_PER_MS};
	play_a_step(&rig);
}

Test(gap_run, nobody_waits_for_a_clock_that_is_not_told, .timeout = 120)
{
	struct rig rig = {.questions_due = 1, .ignores_them = true, .ask_clock_ns = NS_PER_MS};
	play_a_step(&rig);
}
