/* SPDX-License-Identifier: GPL-2.0-only */
/* Set-ups that are made when a step begins: templates against layouts, clients against a scripted agent. */
#include "bench.h"
#include "common/clock.h"
#include "fake_agent.h"
#include "host/engine/engine.h"
#include "host/engine/factory.h"
#include "link_bench.h"
#include "proto/pb.h"

#include <pthread.h>

static struct setup expand(const char *step)
{
	struct cpu_layout layout = bench_layout();
	struct err err = ERR_INIT;
	struct setup setup;
	Schedrig__V1__Scenario *s = bench_scenario(step);
	cr_assert_eq(factory_expand(s->steps[0]->factory, &layout, &setup, &err), 0, "%s", err.message);
	pb_free(s);
	return setup;
}

Test(factory, one_for_each)
{
	struct setup setup = expand(
		"steps: [{factory: {for_each: llc, cgroups: [{name: 'l{index}/x{index}', cpuset: each, "
		"work: [{comm: 'w{index}'}]}, {name: 'plain{index}', cpuset: {llc: 0}}]}}]\n");
	cr_assert_eq(setup.n, 8);
	cr_assert_str_eq(setup.def[6]->name, "l3/x3");
	cr_assert_str_eq(setup.def[6]->cpuset->exact->list, "6-7");
	cr_assert_str_eq(setup.def[6]->work[0]->comm, "w3");
	cr_assert_str_eq(setup.def[7]->name, "plain3");
	cr_assert_eq(setup.def[7]->cpuset->form_case, SCHEDRIG__V1__CPUSET_SPEC__FORM_LLC);
	setup_deinit(&setup);
	setup = expand("steps: [{factory: {for_each: numa, cgroups: [{name: 'n{index}', cpuset: each}]}}]\n");
	cr_assert_eq(setup.n, 2);
	cr_assert_str_eq(setup.def[1]->cpuset->exact->list, "4-7");
	setup_deinit(&setup);
	setup = expand("steps: [{factory: {for_each: core, cgroups: [{name: 'n{index}', cpuset: each}]}}]\n");
	cr_assert_eq(setup.n, 8);
	setup_deinit(&setup);
	setup = expand("steps: [{factory: {for_each: cpu, cgroups: [{name: 'n{index}', cpuset: each}]}}]\n");
	cr_assert_eq(setup.n, 8);
	cr_assert_str_eq(setup.def[5]->cpuset->exact->list, "5");
	setup_deinit(&setup);
}

Test(factory, nodes_of_memory_alone_are_no_place)
{
	struct cpu_layout layout = bench_layout();
	struct err err = ERR_INIT;
	struct setup setup;
	layout.n_nodes = 3;
	Schedrig__V1__Scenario *s = bench_scenario(
		"steps: [{factory: {for_each: numa, cgroups: [{name: 'n{index}', cpuset: each}]}}]\n");
	cr_assert_eq(factory_expand(s->steps[0]->factory, &layout, &setup, &err), 0);
	cr_assert_eq(setup.n, 2);
	setup_deinit(&setup);
	pb_free(s);
}

static void expect_mistake(const char *yaml, bool with_layout, const char *place, const char *says)
{
	struct cpu_layout layout = bench_layout();
	Schedrig__V1__Scenario *s = bench_scenario(yaml);
	Schedrig__V1__ValidateResponse *response = NULL;
	cr_assert_eq(engine_validate(s, with_layout ? &layout : NULL, NULL, &response, NULL), 0);
	if (!place) {
		cr_assert_eq(response->n_errors, 0, "%s: %s", response->errors[0]->place,
			response->errors[0]->message);
	} else {
		cr_assert_geq(response->n_errors, 1, "%s", yaml);
		cr_assert_str_eq(response->errors[0]->place, place, "%s", response->errors[0]->message);
		cr_assert(strstr(response->errors[0]->message, says), "%s", response->errors[0]->message);
	}
	pb_free(response);
	pb_free(s);
}

