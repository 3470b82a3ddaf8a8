/* SPDX-License-Identifier: GPL-2.0-only */
/* Whole runs against a scripted agent: order, verdicts, what goes wrong, the run directory. */
#include "bench.h"
#include "common/clock.h"
#include "common/fd.h"
#include "fake_agent.h"
#include "host/engine/engine.h"
#include "link_bench.h"
#include "proto/pb.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct rig {
	struct link_bench bench;
	struct fake_agent agent;
	struct engine *engine;
	char run_dir[64];
	uint64_t last_seq;
	unsigned holds_cut, ops_done, step_starts;
	uint32_t op_kinds;
	void (*on_step)(struct rig *rig); /* in the StepStart event */
};

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct rig *rig = arg;
	cr_assert_eq(event->seq, rig->last_seq + 1);
	rig->last_seq = event->seq;
	rig->holds_cut += event->kind_case == SCHEDRIG__V1__EVENT__KIND_HOLD_CUT;
	rig->ops_done += event->kind_case == SCHEDRIG__V1__EVENT__KIND_OP_DONE;
	if (event->kind_case != SCHEDRIG__V1__EVENT__KIND_STEP_START)
		return;
	rig->step_starts++;
	rig->op_kinds = event->step_start->op_kinds;
	if (rig->on_step)
		rig->on_step(rig);
}

static void rig_start(struct rig *rig)
{
	static const char *const staged[] = {"true", NULL};
	link_bench_start(&rig->bench, 8);
	link_bench_accept(&rig->bench, fake_agent_start(&rig->agent));
	cr_assert(link_bench_wait(&rig->bench, 1, 0));
	struct engine_config config = {.layout = &rig->bench.layout,
		.topology = "2n4l2c1t",
		.link = rig->bench.link,
		.staged = staged,
		.run_dir = *rig->run_dir ? rig->run_dir : NULL,
		.event = on_event,
		.arg = rig};
	rig->engine = engine_new(&config, NULL);
	cr_assert_not_null(rig->engine);
}

static void rig_stop(struct rig *rig)
{
	engine_free(rig->engine);
	fake_agent_stop(&rig->agent);
	link_bench_stop(&rig->bench);
}

static Schedrig__V1__RunResult *run(struct rig *rig, const char *text)
{
	Schedrig__V1__Scenario *scenario = bench_scenario(text);
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_run(rig->engine, scenario, &result, &err), 0, "%s: %s", err.place, err.message);
	pb_free(scenario);
	return result;
}

#define VERDICT(name) SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_##name

static const Schedrig__V1__VerdictPart *part(const Schedrig__V1__RunResult *result, const char *kind)
{
	for (size_t i = 0; i < result->verdict->n_parts; i++)
		if (strcmp(result->verdict->parts[i]->kind, kind) == 0)
			return result->verdict->parts[i];
	cr_assert_fail("no %s in the verdict (%s)", kind, result->verdict->summary);
	abort();
}

