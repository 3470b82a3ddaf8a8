/* SPDX-License-Identifier: GPL-2.0-only */
/* Under ThreadSanitizer: scenarios that run one after another while others cancel them, lose the link, apply
 * ops of their own, end its payloads, and have things to tell, and while vCPUs are looked at. Every run ends
 * with a verdict, and what is on disk is whole and in order. */
#include "common/clock.h"
#include "fake_agent.h"
#include "host/engine/engine.h"
#include "link_bench.h"
#include "proto/pb.h"

#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNS 60u

static struct link_bench bench;
static struct engine *engine;
static atomic_bool stop;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void *tell(void *arg)
{
	char text[] = "something happened beside the run";
	while (!atomic_load(&stop)) {
		Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
		Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
		line.text = text;
		event.kind_case = SCHEDRIG__V1__EVENT__KIND_WARNING;
		event.warning = &line;
		engine_emit(engine, &event);
		usleep(200);
	}
	return NULL;
}

static void *interfere(void *arg)
{
	struct err lost = ERR_INIT;
	char name[200];
	err_set(&lost, ERR_AGENT_LOST, "for the test");
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		(void)engine_running(engine, name, sizeof(name));
		if (i % 3 == 0)
			engine_cancel(engine, "for the test");
		if (i % 5 == 0) {
			engine_link_lost(engine, &lost);
			engine_link_back(engine);
		}
		usleep(3000);
	}
	return NULL;
}

/* What a wait by others gets: a payload of the scenario's, if there is one. */
static bool answer_wait(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	char name[] = "p";
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__OpsDone done = SCHEDRIG__V1__OPS_DONE__INIT;
	Schedrig__V1__OpResult result = SCHEDRIG__V1__OP_RESULT__INIT, *results[] = {&result};
	Schedrig__V1__PayloadReport report = SCHEDRIG__V1__PAYLOAD_REPORT__INIT;
	if (request->kind_case != SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS ||
		request->apply_ops->ops[0]->op->kind_case != SCHEDRIG__V1__OP__KIND_WAIT_PAYLOAD)
		return false;
	report.name = name;
	result.payload = &report;
	done.n_results = 1;
	done.results = results;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE;
	response.ops_done = &done;
	fake_agent_answer(agent, seq, &response);
	return true;
}

static int host_time(void *arg, unsigned vcpu, struct host_time *ret)
{
	*ret = (struct host_time){.wait_ns = clock_now_ns()};
	return 0;
}

static void *wait_for(void *arg)
{
	char name[] = "p";
	Schedrig__V1__ApplyRequest request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	Schedrig__V1__WaitPayload wait = SCHEDRIG__V1__WAIT_PAYLOAD__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT, *ops[] = {&op};
	wait.name = name;
	op.kind_case = SCHEDRIG__V1__OP__KIND_WAIT_PAYLOAD;
	op.wait_payload = &wait;
	request.ops = ops;
	request.n_ops = 1;
	while (!atomic_load(&stop)) {
		struct err err = ERR_INIT;
		Schedrig__V1__ApplyResponse *response = NULL;
		if (engine_apply(engine, &request, NULL, &response, &err) < 0 && err.code != ERR_BUSY)
			fail(err.message);
		pb_free(response);
		usleep(1000);
	}
	return NULL;
}

static void *apply(void *arg)
{
	char name[] = "beside";
	Schedrig__V1__ApplyRequest request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT, *ops[] = {&op};
	add.name = name;
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	op.add_cgroup = &add;
	request.ops = ops;
	request.n_ops = 1;
	while (!atomic_load(&stop)) {
		struct err err = ERR_INIT;
		Schedrig__V1__ApplyResponse *response = NULL;
		if (engine_apply(engine, &request, NULL, &response, &err) < 0 && err.code != ERR_BUSY)
			fail(err.message);
		pb_free(response);
		if (engine_end_adhoc(engine, &err) < 0 && err.code != ERR_BUSY)
			fail(err.message);
		usleep(1000);
	}
	return NULL;
}