Test(factory, is_validated)
{
	expect_mistake(
		"steps: [{setup: [{name: a}], factory: {for_each: llc, cgroups: [{name: '{index}'}]}}]\n",
		true, "steps[0].factory", "not both");
	expect_mistake("steps: [{factory: {cgroups: [{name: a}]}}]\n", true, "steps[0].factory", "for_each");
	expect_mistake("steps: [{factory: {for_each: llc, cgroups: []}}]\n", true, "steps[0].factory.cgroups",
		"no def");
	expect_mistake("steps: [{factory: {for_each: llc, client: {name: x}}}]\n", true,
		"steps[0].factory.client", "leave");
	/* The same name twice, which a machine of one cache would not show. */
	expect_mistake("steps: [{factory: {for_each: llc, cgroups: [{name: a, cpuset: each}]}}]\n", true,
		"steps[0].factory.cgroups[0].name", "exists already");
	expect_mistake("steps: [{factory: {for_each: llc, cgroups: [{name: a, cpuset: each}]}}]\n", false,
		NULL, NULL);
	expect_mistake("steps: [{factory: {for_each: llc, cgroups: [{name: ../a}]}}]\n", false,
		"steps[0].factory.cgroups[0].name", "'..'");
	expect_mistake("steps: [{setup: [{name: a, cpuset: each}]}]\n", true, "steps[0].setup[0].cpuset",
		"no factory");
	/* Its cgroups are there for the ops of a loop, not for those of another step. */
	expect_mistake("steps: [{factory: {for_each: cpu, cgroups: [{name: 'c{index}'}]}, ops: "
		       "[{clear_cpuset: c7}], hold: "
		       "{loop: 1s}}]\n",
		true, NULL, NULL);
	expect_mistake("steps: [{factory: {for_each: cpu, cgroups: [{name: 'c{index}'}]}, ops: "
		       "[{clear_cpuset: c8}], hold: "
		       "{loop: 1s}}]\n",
		true, "steps[0].ops[0].cgroup", "no cgroup");
	expect_mistake(
		"steps: [{factory: {client: {name: x}}, ops: [{clear_cpuset: any}], hold: {loop: 1s}}]\n",
		true, NULL, NULL);
	expect_mistake("steps: [{factory: {client: {name: x}}}, {ops: [{clear_cpuset: any}]}]\n", true,
		"steps[1].ops[0].cgroup", "no cgroup");
}

/* ---- clients */

struct rig {
	struct link_bench bench;
	struct fake_agent agent;
	struct engine *engine;
	const char *cgroup; /* of the answer; NULL: there is none */
	const char *refused;
	unsigned asked;
	uint64_t number;
	pthread_t thread;
	bool answering;
	int answered[2];
};

static Schedrig__V1__FactoryAnswer *answer_of(const struct rig *rig)
{
	Schedrig__V1__FactoryAnswer *answer = calloc(1, sizeof(*answer));
	schedrig__v1__factory_answer__init(answer);
	answer->ask = rig->number;
	if (rig->refused)
		answer->refused = strdup(rig->refused);
	if (!rig->cgroup)
		return answer;
	answer->cgroups = calloc(1, sizeof(*answer->cgroups));
	answer->cgroups[0] = calloc(1, sizeof(*answer->cgroups[0]));
	schedrig__v1__cgroup_def__init(answer->cgroups[0]);
	answer->cgroups[0]->name = strdup(rig->cgroup);
	answer->n_cgroups = 1;
	return answer;
}