Test(run, order_of_a_run)
{
	struct rig rig = {0};
	rig_start(&rig);
	Schedrig__V1__RunResult *result =
		run(&rig, "name: order\nduration: 3s\n"
			  "backdrop: {cgroups: [{name: a}], ops: [{add_cgroup: b}]}\n"
			  "steps:\n"
			  "- {ops: [{freeze_cgroup: {cgroup: a}}, {unfreeze_cgroup: {cgroup: a}}], setup: "
			  "[{name: late}], hold: {fixed: 20ms}}\n"
			  "- {ops: [{freeze_cgroup: {cgroup: a}}, {unfreeze_cgroup: {cgroup: a}}], setup: "
			  "[{name: x}], hold: {loop: 10ms}}\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_assert(strstr(result->verdict->summary, "nothing was asserted"));
	/* begin; backdrop in one batch; step: phase, ops and set-up in one batch, totals twice, end; loop:
	 * phase, set-up, totals, loop, totals, end; totals, end of scenario. */
	cr_assert_str_eq(rig.agent.log, "BAPAWWSPAWLWSWE");
	cr_assert_eq(rig.step_starts, 2);
	cr_assert_eq(rig.op_kinds, 1u << 13 | 1u << 14);
	cr_assert_eq(result->n_steps, 2);
	cr_assert_geq(result->steps[0]->end_ns - result->steps[0]->begin_ns, 20000000);
	cr_assert_str_eq(result->steps[0]->ended_by, "time");
	cr_assert_eq(result->steps[1]->passes, 7);
	cr_assert_eq(result->steps[1]->late_passes, 1);
	cr_assert_eq(result->n_ops, 6);
	cr_assert_str_eq(result->ops[0]->place, "backdrop.cgroups[0]");
	cr_assert_str_eq(result->ops[0]->kind, "AddCgroupDef");
	cr_assert_str_eq(result->ops[4]->place, "steps[0].setup[0]");
	cr_assert_str_eq(result->kernel, "6.18-fake");
	pb_free(result);
	rig_stop(&rig);
}

Test(run, holds_are_cut_by_the_budget)
{
	struct rig rig = {0};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "duration: 60ms\nsteps: [{hold: {fixed: 40ms}}, {hold: "
						    "{fixed: 40ms}}, {hold: {frac: 0.5}}]\n");
	cr_assert_eq(rig.holds_cut, 2);
	cr_assert_eq(result->steps[1]->hold_asked_ns, 40000000);
	cr_assert_leq(result->steps[1]->hold_ns, 20000000);
	cr_assert_eq(result->steps[2]->hold_ns, 0);
	cr_assert(strstr(part(result, "expectation")->message, "no scenario time was left"));
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS));
	pb_free(result);
	rig_stop(&rig);
}

static bool misunderstands(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (request->kind_case != SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS)
		return false;
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Empty ok = SCHEDRIG__V1__EMPTY__INIT;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK;
	response.ok = &ok;
	fake_agent_answer(agent, seq, &response);
	return true;
}

Test(run, workers_are_told_about)
{
	Schedrig__V1__WorkersRequest ask = SCHEDRIG__V1__WORKERS_REQUEST__INIT;
	Schedrig__V1__WorkerTotals *totals = NULL;
	struct err err = ERR_INIT;
	struct rig rig = {0};
	rig_start(&rig);
	cr_assert_eq(engine_workers(rig.engine, &ask, &totals, &err), 0, "%s", err.message);
	cr_assert_eq(totals->workers, 4);
	cr_assert_eq(totals->iterations, 1000);
	pb_free(totals);
	rig_stop(&rig);
	rig = (struct rig){.agent = {.request = misunderstands}};
	rig_start(&rig);
	cr_assert_lt(engine_workers(rig.engine, &ask, &totals, &err), 0);
	cr_assert_eq(err.code, ERR_INTERNAL, "%s", err.message);
	/* A run that cannot count its workers goes on all the same. */
	Schedrig__V1__RunResult *result = run(&rig, "duration: 20ms\nsteps: [{}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	pb_free(result);
	rig_stop(&rig);
}

/* Two payloads that wrote a thousand bytes: the first one's output comes byte by byte, the other's is whole.
 */
static bool dribbles(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	static char bytes[1000];
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Teardown teardown = SCHEDRIG__V1__TEARDOWN__INIT;
	Schedrig__V1__PayloadReport reports[2], *list[2] = {&reports[0], &reports[1]};
	Schedrig__V1__FileChunk chunk = SCHEDRIG__V1__FILE_CHUNK__INIT;
	for (unsigned i = 0; i < 2; i++) {
		schedrig__v1__payload_report__init(&reports[i]);
		reports[i].name = (char *)(i ? "whole" : "slow");
		reports[i].output_id = i + 1;
		reports[i].stdout_bytes = sizeof(bytes);
	}
	if (request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO) {
		teardown.payloads = list;
		teardown.n_payloads = 2;
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
		response.teardown = &teardown;
	} else if (request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_FETCH_OUTPUT) {
		++*(unsigned *)arg;
		chunk.size = sizeof(bytes);
		chunk.data.data = (uint8_t *)bytes;
		chunk.data.len = request->fetch_output->id == 1 ? 1 : sizeof(bytes);
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_CHUNK;
		response.chunk = &chunk;
	} else {
		return false;
	}
	fake_agent_answer(agent, seq, &response);
	return true;
}

Test(run, output_that_comes_byte_by_byte_is_refused)
{
	unsigned fetched = 0;
	struct rig rig = {.agent = {.request = dribbles, .arg = &fetched}};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "duration: 20ms\nsteps: [{}]\n");
	cr_assert_eq(result->n_payloads, 2);
	cr_assert_eq(result->payloads[0]->n_notes, 1);
	cr_assert(strstr(result->payloads[0]->notes[0], "sent 1 bytes of 1000"), "%s",
		result->payloads[0]->notes[0]);
	cr_assert_eq(result->payloads[1]->n_notes, 0);
	cr_assert_eq(fetched, 2);
	pb_free(result);
	rig_stop(&rig);
}

