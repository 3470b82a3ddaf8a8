/* SPDX-License-Identifier: GPL-2.0-only */
/* Freezes that nobody of the engine's asked for are in the result of the run that they fell into: a scripted
 * agent beside a bare guest. */
#include "bare.h"
#include "fake_agent.h"
#include "host/engine/engine.h"
#include "host/text/text.h"
#include "link_bench.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(counted, .timeout = 300);

BARE_GUEST(counted_counts, "1: incq (%rdi)\n jmp 1b");

static struct bare *bare;

static void freeze_at_each_step(const Schedrig__V1__Event *event, void *arg)
{
	if (event->kind_case != SCHEDRIG__V1__EVENT__KIND_STEP_START)
		return;
	struct timespec ts = {.tv_nsec = 1000000};
	struct freeze *freeze = bare_freeze(bare);
	nanosleep(&ts, NULL);
	vm_thaw(freeze, NULL);
}

Test(counted, freezes_of_others_are_in_the_result)
{
	static const char text[] =
		"name: x\nduration: 1s\nsteps: [{hold: {fixed: 1ms}}, {hold: {fixed: 1ms}}]\n";
	static struct text_errors errors;
	static struct link_bench bench;
	static struct fake_agent agent;
	ProtobufCMessage *scenario = NULL;
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	bare = bare_start(bare_new(2, counted_counts, counted_counts_end, 0));
	bare_wait_all_running(bare);
	vm_thaw(bare_freeze(bare), NULL); /* before it: none of its */
	link_bench_start(&bench, 8);
	link_bench_accept(&bench, fake_agent_start(&agent));
	cr_assert(link_bench_wait(&bench, 1, 0));
	struct engine_config config = {.layout = &bench.layout,
		.topology = "2n4l2c1t",
		.link = bench.link,
		.vm = bare->vm,
		.event = freeze_at_each_step};
	struct engine *engine = engine_new(&config, &err);
	cr_assert_not_null(engine, "%s", err.message);
	cr_assert_eq(
		text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &scenario, NULL, &errors),
		0);
	cr_assert_eq(
		engine_run(engine, (Schedrig__V1__Scenario *)scenario, &result, &err), 0, "%s", err.message);
	cr_assert_eq(result->freezes, 2, "%u freezes", result->freezes);
	cr_assert_geq(result->frozen_ns, 2000000);
	pb_free(result);
	pb_free(scenario);
	engine_free(engine);
	fake_agent_stop(&agent);
	link_bench_stop(&bench);
	bare_free(bare);
}
