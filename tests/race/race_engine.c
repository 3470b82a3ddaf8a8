/* SPDX-License-Identifier: GPL-2.0-only */
/* Under ThreadSanitizer: scenarios that run one after another while others cancel them, lose the link, apply
 * ops of their own and have things to tell. Every run ends with a verdict, and what is on disk is whole and
 * in order. */
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
		if (engine_apply(engine, &request, NULL, &response, &err) < 0)
			fail(err.message);
		pb_free(response);
		if (engine_end_adhoc(engine, &err) < 0)
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
	struct err err = ERR_INIT;
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
	void *(*const others[])(void *) = {tell, interfere, apply};
	pthread_t threads[ARRAY_SIZE(others)];
	struct fake_agent agent = {0};
	struct err err = ERR_INIT;
	signal(SIGPIPE, SIG_IGN); /* as the programs do */
	if (!mkdtemp(directory))
		fail("cannot make a directory");
	link_bench_start(&bench, 8);
	link_bench_accept(&bench, fake_agent_start(&agent));
	if (!link_bench_wait(&bench, 1, 0))
		fail("the agent did not get ready");
	engine = engine_new(
		&(struct engine_config){.layout = &bench.layout, .link = bench.link, .run_dir = directory},
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