static bool second_op_fails(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (request->kind_case != SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS)
		return false;
	fake_agent_answer_ops(agent, seq, request->apply_ops, 1,
		SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_GUEST_OS, "mkdir: no space");
	return true;
}

Test(run, first_error_ends_the_scenario_and_teardown_runs)
{
	struct rig rig = {.agent = {.request = second_op_fails}};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "steps: [{ops: [{add_cgroup: a}, {add_cgroup: b}, "
						    "{add_cgroup: c}]}, {ops: [{add_cgroup: d}]}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	const Schedrig__V1__VerdictPart *error = part(result, "op_error");
	cr_assert_str_eq(error->place, "steps[0].ops[1]");
	cr_assert_str_eq(error->message, "mkdir: no space");
	cr_assert_eq(error->error->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_GUEST_OS);
	cr_assert_eq(result->n_ops, 2);
	cr_assert_str_eq(result->steps[0]->ended_by, "error");
	cr_assert_str_eq(rig.agent.log, "BPAWSWE");
	pb_free(result);
	rig_stop(&rig);
}

Test(run, backdrop_failure)
{
	struct rig rig = {.agent = {.request = second_op_fails}};
	rig_start(&rig);
	Schedrig__V1__RunResult *result =
		run(&rig, "backdrop: {cgroups: [{name: a}, {name: b}]}\nsteps: [{}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	cr_assert(strstr(part(result, "op_error")->message, "backdrop set-up failed: mkdir: no space"));
	cr_assert_str_eq(part(result, "op_error")->place, "backdrop.cgroups[1]");
	cr_assert_eq(result->n_steps, 0);
	cr_assert_str_eq(rig.agent.log, "BAWE");
	pb_free(result);
	rig_stop(&rig);
}

Test(run, missing_controller_names_who_needs_it)
{
	struct rig rig = {0};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "steps: [{setup: [{name: a, memory: {max: 1M}}]}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	cr_assert(strstr(result->verdict->summary, "controller memory, which steps[0].setup[0] needs"), "%s",
		result->verdict->summary);
	pb_free(result);
	rig_stop(&rig);
}