static void run_once(void)
{
	char name[] = "run", cgroup[] = "a";
	Schedrig__V1__Scenario scenario = SCHEDRIG__V1__SCENARIO__INIT;
	Schedrig__V1__Duration duration = SCHEDRIG__V1__DURATION__INIT;
	Schedrig__V1__Step step = SCHEDRIG__V1__STEP__INIT, *steps[] = {&step, &step};
	Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT, *ops[] = {&op};
	Schedrig__V1__Hold hold = SCHEDRIG__V1__HOLD__INIT;
	Schedrig__V1__HoldFrac half = SCHEDRIG__V1__HOLD_FRAC__INIT;
	Schedrig__V1__RunResult *result = NULL;
	char payload_name[] = "p", program[] = "true", metric[] = "n";
	Schedrig__V1__Payload payload = SCHEDRIG__V1__PAYLOAD__INIT, *payloads[] = {&payload};
	Schedrig__V1__Check check = SCHEDRIG__V1__CHECK__INIT, *checks[] = {&check};
	Schedrig__V1__MetricName exists = SCHEDRIG__V1__METRIC_NAME__INIT;
	struct err err = ERR_INIT;
	exists.metric = metric;
	check.form_case = SCHEDRIG__V1__CHECK__FORM_EXISTS;
	check.exists = &exists;
	check.stop = true;
	payload.name = payload_name;
	payload.program = program;
	payload.checks = checks;
	payload.n_checks = 1;
	scenario.payloads = payloads;
	scenario.n_payloads = 1;
	half.fraction = 0.5;
	hold.form_case = SCHEDRIG__V1__HOLD__FORM_FRAC;
	hold.frac = &half;
	add.name = cgroup;
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	op.add_cgroup = &add;
	step.ops = ops;
	step.n_ops = 1;
	step.hold = &hold;
	duration.ns = 8 * NS_PER_MS;
	scenario.name = name;
	scenario.duration = &duration;
	scenario.steps = steps;
	scenario.n_steps = 2;
	if (engine_run(engine, &scenario, &result, &err) < 0)
		fail(err.message);
	if (!result->verdict || !result->verdict->verdict)
		fail("a run without a verdict");
	pb_free(result);
}

/* Every line is JSON, and its number one more than that of the line before. */
static void check_events(const char *directory)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/events.jsonl", directory);
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;
	json_int_t last = 0, n = 0;
	while (file && getline(&line, &size, file) > 0) {
		json_t *event = json_loads(line, 0, NULL);
		json_int_t seq = json_integer_value(json_object_get(event, "seq"));
		if (!event || (last && seq <= last))
			fail("events on disk are broken or out of order");
		last = seq;
		n++;
		json_decref(event);
	}
	free(line);
	if (file)
		fclose(file);
	if (n < RUNS)
		fail("events are missing on disk");
}

int main(void)
{
	char directory[] = "/tmp/schedrig-race.XXXXXX", command[100];
	void *(*const others[])(void *) = {tell, interfere, apply, wait_for};
	pthread_t threads[ARRAY_SIZE(others)];
	struct fake_agent agent = {.request = answer_wait};
	struct err err = ERR_INIT;
	signal(SIGPIPE, SIG_IGN); /* as the programs do */
	if (!mkdtemp(directory))
		fail("cannot make a directory");
	link_bench_start(&bench, 8);
	link_bench_accept(&bench, fake_agent_start(&agent));
	if (!link_bench_wait(&bench, 1, 0))
		fail("the agent did not get ready");
	engine = engine_new(&(struct engine_config){.layout = &bench.layout,
				    .link = bench.link,
				    .run_dir = directory,
				    .host_time = host_time,
				    .ask_clock_ns = NS_PER_MS},
		&err);
	if (!engine)
		fail(err.message);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		if (pthread_create(&threads[i], NULL, others[i], NULL))
			fail("cannot start a thread");
	for (unsigned i = 0; i < RUNS; i++)
		run_once();
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		pthread_join(threads[i], NULL);
	engine_free(engine);
	fake_agent_stop(&agent);
	link_bench_stop(&bench);
	check_events(directory);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command) == 0 ? 0 : 1;
}