/* As the controller's loop does: not within the event, and once too often. */
static void *answer_it(void *arg)
{
	struct rig *rig = arg;
	for (int i = 0; i < 2; i++) {
		struct err err = ERR_INIT;
		Schedrig__V1__FactoryAnswer *answer = answer_of(rig);
		rig->answered[i] = engine_factory_answer(rig->engine, answer, &err);
		if (rig->answered[i] < 0)
			pb_free(answer);
	}
	return NULL;
}

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct rig *rig = arg;
	if (event->kind_case != SCHEDRIG__V1__EVENT__KIND_FACTORY_ASK)
		return;
	const Schedrig__V1__FactoryAsk *ask = event->factory_ask;
	rig->asked++;
	rig->number = ask->ask;
	cr_assert_str_eq(ask->factory, "mine");
	cr_assert_eq(ask->step, 0);
	cr_assert_eq(ask->layout->n_cpus, 8);
	cr_assert_eq(ask->layout->llcs, 4);
	cr_assert_eq(ask->seed, 7);
	cr_assert_eq(ask->duration_ns, 100 * NS_PER_MS);
	cr_assert_eq(ask->workers_per_cgroup, 3);
	if (rig->answering)
		cr_assert_eq(pthread_create(&rig->thread, NULL, answer_it, rig), 0);
}

static Schedrig__V1__RunResult *run(struct rig *rig, const char *deadline)
{
	static const char *const staged[] = {NULL};
	char yaml[400];
	link_bench_start(&rig->bench, 8);
	link_bench_accept(&rig->bench, fake_agent_start(&rig->agent));
	cr_assert(link_bench_wait(&rig->bench, 1, 0));
	struct engine_config config = {.layout = &rig->bench.layout,
		.topology = "2n4l2c1t",
		.link = rig->bench.link,
		.staged = staged,
		.event = on_event,
		.arg = rig};
	config.layout = malloc(sizeof(*config.layout));
	*(struct cpu_layout *)config.layout = bench_layout();
	rig->engine = engine_new(&config, NULL);
	snprintf(yaml, sizeof(yaml),
		"duration: 100ms\nseed: 7\nworkers_per_cgroup: 3\nsteps: [{factory: {client: {name: mine, "
		"deadline: %s}}, hold: "
		"{fixed: \"0\"}}]\n",
		deadline);
	Schedrig__V1__Scenario *scenario = bench_scenario(yaml);
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_run(rig->engine, scenario, &result, &err), 0, "%s: %s", err.place, err.message);
	pb_free(scenario);
	if (rig->answering)
		pthread_join(rig->thread, NULL);
	cr_assert_eq(rig->asked, 1);
	engine_free(rig->engine);
	free((void *)config.layout);
	fake_agent_stop(&rig->agent);
	link_bench_stop(&rig->bench);
	return result;
}

#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name

Test(client_factory, its_cgroups_are_the_set_up)
{
	struct rig rig = {.cgroup = "made", .answering = true};
	Schedrig__V1__RunResult *result = run(&rig, "1h");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_assert_eq(result->n_ops, 1);
	cr_assert_str_eq(result->ops[0]->place, "steps[0].setup[0]");
	cr_assert_eq(rig.answered[0], 0);
	cr_assert_lt(rig.answered[1], 0, "an answer counts once");
	pb_free(result);
}

Test(client_factory, an_empty_set_up_is_one)
{
	struct rig rig = {.answering = true};
	Schedrig__V1__RunResult *result = run(&rig, "1h");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_assert_eq(result->n_ops, 0);
	pb_free(result);
}

static void expect_failure(struct rig *rig, const char *deadline, const char *place, const char *says)
{
	Schedrig__V1__RunResult *result = run(rig, deadline);
	const Schedrig__V1__VerdictPart *part = result->verdict->parts[0];
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL), "%s", result->verdict->summary);
	cr_assert_str_eq(part->kind, "op_error");
	cr_assert_str_eq(part->place, place, "%s", part->message);
	cr_assert(strstr(part->message, says), "%s", part->message);
	pb_free(result);
}

Test(client_factory, what_is_no_set_up_fails_the_step)
{
	struct rig rig = {.cgroup = "../out", .answering = true};
	expect_failure(&rig, "1h", "steps[0].setup[0].name", "no set-up for this step");
}

Test(client_factory, refused)
{
	struct rig rig = {.refused = "no such factory", .answering = true};
	expect_failure(&rig, "1h", "steps[0].factory", "no such factory");
}

Test(client_factory, late)
{
	struct rig rig = {0};
	expect_failure(&rig, "10ms", "steps[0].factory", "did not answer");
}