Test(run, expected_errors_of_host_ops)
{
	struct rig rig = {0};
	rig_start(&rig);
	/* Without a VM kernel memory is out of reach: expected once, and then not. */
	Schedrig__V1__RunResult *result =
		run(&rig, "duration: 10ms\nsteps: [{ops: [{read_kernel_hot: [{symbol: x, width: u32}], "
			  "expect_error: FailedPrecondition}, "
			  "{write_kernel_cold: [{symbol: x, u32: 1}], expect_error: FailedPrecondition}, "
			  "{restart_scheduler: {}, expect_error: Unsupported}, {watch_snapshot: {symbol: x}, "
			  "expect_error: Unsupported}, "
			  "{capture_snapshot: {name: s}}]}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	cr_assert(result->ops[0]->expected_error);
	cr_assert(result->ops[1]->expected_error);
	/* The fake agent does RestartScheduler, so that its success is the failure. */
	cr_assert_str_eq(part(result, "op_error")->place, "steps[0].ops[2]");
	cr_assert(strstr(part(result, "op_error")->message, "but Unsupported was expected"));
	pb_free(result);
	result = run(&rig, "duration: 10ms\nsteps: [{ops: [{capture_snapshot: {name: s}}]}]\n");
	cr_assert_str_eq(part(result, "op_error")->place, "steps[0].ops[0]");
	pb_free(result);
	rig_stop(&rig);
}

Test(run, adjacent_cold_writes_land_together)
{
	struct rig rig = {0};
	rig_start(&rig);
	/* They fail together: the one result is the first op's. With a barrier between them each is its own.
	 */
	Schedrig__V1__RunResult *result =
		run(&rig, "duration: 10ms\nsteps: [{ops: [{write_kernel_cold: [{symbol: x, u32: 1}]}, "
			  "{write_kernel_cold: [{symbol: y, u32: "
			  "1}]}]}]\n");
	cr_assert_eq(result->n_ops, 1);
	cr_assert_str_eq(result->ops[0]->place, "steps[0].ops[0]");
	pb_free(result);
	rig_stop(&rig);
}

static void lose_guest(struct rig *rig)
{
	struct err why = ERR_INIT;
	err_set(&why, ERR_GUEST_CRASHED, "kernel panic - not syncing");
	engine_guest_lost(rig->engine, &why);
}

Test(run, guest_that_is_lost_ends_the_hold_at_once)
{
	struct rig rig = {.on_step = lose_guest};
	rig_start(&rig);
	uint64_t begin = clock_now_ns();
	Schedrig__V1__RunResult *result = run(&rig, "duration: 1h\nsteps: [{}, {}]\n");
	cr_assert_lt(clock_now_ns() - begin, 10 * NS_PER_S);
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	cr_assert_str_eq(part(result, "guest_crash")->message, "kernel panic - not syncing");
	cr_assert_eq(result->n_steps, 1);
	cr_assert_str_eq(result->steps[0]->ended_by, "guest");
	pb_free(result);
	rig_stop(&rig);
}

static void lose_link(struct rig *rig)
{
	struct err why = ERR_INIT;
	err_set(&why, ERR_AGENT_LOST, "the agent has closed its connection");
	engine_link_lost(rig->engine, &why);
}

static void lose_link_for_a_moment(struct rig *rig)
{
	lose_link(rig);
	engine_link_back(rig->engine);
}

Test(run, lost_link_ends_the_hold_and_the_next_run_is_none_the_worse)
{
	struct rig rig = {.on_step = lose_link_for_a_moment};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "duration: 1h\nsteps: [{}, {}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	const Schedrig__V1__VerdictPart *lost = part(result, "guest_crash");
	cr_assert_eq(lost->error->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_AGENT_LOST);
	cr_assert(strstr(lost->message, "in the middle of the scenario"), "%s", lost->message);
	cr_assert_str_eq(result->steps[0]->ended_by, "guest");
	/* The agent has torn down by itself: nobody asks it to. */
	cr_assert_neq(rig.agent.log[strlen(rig.agent.log) - 1], 'E', "%s", rig.agent.log);
	pb_free(result);
	rig.on_step = NULL;
	result = run(&rig, "duration: 10ms\nsteps: [{}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS));
	pb_free(result);
	rig_stop(&rig);
}

static void *lose_guest_later(void *arg)
{
	lose_guest(arg);
	return NULL;
}

static void lose_link_then_guest(struct rig *rig)
{
	pthread_t thread;
	lose_link(rig);
	cr_assert_eq(pthread_create(&thread, NULL, lose_guest_later, rig), 0);
	pthread_detach(thread);
}

Test(run, crash_that_took_the_link_along_is_what_is_told)
{
	struct rig rig = {.on_step = lose_link_then_guest};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "duration: 1h\nsteps: [{}]\n");
	cr_assert_str_eq(part(result, "guest_crash")->message, "kernel panic - not syncing");
	pb_free(result);
	rig_stop(&rig);
}

static void cancel(struct rig *rig)
{
	engine_cancel(rig->engine, "the client went away");
}

Test(run, cancelled_is_inconclusive_and_torn_down)
{
	struct rig rig = {.on_step = cancel};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "duration: 1h\nsteps: [{}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(INCONCLUSIVE));
	cr_assert(strstr(result->verdict->summary, "the client went away"));
	cr_assert_str_eq(result->steps[0]->ended_by, "cancel");
	cr_assert_eq(rig.agent.log[strlen(rig.agent.log) - 1], 'E');
	pb_free(result);
	/* And the next one runs. */
	rig.on_step = NULL;
	result = run(&rig, "duration: 10ms\nsteps: [{}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS));
	pb_free(result);
	rig_stop(&rig);
}

static bool die(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (request->kind_case != SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS)
		return false;
	shutdown(agent->fd, SHUT_RDWR);
	return true;
}

Test(run, agent_dies_amid_a_batch)
{
	struct rig rig = {.agent = {.request = die}};
	rig_start(&rig);
	Schedrig__V1__RunResult *result = run(&rig, "duration: 10ms\nsteps: [{ops: [{add_cgroup: a}]}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(FAIL));
	cr_assert_eq(
		part(result, "guest_crash")->error->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_AGENT_LOST);
	pb_free(result);
	rig_stop(&rig);
}

Test(run, needs_skip_without_touching_the_guest)
{
	struct rig rig = {0};
	rig_start(&rig);
	Schedrig__V1__RunResult *result =
		run(&rig, "needs: {min_cpus: 64}\nsteps: [{ops: [{add_cgroup: a}]}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(SKIP));
	cr_assert(strstr(result->verdict->summary, "at least 64 CPUs"));
	cr_assert_eq(rig.agent.asked, 0);
	pb_free(result);
	rig_stop(&rig);
}

Test(run, invalid_is_refused)
{
	struct rig rig = {0};
	rig_start(&rig);
	Schedrig__V1__Scenario *scenario = bench_scenario("steps: [{ops: [{clear_cpuset: x}]}]\n");
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_lt(engine_run(rig.engine, scenario, &result, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	cr_assert_str_eq(err.place, "steps[0].ops[0].cgroup");
	cr_assert_eq(rig.agent.asked, 0);
	pb_free(scenario);
	rig_stop(&rig);
}

/* Passes with a host op among them are the engine's to time. */
Test(run, mixed_loop_passes_at_absolute_times)
{
	struct rig rig = {0};
	rig_start(&rig);
	Schedrig__V1__RunResult *result =
		run(&rig, "duration: 200ms\nbackdrop: {cgroups: [{name: a}]}\nsteps: [{ops: [{clear_cpuset: "
			  "a}, {read_kernel_hot: [{symbol: x, "
			  "width: u32}], expect_error: FailedPrecondition}], hold: {loop: 20ms}}]\n");
	cr_assert_eq(result->verdict->verdict, VERDICT(PASS), "%s", result->verdict->summary);
	cr_assert_geq(result->steps[0]->passes, 3);
	cr_assert_leq(result->steps[0]->passes, 10);
	cr_assert_eq(result->n_ops, 1 + 2 * result->steps[0]->passes);
	pb_free(result);
	rig_stop(&rig);
}

static void count_files(const char *directory, unsigned *ret_n)
{
	DIR *dir = opendir(directory);
	for (struct dirent *e; (e = readdir(dir));)
		*ret_n += e->d_name[0] != '.';
	closedir(dir);
}

Test(run, run_directory)
{
	struct rig rig = {.run_dir = "/tmp/schedrig-run-XXXXXX"};
	cr_assert_not_null(mkdtemp(rig.run_dir));
	rig_start(&rig);
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	line.text = (char *)"Linux version";
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG;
	event.kernel_log = &line;
	engine_emit(rig.engine, &event);
	Schedrig__V1__RunResult *result =
		run(&rig, "name: kept\nduration: 10ms\nsteps: [{ops: [{add_cgroup: a}]}]\n");
	cr_assert_str_eq(result->run_dir, rig.run_dir);
	pb_free(result);
	pb_free(run(&rig, "name: second\nduration: 10ms\nsteps: [{}]\n"));
	char path[128], *text;
	size_t length, lines = 0;
	snprintf(path, sizeof(path), "%s/events.jsonl", rig.run_dir);
	cr_assert_eq(fd_read_file(path, 1 << 20, &text, &length, NULL), 0);
	for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
		json_t *json = json_loadb(at, (size_t)(end - at), 0, NULL);
		cr_assert_eq(json_integer_value(json_object_get(json, "seq")), ++lines);
		json_decref(json);
	}
	cr_assert_gt(lines, 4);
	free(text);
	snprintf(path, sizeof(path), "%s/run.json", rig.run_dir);
	json_t *json = json_load_file(path, 0, NULL);
	cr_assert_eq(json_integer_value(json_object_get(json, "schema")), 1);
	cr_assert_str_eq(
		json_string_value(json_object_get(json_object_get(json, "verdict"), "verdict")), "pass");
	json_decref(json);
	snprintf(path, sizeof(path), "%s/run-2/run.json", rig.run_dir);
	json = json_load_file(path, 0, NULL);
	cr_assert_str_eq(json_string_value(json_object_get(json, "scenario")), "second");
	json_decref(json);
	unsigned files = 0;
	count_files(rig.run_dir, &files);
	cr_assert_eq(files, 5); /* events, kernel.log, scenario, run, run-2 */
	rig_stop(&rig);
	char command[160];
	snprintf(command, sizeof(command), "rm -r %s", rig.run_dir);
	cr_assert_eq(system(command), 0);
}

Test(run, apply_outside_a_scenario)
{
	struct rig rig = {.agent = {.request = second_op_fails}};
	rig_start(&rig);
	Schedrig__V1__Scenario *ops =
		bench_scenario("steps: [{ops: [{add_cgroup: a}, {clear_cpuset: b}, {add_cgroup: c}]}]\n");
	Schedrig__V1__ApplyRequest request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	Schedrig__V1__ApplyResponse *response;
	struct err err = ERR_INIT;
	request.n_ops = ops->steps[0]->n_ops;
	request.ops = ops->steps[0]->ops;
	cr_assert_lt(engine_apply(rig.engine, &request, NULL, &response, &err), 0);
	cr_assert_str_eq(err.place, "ops[1]");
	cr_assert_eq(response->n_results, 2);
	pb_free(response);
	request.ops[0]->add_cgroup->name[0] = '/';
	cr_assert_lt(engine_apply(rig.engine, &request, NULL, &response, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	cr_assert_str_eq(err.place, "ops[0].name");
	pb_free(response);
	cr_assert_eq(engine_end_adhoc(rig.engine, &err), 0);
	cr_assert_str_eq(rig.agent.log, "AD");
	pb_free(ops);
	rig_stop(&rig);
}

/* --- verdicts over reports */

static struct {
	Schedrig__V1__WorkerReport report[4];
	Schedrig__V1__PhasePart part[4][2], *parts[4][2];
	Schedrig__V1__Trespass trespass, *trespasses[1];
	Schedrig__V1__WorkerReport *list[4];
} crew;

/* Two good workers in cgroup `a` that live through phases 1 and 2, 1 s each, half on the CPU. */
static void crew_init(struct fake_agent *agent)
{
	for (int i = 0; i < 2; i++) {
		Schedrig__V1__WorkerReport *w = crew.list[i] = &crew.report[i];
		schedrig__v1__worker_report__init(w);
		w->pid = 100 + i;
		w->comm = w->work_type = (char *)"spin_wait";
		w->cgroup = (char *)"a";
		w->n_phases = 2;
		w->phases = crew.parts[i];
		for (int p = 0; p < 2; p++) {
			crew.parts[i][p] = &crew.part[i][p];
			schedrig__v1__phase_part__init(crew.parts[i][p]);
			crew.part[i][p].phase = (uint32_t)p + 1;
			crew.part[i][p].units = 1000;
			crew.part[i][p].wall_ns = NS_PER_S;
			crew.part[i][p].cpu_ns = NS_PER_S / 2;
			crew.part[i][p].max_gap_ns = 10 * NS_PER_MS;
		}
	}
	agent->workers = crew.list;
	agent->n_workers = 2;
}

#define TWO_STEPS "duration: 10ms\nsteps: [{hold: {fixed: \"0\"}}, {hold: {fixed: \"0\"}"

static Schedrig__V1__VerdictKind judge(struct rig *rig, const char *text, const char *kind, char *ret_message)
{
	Schedrig__V1__RunResult *result = run(rig, text);
	Schedrig__V1__VerdictKind verdict = result->verdict->verdict;
	if (kind)
		strcpy(ret_message, part(result, kind)->message);
	pb_free(result);
	return verdict;
}

Test(verdict, assertions_hold_and_fail)
{
	static const char all[] =
		TWO_STEPS "}]\nassertions: {not_stuck: {}, isolation: {}, max_gap: 1s, max_spread_pct: 10}\n";
	struct rig rig = {0};
	char message[1024];
	crew_init(&rig.agent);
	rig_start(&rig);
	cr_assert_eq(judge(&rig, all, NULL, NULL), VERDICT(PASS));
	/* no units, whole life */
	crew.part[0][0].units = crew.part[0][1].units = 0;
	cr_assert_eq(judge(&rig, all, "not_stuck", message), VERDICT(FAIL));
	cr_assert(strstr(message, "worker 100 (spin_wait in cgroup a) did no work"), "%s", message);
	crew_init(&rig.agent);
	/* a gap */
	crew.part[1][1].max_gap_ns = 3 * NS_PER_S;
	cr_assert_eq(judge(&rig, all, "gap", message), VERDICT(FAIL));
	cr_assert_eq(judge(&rig, TWO_STEPS "}]\nassertions: {not_stuck: {}}\n", "not_stuck", message),
		VERDICT(FAIL));
	cr_assert(strstr(message, "3s") && strstr(message, "2s"), "%s", message);
	/* a longer limit by the step in which it happened; and by the other step, which does not help */
	cr_assert_eq(judge(&rig, TWO_STEPS ", assertions: {max_gap: 5s}}]\nassertions: {not_stuck: {}}\n",
			     NULL, NULL),
		VERDICT(PASS));
	cr_assert_eq(judge(&rig,
			     "duration: 10ms\nsteps: [{hold: {fixed: \"0\"}, assertions: {max_gap: 5s}}, "
			     "{hold: {fixed: \"0\"}}]\n"
			     "assertions: {not_stuck: {}}\n",
			     NULL, NULL),
		VERDICT(FAIL));
	crew_init(&rig.agent);
	/* spread */
	crew.part[0][0].cpu_ns = crew.part[0][1].cpu_ns = NS_PER_S;
	cr_assert_eq(judge(&rig, all, "fairness", message), VERDICT(FAIL));
	cr_assert(strstr(message, "0.0 % to 50.0 %"), "%s", message);
	cr_assert_eq(
		judge(&rig, TWO_STEPS "}]\nassertions: {not_stuck: {}, max_spread_pct: 60}\n", NULL, NULL),
		VERDICT(PASS));
	/* not among workers of different kinds: nothing to compare */
	crew.report[0].work_type = (char *)"bursty";
	cr_assert_eq(judge(&rig, TWO_STEPS "}]\nassertions: {not_stuck: {}}\n", NULL, NULL), VERDICT(PASS));
	cr_assert_eq(judge(&rig, all, "fairness", message), VERDICT(INCONCLUSIVE));
	crew_init(&rig.agent);
	/* isolation, in phase 2 */
	schedrig__v1__trespass__init(&crew.trespass);
	crew.trespass.cpu = 7;
	crew.trespass.allowed = (char *)"0-1";
	crew.trespass.phase = 2;
	crew.trespasses[0] = &crew.trespass;
	crew.report[0].trespasses = crew.trespasses;
	crew.report[0].n_trespasses = 1;
	cr_assert_eq(judge(&rig, all, "isolation", message), VERDICT(FAIL));
	cr_assert(strstr(message, "CPU 7 when its cpuset was 0-1"), "%s", message);
	cr_assert_eq(judge(&rig,
			     "duration: 10ms\nsteps: [{hold: {fixed: \"0\"}, assertions: {isolation: {}}}, "
			     "{hold: {fixed: \"0\"}}]\n",
			     NULL, NULL),
		VERDICT(PASS));
	crew_init(&rig.agent);
	/* evidence that is missing */
	crew.report[1].missing = true;
	crew.report[1].started_phase = 1;
	cr_assert_eq(judge(&rig, all, "not_stuck", message), VERDICT(INCONCLUSIVE));
	cr_assert(strstr(message, "never reported"));
	/* nobody to judge */
	rig.agent.n_workers = 0;
	cr_assert_eq(judge(&rig, all, "not_stuck", message), VERDICT(INCONCLUSIVE));
	rig_stop(&rig);
}

/* A disk that takes its time: stands in for the C library's function, in this program only. */
static struct rig *slow_rig;
static unsigned slow_syncs, slow_emits;

static void *emit_meanwhile(void *arg)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	line.text = (char *)"of the loop";
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_WARNING;
	event.warning = &line;
	engine_emit(slow_rig->engine, &event);
	return NULL;
}

int fdatasync(int fd)
{
	pthread_t thread;
	struct timespec limit;
	if (!slow_rig)
		return 0;
	slow_syncs++;
	if (pthread_create(&thread, NULL, emit_meanwhile, NULL))
		return 0;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 5;
	if (pthread_timedjoin_np(thread, NULL, &limit) == 0)
		slow_emits++;
	else
		pthread_detach(thread);
	return 0;
}

Test(run, a_slow_disk_does_not_keep_the_loop_from_its_events)
{
	struct rig rig = {.run_dir = "/tmp/schedrig-run-XXXXXX"};
	cr_assert_not_null(mkdtemp(rig.run_dir));
	rig_start(&rig);
	slow_rig = &rig;
	pb_free(run(&rig, "duration: 10ms\nsteps: [{hold: {fixed: \"0\"}}]\n"));
	slow_rig = NULL;
	cr_assert_geq(slow_syncs, 2, "per step and at the end");
	cr_assert_eq(slow_emits, slow_syncs);
	rig_stop(&rig);
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", rig.run_dir);
	cr_assert_eq(system(command), 0);
}

/* ---- a disk that does not take anything for now: a pipe stands for events.jsonl */

static void emit_text(struct engine *engine, const char *text)
{
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__LogLine line = SCHEDRIG__V1__LOG_LINE__INIT;
	line.text = (char *)text;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_WARNING;
	event.warning = &line;
	engine_emit(engine, &event);
}

struct reading {
	int fd;
	uint64_t lines, lost, out_of_order, last;
};

static void *read_lines(void *arg)
{
	struct reading *r = arg;
	FILE *file = fdopen(r->fd, "r");
	char *text = NULL;
	size_t size = 0;
	while (getline(&text, &size, file) > 0) {
		json_t *json = json_loads(text, 0, NULL);
		json_t *gap = json_object_get(json, "gap");
		uint64_t lost = (uint64_t)json_integer_value(json_object_get(gap, "lost"));
		uint64_t seq =
			gap ? r->last + lost : (uint64_t)json_integer_value(json_object_get(json, "seq"));
		r->out_of_order += !gap && seq != r->last + 1;
		r->lost += lost;
		r->lines += !gap;
		r->last = seq;
		json_decref(json);
	}
	free(text);
	fclose(file);
	return NULL;
}

Test(record, nobody_waits_for_a_disk_that_does_not_take_anything)
{
	struct rig rig = {.run_dir = "/tmp/schedrig-run-XXXXXX"};
	static char text[4001];
	char path[128];
	struct reading reading = {0};
	pthread_t thread;
	memset(text, 'x', sizeof(text) - 1);
	cr_assert_not_null(mkdtemp(rig.run_dir));
	snprintf(path, sizeof(path), "%s/events.jsonl", rig.run_dir);
	cr_assert_eq(mkfifo(path, 0600), 0);
	reading.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_geq(reading.fd, 0);
	rig_start(&rig);
	/* More than the pipe and the queue take, and none of it waits. */
	uint64_t sent = 3 * 8u * 1024 * 1024 / (sizeof(text) - 1);
	for (uint64_t i = 0; i < sent; i++)
		emit_text(rig.engine, text);
	cr_assert_eq(fcntl(reading.fd, F_SETFL, 0), 0);
	cr_assert_eq(pthread_create(&thread, NULL, read_lines, &reading), 0);
	/* What comes when there is room again tells what is missing. */
	pb_free(run(&rig, "duration: 10ms\nsteps: [{hold: {fixed: \"0\"}}]\n"));
	emit_text(rig.engine, "the last");
	rig_stop(&rig);
	pthread_join(thread, NULL);
	cr_assert_gt(reading.lost, sent / 4);
	cr_assert_eq(reading.out_of_order, 0);
	cr_assert_eq(reading.last, rig.last_seq);
	cr_assert_eq(reading.lines + reading.lost, rig.last_seq);
	char command[160];
	snprintf(command, sizeof(command), "rm -r %s", rig.run_dir);
	cr_assert_eq(system(command), 0);
}
